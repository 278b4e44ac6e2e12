//! The host's side of the ring: publish slots, reap completions. A pure algorithm over [`SharedWords`].
//!
//! What the host knows of the ring it keeps in its own memory; it never reads a word that it writes for the device (that
//! memory may be write-combined). A slot is free again when its completion was reaped, so the completion ring, which has at
//! least as many records as the ring has slots, cannot overflow.

use alloc::collections::BTreeMap;
use alloc::vec;
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
use crate::slot::{SLOT_WORDS, Slot, SlotError};
use crate::stamped;
use crate::tenants::{Revocation, TenantConfig, TenantError, TenantUsage, Tenants};
use crate::words::SharedWords;

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

/// Whose ticket is outstanding at a place of the ring.
#[derive(Debug, Clone, Copy)]
struct Occupant {
    tenant: u32,
    /// Its producer gave it up: when it completes, nobody hears of it.
    abandoned: bool,
}

/// The host's side of one ring. One owner publishes and reaps.
#[derive(Debug)]
pub struct Ring<W> {
    geometry: Geometry,
    memory: RingMemory<W>,
    /// Tickets taken in each partition.
    taken: [u64; PARTITIONS],
    /// Tickets below which the device sees all, in each partition: its doorbell.
    visible: [u64; PARTITIONS],
    /// Tickets below which nothing is outstanding, in each partition.
    oldest: [u64; PARTITIONS],
    /// Tickets taken that are not visible, in all partitions.
    unseen: u64,
    /// What was committed behind a reservation that was not, first ticket to end, in each partition.
    waiting: [BTreeMap<u64, u64>; PARTITIONS],
    /// Per slot of the ring.
    busy: Vec<Option<Occupant>>,
    tenants: Tenants,
    /// Time by the caller's clock, which fills the tenants' token buckets.
    now: Duration,
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
            taken: [0; PARTITIONS],
            visible: [0; PARTITIONS],
            oldest: [0; PARTITIONS],
            unseen: 0,
            waiting: [const { BTreeMap::new() }; PARTITIONS],
            busy: vec![None; geometry.counts().slots as usize],
            tenants: Tenants::new(geometry.counts().tenants),
            now: Duration::ZERO,
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
        Moment(self.taken)
    }

    /// Whether all that had been published by then is complete.
    #[must_use]
    pub fn is_past(&self, moment: &Moment) -> bool {
        moment.0.iter().zip(&self.oldest).all(|(taken, oldest)| taken <= oldest)
    }

    /// How many more slots a partition takes before one of its oldest must be reaped. Costs the same whatever the length of the ring.
    #[must_use]
    pub fn free(&self, priority: Priority) -> u32 {
        let since_oldest = self.taken[priority.index()] - self.oldest[priority.index()];
        // More only if a device completed what it could not see yet.
        self.geometry.partition(priority).length.saturating_sub(since_oldest as u32)
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
        let partition = self.geometry.partition(priority);
        let first = self.taken[priority.index()];
        let end = first + slots.len() as u64;
        for ((place, _), slot) in partition.places(first..end).zip(slots) {
            self.busy[place as usize] = Some(Occupant { tenant: slot.tenant, abandoned: false });
            self.tenants.published(slot.tenant, self.now);
        }
        self.taken[priority.index()] = end;
        self.unseen += slots.len() as u64;
        self.tally.published += slots.len() as u64;
        Ok(Reservation { priority, tickets: first..end })
    }

    /// Publishes the slots that the reservation was made with. The device sees them when all reservations before it in its partition
    /// were committed or abandoned. Does nothing once the tickets were [cancelled](Self::cancel_outstanding).
    pub fn commit(&mut self, reservation: Reservation, slots: &[Slot]) {
        let Reservation { priority, tickets } = reservation;
        if tickets.start < self.visible[priority.index()] {
            return;
        }
        let partition = self.geometry.partition(priority);
        for (((place, sequence), ticket), slot) in partition.places(tickets.clone()).zip(tickets.clone()).zip(slots) {
            self.write(place, sequence, ticket, slot);
        }
        self.memory.slots.publish_fence();
        self.show(priority, tickets);
    }

    /// Gives a reservation up: its slots run as NOPs that nobody hears of, and count as cancelled.
    pub fn abandon(&mut self, reservation: Reservation) {
        let Reservation { priority, tickets } = &reservation;
        let partition = self.geometry.partition(*priority);
        let mut nops = Vec::new();
        for ticket in tickets.clone() {
            if let Some(occupant) = &mut self.busy[partition.slot(ticket) as usize] {
                occupant.abandoned = true;
                nops.push(Slot { tenant: occupant.tenant, ..Slot::new(Operation::Nop) });
            }
        }
        self.commit(reservation, &nops);
    }

    /// Rings the doorbell for the tickets and for what waits behind them, or lets them wait for those before them.
    fn show(&mut self, priority: Priority, tickets: Range<u64>) {
        let index = priority.index();
        if tickets.is_empty() {
            return;
        }
        if tickets.start != self.visible[index] {
            self.waiting[index].insert(tickets.start, tickets.end);
            return;
        }
        let mut end = tickets.end;
        while let Some(next) = self.waiting[index].remove(&end) {
            end = next;
        }
        self.unseen -= end - self.visible[index];
        self.visible[index] = end;
        self.memory.control.store(DOORBELLS as usize + index, self.geometry.partition(priority).wire(end));
        self.memory.control.publish_fence();
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
        let mut slot = *slot;
        if slot.operation == Operation::Fence.code() {
            slot.args[0] = ticket as u32;
        }
        let base = self.slot_word(place);
        self.memory.slots.store_words(base + 1, &slot.to_words()[1..]);
        self.memory.slots.store(base, sequence);
    }

    fn check(&self, priority: Priority, slots: &[Slot]) -> Result<(), PublishError> {
        if self.closed {
            return Err(PublishError::Closed);
        }
        let partition = self.geometry.partition(priority);
        if slots.len() > partition.length as usize {
            return Err(PublishError::TooMany { priority, given: slots.len(), length: partition.length });
        }
        let tenants = self.geometry.counts().tenants;
        let first = self.taken[priority.index()];
        let places = partition.places(first..first + slots.len() as u64);
        let mut batch = BTreeMap::new();
        for (index, ((place, _), slot)) in places.zip(slots).enumerate() {
            slot.validate(tenants).map_err(|source| PublishError::Slot { index, source })?;
            let admitted = self.tenants.admit(slot, &mut batch, self.now);
            admitted.map_err(|source| PublishError::Tenant { index, source })?;
            if self.busy[place as usize].is_some() {
                let ticket = first + index as u64 - u64::from(partition.length);
                return Err(PublishError::Occupied { priority, index: place, ticket });
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
    pub fn reap(&mut self) -> Result<Option<Completion>, ReapError> {
        loop {
            let (base, stamp) = self.next_completion();
            let Some(record) = stamped::load(&self.memory.completions, base, stamp) else { return Ok(None) };
            self.head = self.head.wrapping_add(1);
            let (completion, occupant) = self.accept(WireCompletion::decode(&record)?)?;
            let Occupant { tenant, abandoned } = occupant;
            let (done, faulted, cancelled) = match completion.status {
                _ if abandoned => (0, 0, 1),
                Status::Done => (1, 0, 0),
                Status::Faulted => (0, 1, 0),
            };
            self.tally.done += done;
            self.tally.faulted += faulted;
            self.tally.cancelled += cancelled;
            self.tenants.finished(&self.memory.control, tenant, done, faulted);
            if !abandoned {
                return Ok(Some(completion));
            }
        }
    }

    /// Finds the outstanding slot that a completion belongs to, and frees its place.
    fn accept(&mut self, wire: WireCompletion) -> Result<(Completion, Occupant), ReapError> {
        let priority = wire.priority;
        let partition = self.geometry.partition(priority);
        let visible = self.visible[priority.index()];
        let number = partition.widen(wire.wire_ticket, visible);
        // Whose slot it was the host knows itself; what the device says of it is not asked.
        let place = partition.first + wire.wire_ticket.checked_rem(partition.length).unwrap_or(0);
        let occupant = number.and_then(|_| self.busy[place as usize].take());
        let (Some(number), Some(occupant)) = (number, occupant) else {
            return Err(ReapError::Ticket { priority, wire: wire.wire_ticket, visible });
        };
        self.pass_over(priority, number, place);
        let completion = Completion {
            ticket: Ticket { priority, number },
            operation: wire.operation,
            status: wire.status,
            fault: wire.fault,
            fault_word: wire.fault_word,
            results: wire.results,
            clock: wire.clock,
        };
        Ok((completion, occupant))
    }

    /// If the ticket, whose place is free now, was the oldest one: finds the next that is outstanding. Each is passed over once.
    fn pass_over(&mut self, priority: Priority, number: u64, mut place: u32) {
        let partition = self.geometry.partition(priority);
        let oldest = &mut self.oldest[priority.index()];
        if number != *oldest {
            return;
        }
        while *oldest < self.taken[priority.index()] && self.busy[place as usize].is_none() {
            *oldest += 1;
            place = partition.next(place);
        }
    }

    /// Whether a completion is there to be reaped.
    #[must_use]
    pub fn has_completion(&self) -> bool {
        let (base, stamp) = self.next_completion();
        stamped::load(&self.memory.completions, base, stamp).is_some()
    }

    /// Word and stamp of the next completion.
    fn next_completion(&self) -> (usize, u32) {
        let records = self.geometry.completion_records();
        let place = self.head & (records - 1);
        let base = HEADER_WORDS + place * stamped::RECORD_BYTES / crate::WORD_BYTES;
        (base as usize, stamped::stamp(self.head, records))
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
            let partition = self.geometry.partition(priority);
            let end = self.taken[priority.index()];
            for number in end.saturating_sub(u64::from(partition.length))..end {
                if let Some(occupant) = self.busy[partition.slot(number) as usize].take() {
                    self.tenants.finished(&self.memory.control, occupant.tenant, 0, 0);
                    self.tally.cancelled += 1;
                    cancelled.extend((!occupant.abandoned).then_some(Ticket { priority, number }));
                }
            }
            self.visible[priority.index()] = end;
            self.oldest[priority.index()] = end;
            self.unseen = 0;
            self.waiting[priority.index()].clear();
        }
        cancelled
    }

    /// Outstanding slots that the device sees. Those that are reserved, and those behind them in their partitions, it does not see yet.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.tally.outstanding() - self.unseen
    }
}
