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
    fn advance_front(&self, priority: u32, ticket: u32, length: u32) {
        let modulus = length * self.laps(priority);
        let next = if ticket + 1 == modulus { 0 } else { ticket + 1 };
        self.local.swap(FRONT + priority, ticket, next);
    }

    pub(crate) fn laps(&self, priority: u32) -> u32 {
        self.region(RegionKind::Control).load((LAPS + priority) as usize)
    }

    /// Takes one tile of the partition's first slot that has any left. A tag in the tiles word makes a stale front harmless.
    fn claim_from(&mut self, priority: u32) -> Option<Claim> {
        let offset = |index: u32| self.region(RegionKind::Control).load((PRIORITY_OFFSETS + index) as usize);
        let (first, length) = (offset(priority), offset(priority + 1) - offset(priority));
        while self.fuel > 0 {
            self.fuel -= 1;
            let ticket = self.local.load_acquire((FRONT + priority) as usize);
            if ticket == self.local.load((MIRROR + priority) as usize) {
                return None;
            }
            let generation = ticket / length;
            let index = first + ticket % length;
            // Reserved but not yet published, or our front is stale.
            if self.region(RegionKind::Ring).load_acquire(slot_word(index, 0)) != generation + 1 {
                return None;
            }
            let tiles = self.local.load_acquire(state_word(index, STATE_TILES) as usize);
            let total = self.region(RegionKind::Ring).load(slot_word(index, 2)).clamp(1, MAX_TILES);
            let tile = tiles & 0xffff;
            if tiles >> 16 != generation & 0xffff || tile >= total {
                self.advance_front(priority, ticket, length);
                continue;
            }
            if self.local.swap(state_word(index, STATE_TILES), tiles, tiles + 1) {
                if tile + 1 == total {
                    self.advance_front(priority, ticket, length);
                    self.local.add(COUNTERS, 1, Ordering::Relaxed);
                }
                return Some(Claim { priority, ticket, generation, index, tile });
            }
        }
        None
    }

    /// Partitions that have work, as far as the mirror knows.
    fn pending(&self) -> u32 {
        (0..PARTITIONS as u32)
            .filter(|p| self.local.load((FRONT + p) as usize) != self.local.load((MIRROR + p) as usize))
            .fold(0, |mask, p| mask | 1 << p)
    }

    /// Takes a tile, higher partitions first. After [`STARVATION_GUARD`] claims from above while lower work waits, the next
    /// lower partition with work goes first once; if it has nothing after all, the order is the usual one.
    pub(crate) fn claim_tile(&mut self) -> Option<Claim> {
        let mut mask = self.pending();
        let lower = mask & mask.wrapping_sub(1);
        if lower != 0 && self.above >= STARVATION_GUARD {
            self.above = 0;
            if let Some(claim) = self.claim_from(lower.trailing_zeros()) {
                return Some(claim);
            }
        }
        while mask != 0 {
            let priority = mask.trailing_zeros();
            mask &= mask - 1;
            if let Some(claim) = self.claim_from(priority) {
                self.above = if mask != 0 { self.above + 1 } else { 0 };
                return Some(claim);
            }
        }
        None
    }

    /// Takes the lease to poll the host.
    pub(crate) fn take_lease(&mut self) -> bool {
        self.leased = self.local.load(LEASE as usize) == 0 && self.local.swap(LEASE, 0, self.id + 1);
        self.leased
    }

    /// Copies the polled line to the mirror.
    pub(crate) fn poll(&self) {
        for word in 0..POLLED_WORDS {
            let value = self.region(RegionKind::Control).load_acquire((DOORBELLS + word) as usize);
            self.local.store_release(MIRROR + word, value);
        }
    }
}
