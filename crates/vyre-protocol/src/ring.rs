//! The host's side of the ring: publish slots, reap completions. A pure algorithm over [`SharedWords`].
//!
//! What the host knows of the ring it keeps in its own memory; it never reads a word that it writes for the device (that
//! memory may be write-combined). A slot is free again when its completion was reaped, so the completion ring, which has at
//! least as many records as the ring has slots, cannot overflow.

mod fifo;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use crate::completion::{Status, WireCompletion};
use crate::control::{COMMAND, Command, DOORBELLS, SNAPSHOT_REQUEST};
use crate::decode::DecodeError;
use crate::fault::Fault;
use crate::geometry::{Geometry, PARTITIONS, Priority};
use crate::header::HEADER_WORDS;
use crate::operation::Operation;
use crate::slot::{FENCE_TICKET, SLOT_WORDS, Slot, SlotError};
use crate::stamped;
use crate::tenants::{Revocation, TenantConfig, TenantError, TenantUsage, Tenants};
use crate::words::SharedWords;
use fifo::{Fifo, Occupant};

/// Number of a published slot: its partition, and how many were published there before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket {
    /// Partition.
    pub priority: Priority,
    /// Number in the partition, from 0.
    pub number: u64,
}

/// A finished slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completion {
    /// Which slot.
    pub ticket: Ticket,
    /// Operation code of the slot.
    pub operation: u32,
    /// How it ended.
    pub status: Status,
    /// Why it faulted.
    pub fault: Fault,
    /// Offending value of the fault.
    pub fault_word: u32,
    /// Result words.
    pub results: [u32; 2],
    /// Device clock at the start and the end; zeros where there is none.
    pub clock: [u32; 2],
}

impl Completion {
    /// The ticket's number comes from the host's own count.
    const fn of(wire: &WireCompletion, number: u64) -> Completion {
        let WireCompletion { priority, operation, status, fault, fault_word, results, clock, .. } = *wire;
        Completion { ticket: Ticket { priority, number }, operation, status, fault, fault_word, results, clock }
    }
}

/// What became of the slots. Once nothing is outstanding, published = done + faulted + cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Slots published.
    pub published: u64,
    /// Slots reaped as done.
    pub done: u64,
    /// Slots reaped as faulted.
    pub faulted: u64,
    /// Slots that were outstanding when the device was stopped.
    pub cancelled: u64,
}

impl Tally {
    /// What happened since an earlier tally of the same ring.
    #[must_use]
    pub const fn since(&self, earlier: &Tally) -> Tally {
        Tally {
            published: self.published - earlier.published,
            done: self.done - earlier.done,
            faulted: self.faulted - earlier.faulted,
            cancelled: self.cancelled - earlier.cancelled,
        }
    }

    /// Slots that are published and not finished.
    #[must_use]
    pub const fn outstanding(&self) -> u64 {
        self.published - self.done - self.faulted - self.cancelled
    }
}

/// Why slots were not published. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The ring was closed.
    #[error("the ring is closed; open a new one to publish more")]
    Closed,
    /// A slot that is needed is still outstanding.
    #[error(
        "slot {index} of the {priority:?} partition is still outstanding (ticket {ticket}); reap completions first"
    )]
    Occupied {
        /// Partition.
        priority: Priority,
        /// Index of the slot in the ring.
        index: u32,
        /// Ticket that holds it.
        ticket: u64,
    },
    /// More slots than the partition has.
    #[error("{given} slots given, the {priority:?} partition has {length}; publish fewer at once")]
    TooMany {
        /// Partition.
        priority: Priority,
        /// Slots given.
        given: usize,
        /// Slots of the partition.
        length: u32,
    },
    /// A slot's tenant may not publish it.
    #[error("slot {index} of the batch: {source}")]
    Tenant {
        /// Position in the batch.
        index: usize,
        /// Why not.
        source: TenantError,
    },
    /// A slot is not valid.
    #[error("slot {index} of the batch: {source}")]
    Slot {
        /// Position in the batch.
        index: usize,
        /// What is wrong.
        source: SlotError,
    },
}

/// Why a completion could not be accepted: the device wrote something that no correct kernel writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReapError {
    /// The record does not decode.
    #[error("the device wrote a completion that does not decode: {0}")]
    Record(#[from] DecodeError),
    /// The ticket is not outstanding.
    #[error(
        "the device completed wire ticket {wire} of the {priority:?} partition, which is not outstanding; {visible} were published there"
    )]
    Ticket {
        /// Partition.
        priority: Priority,
        /// The ticket in wire form.
        wire: u32,
        /// Tickets that the device could see.
        visible: u64,
    },
}

/// Tickets that were taken and whose slots the device does not see yet: [`Ring::commit`] publishes them, [`Ring::abandon`] gives them
/// up. Until then what is behind them in their partition waits, and nothing else does.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a reservation that is neither committed nor abandoned holds up its partition for ever"]
pub struct Reservation {
    priority: Priority,
    tickets: Range<u64>,
}

impl Reservation {
    /// Partition.
    #[must_use]
    pub const fn priority(&self) -> Priority {
        self.priority
    }

    /// Numbers of the tickets.
    #[must_use]
    pub fn tickets(&self) -> Range<u64> {
        self.tickets.clone()
    }
}

/// What had been published at some time, in each partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment([u64; PARTITIONS]);

/// Memory of the three regions that the ring's host side touches.
#[derive(Debug, Clone)]
pub struct RingMemory<W> {
    /// Control region.
    pub control: W,
    /// Ring region.
    pub slots: W,
    /// Completion region.
    pub completions: W,
}

/// Looks for one completion while others have the ring, from [`Ring::lookout`].
#[derive(Debug)]
pub struct Lookout<W> {
    completions: W,
    base: usize,
    stamp: u32,
}

impl<W: SharedWords> Lookout<W> {
    /// Spins until the completion is there, for that many looks at most. When the ring was reaped meanwhile, and is a lap further, it is
    /// not seen any more: look at the ring after each spin.
    pub fn spin(&self, looks: usize) {
        for _ in 0..looks {
            if stamped::load(&self.completions, self.base, self.stamp).is_some() {
                return;
            }
            core::hint::spin_loop();
        }
    }
}

/// The host's side of one ring. One owner publishes and reaps.
#[derive(Debug)]
pub struct Ring<W> {
    geometry: Geometry,
    memory: RingMemory<W>,
    fifos: [Fifo; PARTITIONS],
    /// Tickets taken that are not visible, in all partitions.
    unseen: u64,
    tenants: Tenants,
    /// Time by the caller's clock, which fills the tenants' token buckets.
    now: Duration,
    /// Records of the completion ring.
    records: u32,
    /// Position of the next completion, modulo 2^32.
    head: u32,
    snapshots: u32,
    closed: bool,
    tally: Tally,
}

impl<W: SharedWords> Ring<W> {
    /// A ring over memory that [`initialise`](crate::control::initialise) has prepared and no kernel has run on since.
    #[must_use]
    pub fn new(geometry: Geometry, memory: RingMemory<W>) -> Self {
        Ring {
            geometry,
            memory,
            fifos: Priority::ALL.map(|priority| Fifo::new(geometry.partition(priority))),
            unseen: 0,
            tenants: Tenants::new(geometry.counts().tenants),
            now: Duration::ZERO,
            records: geometry.completion_records(),
            head: 0,
            snapshots: 0,
            closed: false,
            tally: Tally::default(),
        }
    }

    /// The geometry.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// What became of the slots so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// What has been published until now.
    #[must_use]
    pub fn moment(&self) -> Moment {
        Moment(self.fifos.each_ref().map(Fifo::taken))
    }

    /// Whether all that had been published by then is complete.
    #[must_use]
    pub fn is_past(&self, moment: &Moment) -> bool {
        moment.0.iter().zip(&self.fifos).all(|(taken, fifo)| *taken <= fifo.oldest())
    }

    /// How many more slots a partition takes before one of its oldest must be reaped. Costs the same whatever the length of the ring.
    #[must_use]
    pub fn free(&self, priority: Priority) -> u32 {
        self.fifos[priority.index()].free()
    }

    /// Publishes one slot.
    ///
    /// # Errors
    /// [`PublishError`]; nothing was changed.
    pub fn publish(&mut self, priority: Priority, slot: &Slot) -> Result<Ticket, PublishError> {
        let tickets = self.publish_all(priority, core::slice::from_ref(slot))?;
        Ok(Ticket { priority, number: tickets.start })
    }

    /// Publishes all slots or none, with one doorbell. Their tickets follow each other.
    ///
    /// # Errors
    /// [`PublishError`]; nothing was changed.
    pub fn publish_all(&mut self, priority: Priority, slots: &[Slot]) -> Result<Range<u64>, PublishError> {
        let reservation = self.reserve(priority, slots)?;
        let tickets = reservation.tickets();
        self.commit(reservation, slots);
        Ok(tickets)
    }

    /// Takes the tickets of all slots or of none, without publishing them yet. From here on they count as published.
    ///
    /// # Errors
    /// [`PublishError`]; nothing was changed.
    pub fn reserve(&mut self, priority: Priority, slots: &[Slot]) -> Result<Reservation, PublishError> {
        self.check(priority, slots)?;
        let fifo = &mut self.fifos[priority.index()];
        let first = fifo.taken();
        for run in slots.chunk_by(|one, next| one.tenant == next.tenant) {
            let tenant = run[0].tenant;
            fifo.take(run.len(), Occupant { tenant: tenant as u16, abandoned: false });
            self.tenants.published(tenant, run.len() as u64, self.now);
        }
        let end = fifo.taken();
        self.unseen += slots.len() as u64;
        self.tally.published += slots.len() as u64;
        Ok(Reservation { priority, tickets: first..end })
    }

    /// Publishes the slots that the reservation was made with. The device sees them when all reservations before it in its partition
    /// were committed or abandoned. Does nothing once the tickets were [cancelled](Self::cancel_outstanding).
    pub fn commit(&mut self, reservation: Reservation, slots: &[Slot]) {
        let Reservation { priority, tickets } = reservation;
        let fifo = &self.fifos[priority.index()];
        if tickets.start < fifo.visible() {
            return;
        }
        let places = fifo.partition().places(tickets.clone());
        for (((place, sequence), ticket), slot) in places.zip(tickets.clone()).zip(slots) {
            self.write(place, sequence, ticket, slot);
        }
        self.memory.slots.publish_fence();
        self.show(priority, tickets);
    }

    /// Gives a reservation up: its slots run as NOPs that nobody hears of, and count as cancelled.
    pub fn abandon(&mut self, reservation: Reservation) {
        let Reservation { priority, tickets } = &reservation;
        let fifo = &mut self.fifos[priority.index()];
        let mut nops = Vec::new();
        // Nothing is left of tickets that were cancelled.
        for ticket in tickets.start.max(fifo.visible())..tickets.end {
            if let Some(occupant) = fifo.occupant(ticket) {
                occupant.abandoned = true;
                nops.push(Slot { tenant: occupant.tenant.into(), ..Slot::new(Operation::Nop) });
            }
        }
        self.commit(reservation, &nops);
    }

    /// Rings the doorbell for the tickets and for what waits behind them, or lets them wait for those before them.
    fn show(&mut self, priority: Priority, tickets: Range<u64>) {
        let fifo = &mut self.fifos[priority.index()];
        let before = fifo.visible();
        if let Some(doorbell) = fifo.show(tickets) {
            self.unseen -= fifo.visible() - before;
            self.memory.control.store(DOORBELLS as usize + priority.index(), doorbell);
            self.memory.control.publish_fence();
        }
    }

    /// Publishes all slots and a FENCE behind them, or nothing; the last ticket is the fence's. Without slots it is a fence alone.
    ///
    /// # Errors
    /// [`PublishError`]; nothing was changed.
    pub fn publish_batch(&mut self, priority: Priority, slots: &[Slot]) -> Result<Range<u64>, PublishError> {
        let tenant = slots.last().map_or(0, |slot| slot.tenant);
        let fence = Slot { tenant, ..Slot::new(Operation::Fence) };
        let batch: Vec<_> = slots.iter().copied().chain([fence]).collect();
        self.publish_all(priority, &batch)
    }

    /// Writes a slot, its sequence last. The doorbell, behind a fence, is what shows it to the device; so the words may reach memory
    /// together, as write-combined ones do best.
    fn write(&self, place: u32, sequence: u32, ticket: u64, slot: &Slot) {
        let mut words = slot.to_words();
        words[0] = sequence;
        if slot.operation == Operation::Fence.code() {
            words[FENCE_TICKET] = ticket as u32;
        }
        self.memory.slots.store_line(self.slot_word(place), &words);
    }

    fn check(&self, priority: Priority, slots: &[Slot]) -> Result<(), PublishError> {
        if self.closed {
            return Err(PublishError::Closed);
        }
        let fifo = &self.fifos[priority.index()];
        let length = fifo.partition().length;
        if slots.len() > length as usize {
            return Err(PublishError::TooMany { priority, given: slots.len(), length });
        }
        let (tenants, free) = (self.geometry.counts().tenants, fifo.free() as usize);
        let mut batch = BTreeMap::new();
        for (index, slot) in slots.iter().enumerate() {
            slot.validate(tenants).map_err(|source| PublishError::Slot { index, source })?;
            let admitted = self.tenants.admit(slot, &mut batch, self.now);
            admitted.map_err(|source| PublishError::Tenant { index, source })?;
            if index == free {
                return Err(PublishError::Occupied { priority, index: fifo.oldest_slot(), ticket: fifo.oldest() });
            }
        }
        Ok(())
    }

    fn slot_word(&self, index: u32) -> usize {
        (HEADER_WORDS + index * SLOT_WORDS) as usize
    }

    /// Takes the next completion if it is there. Costs the same whatever the length of the ring.
    ///
    /// # Errors
    /// [`ReapError`] if the device wrote nonsense; that record is passed over.
    #[inline]
    pub fn reap(&mut self) -> Result<Option<Completion>, ReapError> {
        loop {
            let (base, stamp) = self.next_completion();
            let Some(record) = stamped::load(&self.memory.completions, base, stamp) else { return Ok(None) };
            self.head = self.head.wrapping_add(1);
            let wire = WireCompletion::decode(&record)?;
            let fifo = &mut self.fifos[wire.priority.index()];
            // Whose slot it was the host knows itself; what the device says of it is not asked.
            let Some((number, Occupant { tenant, abandoned })) = fifo.end(wire.wire_ticket) else {
                let (priority, visible) = (wire.priority, fifo.visible());
                return Err(ReapError::Ticket { priority, wire: wire.wire_ticket, visible });
            };
            let (done, faulted, cancelled) = match wire.status {
                _ if abandoned => (0, 0, 1),
                Status::Done => (1, 0, 0),
                Status::Faulted => (0, 1, 0),
            };
            self.tally.done += done;
            self.tally.faulted += faulted;
            self.tally.cancelled += cancelled;
            self.tenants.finished(&self.memory.control, tenant.into(), done, faulted);
            if !abandoned {
                return Ok(Some(Completion::of(&wire, number)));
            }
        }
    }

    /// Whether a completion is there to be reaped.
    #[must_use]
    pub fn has_completion(&self) -> bool {
        let (base, stamp) = self.next_completion();
        stamped::load(&self.memory.completions, base, stamp).is_some()
    }

    /// Somebody who looks for the next completion without the ring.
    #[must_use]
    pub fn lookout(&self) -> Lookout<W>
    where
        W: Clone,
    {
        let (base, stamp) = self.next_completion();
        Lookout { completions: self.memory.completions.clone(), base, stamp }
    }

    /// Word and stamp of the next completion.
    fn next_completion(&self) -> (usize, u32) {
        let place = self.head & (self.records - 1);
        let base = HEADER_WORDS + place * stamped::RECORD_BYTES / crate::WORD_BYTES;
        (base as usize, stamped::stamp(self.head, self.records))
    }

    /// Tells the ring the time, by any clock that never goes back. Without it no token bucket fills.
    pub fn set_time(&mut self, now: Duration) {
        self.now = now;
    }

    /// Registers a tenant and gives its number, which slots carry. Numbers are used again when nothing of their last tenant is
    /// outstanding.
    ///
    /// # Errors
    /// [`TenantError`]: no number is free, or a limit is 0.
    pub fn register_tenant(&mut self, config: TenantConfig) -> Result<u32, TenantError> {
        self.tenants.register(&self.memory.control, config, self.now)
    }

    /// Refuses all further slots of a tenant.
    ///
    /// # Errors
    /// [`TenantError`] if it is not registered.
    pub fn revoke_tenant(&mut self, tenant: u32, how: Revocation) -> Result<(), TenantError> {
        self.tenants.revoke(&self.memory.control, tenant, how)
    }

    /// Counts of a tenant's slots; those of a revoked one stay until its number is used again.
    ///
    /// # Errors
    /// [`TenantError::Unknown`] if nobody ever had the number.
    pub fn tenant_usage(&self, tenant: u32) -> Result<TenantUsage, TenantError> {
        self.tenants.usage(tenant)
    }

    /// Tells the workers to run or to leave.
    pub fn command(&self, command: Command) {
        self.memory.control.store(COMMAND as usize, command.code());
        self.memory.control.publish_fence();
    }

    /// Asks the device to copy its counters to the status region soon.
    pub fn request_snapshot(&mut self) {
        self.snapshots = self.snapshots.wrapping_add(1);
        self.memory.control.store(SNAPSHOT_REQUEST as usize, self.snapshots);
        self.memory.control.publish_fence();
    }

    /// Refuses everything from now on.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Counts what is outstanding as cancelled and names it, oldest first in each partition.
    ///
    /// Call it once the device has stopped for good and [`reap`](Self::reap) returns nothing more.
    pub fn cancel_outstanding(&mut self) -> Vec<Ticket> {
        let mut cancelled = Vec::new();
        for priority in Priority::ALL {
            for (number, occupant) in self.fifos[priority.index()].cancel() {
                self.tenants.finished(&self.memory.control, occupant.tenant.into(), 0, 0);
                self.tally.cancelled += 1;
                cancelled.extend((!occupant.abandoned).then_some(Ticket { priority, number }));
            }
        }
        self.unseen = 0;
        cancelled
    }

    /// Outstanding slots that the device sees. Those that are reserved, and those behind them in their partitions, it does not see yet.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.tally.outstanding() - self.unseen
    }
}
