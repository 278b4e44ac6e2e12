//! Resident mirrors: host-side copies of a ring's regions, for callers who want bytes in and bytes out.
//!
//! A mirror looks like the first lap of a ring: the slot with index `i` of partition `p` has the ticket `i - first(p)`. Slots are
//! published by index, in any order and with gaps; a *dispatch* runs all that are published and brings back a [`Readback`], which is
//! validated as a whole before it takes the place of the last one.

use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::AtomicU32;

use zerocopy::IntoBytes;

use crate::completion::{Status, WireCompletion};
use crate::control::{Control, DOORBELLS, initialise};
use crate::debuglog::{LogEntry, LogRecord};
use crate::decode::DecodeError;
use crate::geometry::{Counts, Direction, Geometry, GeometryError, Partition, Priority};
use crate::header::{HEADER_WORDS, RegionHeader, RegionKind};
use crate::ioqueue::IoRequest;
use crate::operation::Operation;
use crate::slot::{Operand, SLOT_BYTES, SLOT_WORDS, Slot, SlotError};
use crate::stamped::{self, RECORD_BYTES};
use crate::status;
use crate::words::SharedWords;

/// What is in a mirror's slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotState {
    /// Nothing.
    Free,
    /// A slot that the next dispatch runs.
    Published,
    /// A slot that ran; its completion stays until the place is published again or taken.
    Done,
    /// A slot that faulted; its place is free again when the completion is [taken](Mirror::take).
    Faulted,
}

/// An operation on one word, in four: the shortest way to fill a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkItem {
    /// Operation code.
    pub operation: u32,
    /// Handle of the input.
    pub input: u32,
    /// Handle of the output.
    pub output: u32,
    /// First argument.
    pub parameter: u32,
}

impl WorkItem {
    /// The same as a slot.
    #[must_use]
    pub fn slot(self) -> Slot {
        let operand = |handle| Operand { handle, offset: 0 };
        let (input, output) = (operand(self.input), operand(self.output));
        let args = [self.parameter, 0, 0, 0, 0, 0];
        Slot { input, output, length: 4, tile_span: 4, args, ..Slot::with_code(self.operation) }
    }
}

/// Why a mirror refuses. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MirrorError {
    /// There is no such place, or not so many from there on.
    #[error("{items} slots from index {start} on do not fit in a ring of {slots}")]
    Overrun {
        /// First index.
        start: u32,
        /// Slots given.
        items: usize,
        /// Slots of the ring.
        slots: u32,
    },
    /// The place is taken.
    #[error("slot {index} is {state:?}; dispatch it, or take its completion, first")]
    Occupied {
        /// Index.
        index: u32,
        /// What is there.
        state: SlotState,
    },
    /// The slot is not valid.
    #[error("slot {index}: {source}")]
    Slot {
        /// Index where it would go.
        index: u32,
        /// What is wrong.
        source: SlotError,
    },
    /// A batch reaches into another partition, where its fence fences nothing.
    #[error("a batch of {items} slots from index {start} on is not in one partition; split it")]
    Partition {
        /// First index.
        start: u32,
        /// Slots given, without the fence.
        items: usize,
    },
    /// There is no such observable.
    #[error("there is no observable {index}, the mirror has {count}")]
    Observable {
        /// Index asked for.
        index: u32,
        /// Observables of the geometry.
        count: u32,
    },
}

/// Why a readback was not applied. The mirror is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadbackError {
    /// A region does not decode, or is of another geometry.
    #[error(transparent)]
    Region(#[from] DecodeError),
    /// The regions are of another geometry.
    #[error("the {region} of the readback belongs to another geometry")]
    Geometry {
        /// The region.
        region: RegionKind,
    },
    /// A published slot has no completion, or that of another.
    #[error("slot {index} was published and the readback has no completion of it")]
    Missing {
        /// Index.
        index: u32,
    },
}

/// What a device writes, as bytes: status, completions, debug log and IO requests.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Readback {
    /// In the order of [`READ_BACK`].
    regions: [Vec<u32>; READ_BACK.len()],
}

/// The regions of a readback.
pub const READ_BACK: [RegionKind; 4] =
    [RegionKind::Status, RegionKind::Completions, RegionKind::DebugLog, RegionKind::IoRequests];

impl Readback {
    /// Makes it an empty readback of this geometry, in its own storage where that is large enough. Returns how many of its regions
    /// had to be allocated.
    pub fn clear(&mut self, geometry: &Geometry) -> u32 {
        let mut allocated = 0;
        for (kind, words) in READ_BACK.into_iter().zip(&mut self.regions) {
            let len = geometry.region_bytes(kind) as usize / 4;
            allocated += u32::from(words.capacity() < len);
            words.clear();
            words.reserve_exact(len);
            words.resize(len, 0);
            set_header(words, geometry, kind);
        }
        allocated
    }

    /// Bytes of a region; `None` for those that no device writes for the host.
    #[must_use]
    pub fn region(&self, kind: RegionKind) -> Option<&[u8]> {
        READ_BACK.iter().position(|other| *other == kind).map(|i| self.regions[i].as_bytes())
    }

    /// The same, to be written by who brings them from a device.
    pub fn region_mut(&mut self, kind: RegionKind) -> Option<&mut [u8]> {
        READ_BACK.iter().position(|other| *other == kind).map(|i| self.regions[i].as_mut_bytes())
    }

    /// Bytes of all regions together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.regions.iter().map(|words| 4 * words.len() as u64).sum()
    }

    /// Copies a region from the memory that a device wrote.
    pub fn load(&mut self, kind: RegionKind, from: &impl SharedWords) {
        if let Some(i) = READ_BACK.iter().position(|other| *other == kind) {
            self.regions[i].iter_mut().enumerate().for_each(|(i, word)| *word = from.load_acquire(i));
        }
    }

    /// Writes the completion of the slot with this index.
    pub fn complete(&mut self, index: u32, completion: &WireCompletion) {
        let place = record_range(index);
        let record = self.region_mut(RegionKind::Completions).and_then(|bytes| bytes.get_mut(place));
        if let Some(record) = record {
            record.copy_from_slice(&stamped::encode(1, &completion.encode()));
        }
    }

    fn completion(&self, index: u32) -> Option<Result<WireCompletion, DecodeError>> {
        let bytes = self.region(RegionKind::Completions)?.get(record_range(index))?;
        let (stamp, record) = stamped::decode(bytes)?;
        (stamp == 1).then(|| WireCompletion::decode(&record))
    }

    /// Stamped records of a region, in no order.
    fn records(&self, kind: RegionKind) -> impl Iterator<Item = (u32, stamped::Record)> {
        let bytes = self.region(kind).unwrap_or_default().get(HEADER_WORDS as usize * 4..).unwrap_or_default();
        bytes.chunks_exact(RECORD_BYTES as usize).filter_map(stamped::decode).filter(|(stamp, _)| *stamp != 0)
    }
}

fn record_range(index: u32) -> core::ops::Range<usize> {
    let start = HEADER_WORDS as usize * 4 + index as usize * RECORD_BYTES as usize;
    start..start + RECORD_BYTES as usize
}

fn set_header(words: &mut [u32], geometry: &Geometry, kind: RegionKind) {
    let header = RegionHeader::new(geometry, kind);
    words.as_mut_bytes()[..header.as_bytes().len()].copy_from_slice(header.as_bytes());
}

/// Host-side copies of a ring's regions. Two are equal when their regions are, whatever their scratch memory holds.
#[derive(Debug, Clone)]
pub struct Mirror {
    geometry: Geometry,
    control: Vec<u32>,
    ring: Vec<u32>,
    states: Vec<SlotState>,
    readback: Readback,
    /// Storage of the next readback.
    scratch: Readback,
}

impl PartialEq for Mirror {
    fn eq(&self, other: &Mirror) -> bool {
        let parts = |mirror: &Mirror| (mirror.geometry, mirror.states.clone());
        parts(self) == parts(other)
            && self.control == other.control
            && self.ring == other.ring
            && self.readback == other.readback
    }
}

impl Eq for Mirror {}

impl Mirror {
    /// An empty mirror with the default partitions, as a ring of these counts has.
    ///
    /// # Errors
    /// [`GeometryError`] names the count that is not possible, before anything is allocated.
    pub fn new(slots: u32, tenants: u32, observables: u32) -> Result<Mirror, GeometryError> {
        Geometry::new(Counts { slots, tenants, observables, ..Counts::default() }).map(|geometry| Self::of(&geometry))
    }

    /// An empty mirror of this geometry. Each region has the capacity that it needs and no more.
    #[must_use]
    pub fn of(geometry: &Geometry) -> Mirror {
        let len = |kind| geometry.region_bytes(kind) as usize / 4;
        let block: Vec<AtomicU32> =
            (0..geometry.block_bytes(Direction::HostToDevice) / 4).map(|_| AtomicU32::new(0)).collect();
        initialise(geometry, Direction::HostToDevice, &&block[..]);
        let first = geometry.region_offset(RegionKind::Control) as usize / 4;
        let mut mirror = Mirror {
            geometry: *geometry,
            control: (first..first + len(RegionKind::Control)).map(|word| block[..].load(word)).collect(),
            ring: vec![0; len(RegionKind::Ring)],
            states: vec![SlotState::Free; geometry.counts().slots as usize],
            readback: Readback::default(),
            scratch: Readback::default(),
        };
        mirror.reset();
        mirror
    }

    /// Puts a mirror together from regions that came from elsewhere. Slots that are published count as not yet dispatched.
    ///
    /// # Errors
    /// [`ReadbackError`] names the region that is wrong.
    pub fn from_parts(control: &[u8], ring: &[u8], readback: Readback) -> Result<Mirror, ReadbackError> {
        let geometry = Control::decode(control)?.geometry;
        let mut mirror = Mirror::of(&geometry);
        if RegionHeader::decode(ring, RegionKind::Ring)? != geometry.counts() {
            return Err(ReadbackError::Geometry { region: RegionKind::Ring });
        }
        let slots = ring[HEADER_WORDS as usize * 4..].chunks_exact(SLOT_BYTES as usize);
        for (state, bytes) in mirror.states.iter_mut().zip(slots) {
            *state = Slot::decode(bytes)?.map_or(SlotState::Free, |_| SlotState::Published);
        }
        check_regions(&geometry, &readback)?;
        mirror.control.as_mut_bytes().copy_from_slice(control);
        mirror.ring.as_mut_bytes().copy_from_slice(ring);
        mirror.readback = readback;
        Ok(mirror)
    }

    /// Empties it, in the storage that it has. Tenants are those of a new ring.
    pub fn reset(&mut self) {
        let offset = DOORBELLS as usize;
        self.control[offset..offset + Priority::ALL.len()].fill(0);
        self.ring.fill(0);
        set_header(&mut self.ring, &self.geometry, RegionKind::Ring);
        self.states.fill(SlotState::Free);
        self.readback.clear(&self.geometry);
    }

    /// The geometry.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Bytes of the control region.
    #[must_use]
    pub fn control(&self) -> &[u8] {
        self.control.as_bytes()
    }

    /// Bytes of the ring.
    #[must_use]
    pub fn ring(&self) -> &[u8] {
        self.ring.as_bytes()
    }

    /// What the last dispatch brought back.
    #[must_use]
    pub fn readback(&self) -> &Readback {
        &self.readback
    }

    /// What is in a slot; `None` beyond the end.
    #[must_use]
    pub fn state(&self, index: u32) -> Option<SlotState> {
        self.states.get(index as usize).copied()
    }

    /// Publishes slots from an index on: all or none. Returns how many.
    ///
    /// # Errors
    /// [`MirrorError`]; nothing was changed.
    pub fn publish(&mut self, start: u32, slots: &[Slot]) -> Result<u32, MirrorError> {
        self.check(start, slots.len(), slots.iter())?;
        (start..).zip(slots).for_each(|(index, slot)| self.write(index, slot));
        Ok(slots.len() as u32)
    }

    /// Publishes work items from an index on: all or none. Returns how many.
    ///
    /// # Errors
    /// [`MirrorError`]; nothing was changed.
    pub fn publish_items(&mut self, start: u32, items: &[WorkItem]) -> Result<u32, MirrorError> {
        let slots: Vec<_> = items.iter().map(|item| item.slot()).collect();
        self.publish(start, &slots)
    }

    /// Publishes slots and a FENCE behind them, all or none. Returns how many, the fence included.
    ///
    /// # Errors
    /// [`MirrorError`]; nothing was changed.
    pub fn publish_batch(&mut self, start: u32, slots: &[Slot]) -> Result<u32, MirrorError> {
        let tenant = slots.last().map_or(0, |slot| slot.tenant);
        let fence = Slot { tenant, ..Slot::new(Operation::Fence) };
        self.check(start, slots.len() + 1, slots.iter().chain([&fence]))?;
        let (_, partition) = self.partition_of(start);
        if start + slots.len() as u32 >= partition.first + partition.length {
            return Err(MirrorError::Partition { start, items: slots.len() });
        }
        self.publish(start, slots)?;
        Ok(slots.len() as u32 + self.publish(start + slots.len() as u32, &[fence])?)
    }

    fn check<'a>(&self, start: u32, items: usize, slots: impl Iterator<Item = &'a Slot>) -> Result<(), MirrorError> {
        let counts = self.geometry.counts();
        if u64::from(start) + items as u64 > u64::from(counts.slots) {
            return Err(MirrorError::Overrun { start, items, slots: counts.slots });
        }
        for (index, slot) in (start..).zip(slots) {
            slot.validate(counts.tenants).map_err(|source| MirrorError::Slot { index, source })?;
            match self.states[index as usize] {
                SlotState::Free | SlotState::Done => {}
                state => return Err(MirrorError::Occupied { index, state }),
            }
        }
        Ok(())
    }

    fn write(&mut self, index: u32, slot: &Slot) {
        let (priority, partition) = self.partition_of(index);
        let ticket = index - partition.first;
        let mut slot = Slot { sequence: partition.sequence(ticket.into()), ..*slot };
        if slot.operation == Operation::Fence.code() {
            slot.args[0] = ticket;
        }
        let base = (HEADER_WORDS + index * SLOT_WORDS) as usize;
        self.ring[base..base + SLOT_WORDS as usize].copy_from_slice(&slot.to_words());
        self.states[index as usize] = SlotState::Published;
        let doorbell = &mut self.control[DOORBELLS as usize + priority.index()];
        *doorbell = (*doorbell).max(partition.wire(u64::from(ticket) + 1));
    }

    /// The partition that the slot with this index, which exists, belongs to.
    fn partition_of(&self, index: u32) -> (Priority, Partition) {
        let holds = |priority: &Priority| {
            let partition = self.geometry.partition(*priority);
            (partition.first..partition.first + partition.length).contains(&index)
        };
        let priority = Priority::ALL.into_iter().find(holds).unwrap_or_default();
        (priority, self.geometry.partition(priority))
    }

    /// The published slots of a partition with their indices, in order: what a dispatch runs.
    pub fn published(&self, priority: Priority) -> impl Iterator<Item = (u32, Slot)> + use<'_> {
        let partition = self.geometry.partition(priority);
        let all = partition.first..partition.first + partition.length;
        let published = all.filter(|index| self.states[*index as usize] == SlotState::Published);
        published.filter_map(|index| {
            let start = ((HEADER_WORDS + index * SLOT_WORDS) * 4) as usize;
            let slot = Slot::decode(&self.ring()[start..start + SLOT_BYTES as usize]);
            slot.ok().flatten().map(|slot| (index, slot))
        })
    }

    /// The ticket that a slot has in this mirror, with its partition.
    #[must_use]
    pub fn ticket(&self, index: u32) -> (Priority, u32) {
        let (priority, partition) = self.partition_of(index);
        (priority, index - partition.first)
    }

    /// The completion of a slot that ran.
    #[must_use]
    pub fn completion(&self, index: u32) -> Option<WireCompletion> {
        let ran = matches!(self.state(index)?, SlotState::Done | SlotState::Faulted);
        self.readback.completion(index).filter(|_| ran)?.ok()
    }

    /// Takes the completion of a slot that ran, and frees its place.
    pub fn take(&mut self, index: u32) -> Option<WireCompletion> {
        let completion = self.completion(index)?;
        self.states[index as usize] = SlotState::Free;
        Some(completion)
    }

    /// An observable as of the last dispatch.
    ///
    /// # Errors
    /// [`MirrorError::Observable`] if there are fewer.
    pub fn observable(&self, index: u32) -> Result<u32, MirrorError> {
        let count = self.geometry.counts().observables;
        let words = &self.readback.regions[0];
        let word = words.get((status::OBSERVABLES as usize).saturating_add(index as usize));
        word.copied().ok_or(MirrorError::Observable { index, count })
    }

    /// Lines of the debug log as of the last dispatch, oldest first.
    #[must_use]
    pub fn log(&self) -> Vec<LogRecord> {
        let mut records: Vec<_> = self.readback.records(RegionKind::DebugLog).enumerate().collect();
        records.sort_by_key(|(place, (stamp, _))| (*stamp, *place));
        let line = |record| match LogEntry::decode(record) {
            Ok(LogEntry::Line(line)) => Some(line),
            _ => None,
        };
        records.iter().filter_map(|(_, (_, record))| line(record)).collect()
    }

    /// Copies the last readback into storage that the caller keeps for it.
    pub fn snapshot(&self, into: &mut Readback) {
        for (from, to) in self.readback.regions.iter().zip(&mut into.regions) {
            to.clone_from(from);
        }
    }

    /// Storage for the next readback, which [`apply`](Self::apply) takes and gives back.
    #[must_use]
    pub fn take_scratch(&mut self) -> Readback {
        core::mem::take(&mut self.scratch)
    }

    /// Gives storage back.
    pub fn put_scratch(&mut self, scratch: Readback) {
        self.scratch = scratch;
    }

    /// Validates a readback, and swaps it with the last one, whose storage the caller gets.
    ///
    /// # Errors
    /// [`ReadbackError`] says what is wrong; mirror and readback are as they were.
    pub fn apply(&mut self, readback: &mut Readback) -> Result<(), ReadbackError> {
        check_regions(&self.geometry, readback)?;
        for index in 0..self.geometry.counts().slots {
            if self.states[index as usize] == SlotState::Published {
                let completion = readback.completion(index).ok_or(ReadbackError::Missing { index })??;
                if (completion.priority, completion.wire_ticket) != self.ticket(index) {
                    return Err(ReadbackError::Missing { index });
                }
            }
        }
        // The completions of slots that ran earlier stay, though this dispatch brought none of them.
        for index in 0..self.geometry.counts().slots {
            match self.states[index as usize] {
                SlotState::Published => {
                    let status = readback.completion(index).and_then(Result::ok).map(|completion| completion.status);
                    let done = status == Some(Status::Done);
                    self.states[index as usize] = if done { SlotState::Done } else { SlotState::Faulted };
                }
                SlotState::Free => {}
                SlotState::Done | SlotState::Faulted => {
                    if let Some(completion) = self.completion(index) {
                        readback.complete(index, &completion);
                    }
                }
            }
        }
        core::mem::swap(&mut self.readback, readback);
        Ok(())
    }
}

/// Checks all that a readback says, apart from which slots have completed.
fn check_regions(geometry: &Geometry, readback: &Readback) -> Result<(), ReadbackError> {
    for region in READ_BACK {
        let bytes = readback.region(region).unwrap_or_default();
        if RegionHeader::decode(bytes, region)? != geometry.counts() {
            return Err(ReadbackError::Geometry { region });
        }
    }
    status::Status::decode_records(readback.region(RegionKind::Status).unwrap_or_default())?;
    for (_, record) in readback.records(RegionKind::DebugLog) {
        LogEntry::decode(&record)?;
    }
    for (_, record) in readback.records(RegionKind::IoRequests) {
        IoRequest::decode(&record)?;
    }
    Ok(())
}
