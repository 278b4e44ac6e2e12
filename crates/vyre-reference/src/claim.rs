//! Taking tiles: the same functions as `claim.glsl`.

use vyre_protocol::control::{DOORBELLS, POLLED_WORDS};
use vyre_protocol::geometry::PARTITIONS;
use vyre_protocol::header::{HEADER_WORDS, RegionKind};
use vyre_protocol::local::{COMPLETED, COUNTERS, HOT, HOT_LEASE, MIRROR, SLOT_STATE_WORDS, SLOT_STATES};
use vyre_protocol::operation::Operation;
use vyre_protocol::slot::{MAX_TILES, SLOT_WORDS};
use vyre_protocol::words::SharedWords;

use crate::sync::Ordering;
use crate::worker::Worker;

/// What a worker has taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    pub(crate) priority: u32,
    /// Wire form.
    pub(crate) ticket: u32,
    pub(crate) generation: u32,
    /// Of the slot in the ring.
    pub(crate) index: u32,
    pub(crate) tile: u32,
    /// Of the slot.
    pub(crate) tiles: u32,
    /// When it was taken.
    pub(crate) clock: u64,
}

/// Words of a slot state.
pub(crate) const STATE_TILES: u32 = 0;
pub(crate) const STATE_DONE: u32 = 1;
pub(crate) const STATE_FAULT: u32 = 2;
pub(crate) const STATE_FAULT_WORD: u32 = 3;

/// Claims from above in a row before one from below is served.
const STARVATION_GUARD: u32 = 16;

pub(crate) fn slot_word(index: u32, word: u32) -> usize {
    (HEADER_WORDS + index * SLOT_WORDS + word) as usize
}

pub(crate) fn state_word(index: u32, word: u32) -> u32 {
    SLOT_STATES + index * SLOT_STATE_WORDS + word
}

impl Worker<'_> {
    /// Looks at the host (only a holder of the lease, or a worker that enters) or at the mirror that the last look left for all
    /// workers.
    pub(crate) fn look(&mut self, host: bool) {
        for word in 0..POLLED_WORDS {
            let value = if host {
                self.region(RegionKind::Control).load_acquire((DOORBELLS + word) as usize)
            } else {
                self.local.load_acquire((MIRROR + word) as usize)
            };
            if host {
                self.local.store_release(MIRROR + word, value);
            }
            self.polled[word as usize] = value;
            self.hot[word as usize] = self.local.load_acquire((HOT + word) as usize);
        }
    }

    /// Whether a partition has slots between its front and its doorbell. A look is not one moment: where the front that it saw
    /// is beyond the doorbell that it saw, others have taken all that this look may speak for.
    fn is_pending(&self, priority: u32) -> bool {
        let (doorbell, front) = (self.polled[priority as usize], self.hot[priority as usize]);
        let (_, length, laps) = self.partitions[priority as usize];
        let wrapped = if doorbell < front { length * laps } else { 0 };
        let ahead = doorbell.wrapping_sub(front).wrapping_add(wrapped);
        ahead.wrapping_sub(1) < length
    }

    /// Partitions that have work, as of the last look.
    fn pending(&self) -> u32 {
        (0..PARTITIONS as u32).filter(|&p| self.is_pending(p)).fold(0, |mask, p| mask | 1 << p)
    }

    /// The generation behind this one: wire tickets wrap after the partition's laps.
    pub(crate) fn next_generation(&self, claim: Claim) -> u32 {
        if claim.generation + 1 == self.partitions[claim.priority as usize].2 { 0 } else { claim.generation + 1 }
    }

    /// Moves the front past the claim's slot, unless others have.
    pub(crate) fn advance(&self, claim: Claim) {
        let (_, length, laps) = self.partitions[claim.priority as usize];
        let next = if claim.ticket + 1 == length * laps { 0 } else { claim.ticket + 1 };
        self.local.swap(HOT + claim.priority, claim.ticket, next);
    }

    /// Takes one tile of the slot at the partition's front; advances the front past a slot that has none left, but not past a fence:
    /// only what completes that does. The tag in the
    /// tiles word makes a stale front harmless: with the tag behind, this worker's view is old, and nothing is done.
    fn take_from(&self, priority: u32) -> Option<Claim> {
        let (first, length, _) = self.partitions[priority as usize];
        let ticket = self.hot[priority as usize];
        let (generation, index) = (ticket / length, first + ticket % length);
        // Reserved but not yet published, or our front is stale.
        if self.region(RegionKind::Ring).load_acquire(slot_word(index, 0)) != generation + 1 {
            return None;
        }
        if self.is_held(priority, index) {
            return None;
        }
        let word = self.local.load_acquire(state_word(index, STATE_TILES) as usize);
        let tiles = self.region(RegionKind::Ring).load(slot_word(index, 2)).clamp(1, MAX_TILES);
        let (tile, clock) = (word & 0xffff, self.clock());
        let claim = Claim { priority, ticket, generation, index, tile, tiles, clock };
        let tag = word >> 16;
        let ours = tag == generation & 0xffff;
        let left = ours && claim.tile < tiles;
        let taken = left && self.local.swap(state_word(index, STATE_TILES), word, word + 1);
        let last = taken && claim.tile + 1 == tiles;
        let exhausted = if ours { !left } else { tag == self.next_generation(claim) & 0xffff };
        let is_fence = self.region(RegionKind::Ring).load(slot_word(index, 1)) == Operation::Fence.code();
        if (last || exhausted) && !is_fence {
            self.advance(claim);
        }
        if last {
            self.local.add(COUNTERS, 1, Ordering::Relaxed);
        }
        taken.then_some(claim)
    }

    /// Whether a fence stands there for which slots before it have yet to complete.
    fn is_held(&self, priority: u32, index: u32) -> bool {
        let word = |word| self.region(RegionKind::Ring).load(slot_word(index, word));
        word(1) == Operation::Fence.code() && word(10) != self.local.load_acquire((COMPLETED + priority) as usize)
    }

    /// Takes a tile, higher partitions first. After [`STARVATION_GUARD`] claims from above while lower work waits, the next
    /// lower partition with work goes first once. A partition that gives nothing stands back until another gave something, so
    /// that a stalled producer delays only its own partition.
    pub(crate) fn claim_tile(&mut self) -> Option<Claim> {
        let mask = self.pending() & !self.blocked;
        if mask == 0 {
            self.blocked = 0;
            return None;
        }
        let lower = mask & (mask - 1);
        let guarded = lower != 0 && self.above >= STARVATION_GUARD;
        let priority = if guarded { lower } else { mask }.trailing_zeros();
        let claim = self.take_from(priority);
        self.blocked = if claim.is_some() { 0 } else { self.blocked | 1 << priority };
        self.above = if guarded || lower == 0 { 0 } else { self.above + u32::from(claim.is_some()) };
        claim
    }

    /// Takes the lease to look at the host, if the last look found it free.
    pub(crate) fn take_lease(&self) -> bool {
        self.hot[HOT_LEASE as usize] == 0 && self.local.swap(HOT + HOT_LEASE, 0, self.id + 1)
    }
}
