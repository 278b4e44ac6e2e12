//! The one-shot mode: all published slots of a mirror, run to completion by the same kernel, and their results brought back.

use std::time::{Duration, Instant};

use vyre_protocol::completion::WireCompletion;
use vyre_protocol::geometry::{Geometry, Priority};
use vyre_protocol::header::RegionKind;
use vyre_protocol::mirror::{Mirror, Readback, ReadbackError};
use vyre_protocol::ring::{Completion, PublishError};
use vyre_protocol::slot::{SLOT_BYTES, Slot};

use crate::error::{OpenError, WaitError};
use crate::runtime::Runtime;

/// What a dispatch cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dispatch {
    /// Slots that ran.
    pub slots: u32,
    /// Bytes of slots that went to the device.
    pub bytes_in: u64,
    /// Bytes that were read back.
    pub bytes_out: u64,
    /// Quanta of the kernel that were launched meanwhile; 0 if those in flight were enough.
    pub launches: u64,
    /// Regions of the readback that had to be allocated; 0 from the second dispatch on.
    pub allocations: u32,
    /// Time between the first tile's start and the last slot's end by the device's clock, in its unit; `None` where it has none.
    pub device_ticks: Option<u32>,
    /// The kernel had been stopped and was launched again.
    pub relaunched: bool,
}

/// Why a mirror was not run. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    /// The runtime was opened with other counts or partitions; nothing reached the device.
    #[error("the mirror has the geometry {mirror:?}, the kernel {kernel:?}; open a runtime with the mirror's")]
    Geometry {
        /// Of the mirror.
        mirror: Box<Geometry>,
        /// Of the runtime.
        kernel: Box<Geometry>,
    },
    /// The runtime has no room beside what others have outstanding there; nothing reached the device.
    #[error("{needed} slots of the {priority:?} partition are needed, {free} are free; reap completions first")]
    Full {
        /// Partition.
        priority: Priority,
        /// Published slots of the mirror.
        needed: u32,
        /// Free slots of the runtime.
        free: u32,
    },
    /// A slot was refused. Slots of higher partitions run; their completions come by [`Runtime::reap`].
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The slots did not complete; those that still do come by [`Runtime::reap`].
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// The kernel was stopped and does not start again.
    #[error(transparent)]
    Relaunch(#[from] OpenError),
    /// The device wrote nonsense.
    #[error(transparent)]
    Readback(#[from] ReadbackError),
}

/// What is being dispatched.
#[derive(Default)]
pub(crate) struct Staged {
    slots: Vec<Slot>,
    /// Index in the mirror and tenant of each, partition by partition.
    places: Vec<(u32, u32)>,
    /// First ticket, and first of the places, of each partition.
    first: [(u64, usize); Priority::ALL.len()],
}

impl Runtime {
    /// Runs all published slots of a mirror to completion and swaps in what came back. A kernel that was stopped is launched again, with
    /// an empty resource table.
    ///
    /// # Errors
    /// [`DispatchError`]; the mirror is as it was.
    pub fn dispatch(&mut self, mirror: &mut Mirror, timeout: Duration) -> Result<Dispatch, DispatchError> {
        let mut scratch = mirror.take_scratch();
        let result = self.dispatch_with(mirror, &mut scratch, timeout);
        mirror.put_scratch(scratch);
        result
    }

    /// The same with the caller's storage for the readback, which afterwards holds the one before.
    ///
    /// # Errors
    /// [`DispatchError`]; the mirror is as it was.
    pub fn dispatch_with(
        &mut self,
        mirror: &mut Mirror,
        scratch: &mut Readback,
        timeout: Duration,
    ) -> Result<Dispatch, DispatchError> {
        self.check_mirror(mirror)?;
        let relaunched = self.stopped;
        if relaunched {
            self.relaunch()?;
        }
        let before = self.engine.quanta().launched;
        let allocations = scratch.clear(mirror.geometry());
        let mut staged = std::mem::take(&mut self.staged);
        let ran = self.publish_mirror(mirror, &mut staged);
        let ran = ran.and_then(|()| self.collect(mirror, &staged, scratch, timeout));
        let slots = staged.places.len() as u32;
        self.staged = staged;
        let device_ticks = ran?;
        for kind in [RegionKind::Status, RegionKind::DebugLog, RegionKind::IoRequests] {
            if let Some(region) = self.engine.region(kind) {
                scratch.load(kind, &region);
            }
        }
        let bytes_out = scratch.bytes();
        mirror.apply(scratch)?;
        let bytes_in = u64::from(slots) * u64::from(SLOT_BYTES);
        let launches = self.engine.quanta().launched - before;
        Ok(Dispatch { slots, bytes_in, bytes_out, launches, allocations, device_ticks, relaunched })
    }

    fn check_mirror(&self, mirror: &Mirror) -> Result<(), DispatchError> {
        let (mirrors, kernel) = (*mirror.geometry(), *self.ring.geometry());
        if mirrors != kernel {
            return Err(DispatchError::Geometry { mirror: Box::new(mirrors), kernel: Box::new(kernel) });
        }
        for priority in Priority::ALL {
            let needed = mirror.published(priority).count() as u32;
            let free = if self.stopped { kernel.partition(priority).length } else { self.free(priority) };
            if needed > free {
                return Err(DispatchError::Full { priority, needed, free });
            }
        }
        Ok(())
    }

    fn publish_mirror(&mut self, mirror: &Mirror, staged: &mut Staged) -> Result<(), DispatchError> {
        staged.places.clear();
        for priority in Priority::ALL {
            staged.slots.clear();
            let first = staged.places.len();
            for (index, slot) in mirror.published(priority) {
                staged.places.push((index, slot.tenant));
                staged.slots.push(slot);
            }
            let tickets = self.publish_all(priority, &staged.slots)?;
            staged.first[priority.index()] = (tickets.start, first);
        }
        Ok(())
    }

    /// Waits for all completions and writes them to the readback, as those of the mirror's tickets. Gives the device's time.
    fn collect(
        &mut self,
        mirror: &Mirror,
        staged: &Staged,
        readback: &mut Readback,
        timeout: Duration,
    ) -> Result<Option<u32>, DispatchError> {
        let start = Instant::now();
        let mut ticks: Option<(u32, u32)> = None;
        let mut left = staged.places.len();
        while left > 0 {
            let Some(completion) = self.reap_ring()? else {
                if start.elapsed() >= timeout {
                    let outstanding = self.ring.tally().outstanding();
                    return Err(WaitError::Timeout { ticket: None, timeout, outstanding }.into());
                }
                self.pause(start.elapsed(), timeout.saturating_sub(start.elapsed()));
                continue;
            };
            let Some((index, tenant)) = staged.place(&completion) else {
                self.passed.push(completion);
                continue;
            };
            left -= 1;
            readback.complete(index, &as_mirrored(mirror, index, tenant, &completion));
            if let [begin, end] = completion.clock
                && end != 0
            {
                let (first, last) = ticks.unwrap_or((begin, end));
                let earlier = |a: u32, b: u32| a.wrapping_sub(b).cast_signed() < 0;
                ticks = Some((
                    if earlier(begin, first) { begin } else { first },
                    if earlier(last, end) { end } else { last },
                ));
            }
        }
        Ok(ticks.map(|(first, last)| last.wrapping_sub(first)))
    }
}

impl Staged {
    /// Index in the mirror and tenant of the slot that completed; `None` if it is somebody else's.
    fn place(&self, completion: &Completion) -> Option<(u32, u32)> {
        let partition = completion.ticket.priority.index();
        let (ticket, first) = self.first[partition];
        let end = self.first.get(partition + 1).map_or(self.places.len(), |(_, first)| *first);
        let offset = usize::try_from(completion.ticket.number.checked_sub(ticket)?).ok()?;
        self.places.get(first..end)?.get(offset).copied()
    }
}

/// The completion in the words of the mirror's tickets.
fn as_mirrored(mirror: &Mirror, index: u32, tenant: u32, completion: &Completion) -> WireCompletion {
    let (priority, wire_ticket) = mirror.ticket(index);
    let Completion { operation, status, fault, fault_word, results, clock, .. } = *completion;
    WireCompletion { wire_ticket, priority, status, fault, fault_word, operation, tenant, results, clock }
}
