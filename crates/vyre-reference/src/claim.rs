//! Taking tiles: the same functions as `claim.glsl`.

use vyre_protocol::control::{DOORBELLS, LAPS, POLLED_WORDS, PRIORITY_OFFSETS};
use vyre_protocol::geometry::PARTITIONS;
use vyre_protocol::header::{HEADER_WORDS, RegionKind};
use vyre_protocol::local::{COUNTERS, FRONT, LEASE, MIRROR, SLOT_STATE_WORDS, SLOT_STATES};
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
    pub(crate) fn laps(&self, priority: u32) -> u32 {
        self.region(RegionKind::Control).load((LAPS + priority) as usize)
    }

    /// Looks at the host (only a holder of the lease, or a worker that enters) or at the mirror that the last look left for all
    /// workers.
    pub(crate) fn look(&mut self, host: bool) {
        for word in 0..POLLED_WORDS {
            let mirror = MIRROR + word;
            let value = if host {
                self.region(RegionKind::Control).load_acquire((DOORBELLS + word) as usize)
            } else {
                self.local.load(mirror as usize)
            };
            if host {
                self.local.store_release(mirror, value);
            }
            self.polled[word as usize] = value;
        }
        for (priority, front) in self.front.iter_mut().enumerate() {
            *front = self.local.load_acquire(FRONT as usize + priority);
        }
    }

    /// Partitions that have work, as of the last look.
    fn pending(&self) -> u32 {
        (0..PARTITIONS).filter(|&p| self.front[p] != self.polled[p]).fold(0, |mask, p| mask | 1 << p)
    }

    /// Takes one tile of the partition's first slot that has any left; advances the front past a slot that has none. A tag in
    /// the tiles word makes a stale front harmless.
    fn claim_from(&self, priority: u32) -> Option<Claim> {
        let offset = |index: u32| self.region(RegionKind::Control).load((PRIORITY_OFFSETS + index) as usize);
        let (first, length) = (offset(priority), offset(priority + 1) - offset(priority));
        let ticket = self.front[priority as usize];
        let generation = ticket / length;
        let index = first + ticket % length;
        // Reserved but not yet published, or our front is stale.
        if self.region(RegionKind::Ring).load_acquire(slot_word(index, 0)) != generation + 1 {
            return None;
        }
        let tiles = self.local.load_acquire(state_word(index, STATE_TILES) as usize);
        let total = self.region(RegionKind::Ring).load(slot_word(index, 2)).clamp(1, MAX_TILES);
        let tile = tiles & 0xffff;
        let left = tiles >> 16 == generation & 0xffff && tile < total;
        let taken = left && self.local.swap(state_word(index, STATE_TILES), tiles, tiles + 1);
        if !left || (taken && tile + 1 == total) {
            let next = if ticket + 1 == length * self.laps(priority) { 0 } else { ticket + 1 };
            self.local.swap(FRONT + priority, ticket, next);
            if taken {
                self.local.add(COUNTERS, 1, Ordering::Relaxed);
            }
        }
        taken.then_some(Claim { priority, ticket, generation, index, tile })
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
        let claim = self.claim_from(priority);
        self.blocked = if claim.is_some() { 0 } else { self.blocked | 1 << priority };
        self.above = if guarded || lower == 0 { 0 } else { self.above + u32::from(claim.is_some()) };
        claim
    }

    /// Takes the lease to look at the host; freed on the next turn.
    pub(crate) fn take_lease(&self) -> bool {
        self.local.load(LEASE as usize) == 0 && self.local.swap(LEASE, 0, self.id + 1)
    }
}
