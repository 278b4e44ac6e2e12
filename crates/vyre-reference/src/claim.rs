//! Taking tiles: the same functions as `claim.glsl`.

use vyre_protocol::control::{DOORBELLS, POLLED_WORDS};
use vyre_protocol::geometry::PARTITIONS;
use vyre_protocol::header::{HEADER_WORDS, RegionKind};
use vyre_protocol::local::{
    COMPLETED, COUNTERS, HOT, HOT_LEASE, MIRROR, NO_TILES_LEFT, PHASE_FREE, PHASE_OPEN, PHASE_TAKEN, SLOT_STATE_WORDS,
    SLOT_STATES, STATE_COUNTER, STATE_PHASE, TILE_COUNT_BITS,
};
use vyre_protocol::operation::{Operation, RUN_SLOTS, is_scalar};
use vyre_protocol::slot::{MAX_TILES, SLOT_WORDS};
use vyre_protocol::words::SharedWords;

use crate::sync::{Ordering, fence};
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

/// Where to claim.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice {
    pub(crate) priority: u32,
    /// Slots that may be taken at once.
    pub(crate) most: u32,
    /// From above, while a lower partition has work.
    above: bool,
}

/// What a claim on one slot has given.
enum Taken {
    /// This tile.
    Tile(u32),
    /// Nothing now.
    Nothing,
    /// Nothing is left to take of the slot.
    Exhausted,
    /// A tile of another slot, which had so many left.
    Stray(u32),
}

/// Claims from above in a row before one from below is served.
const STARVATION_GUARD: u32 = 16;

impl Claim {
    /// The phase word of its generation.
    pub(crate) fn phase_word(self, phase: u32) -> u32 {
        self.generation << 16 | phase
    }

    /// Whether the counter counts for its generation.
    fn counts(self, counter: u32) -> bool {
        (counter ^ self.generation << TILE_COUNT_BITS) >> TILE_COUNT_BITS == 0
    }
}

/// Tiles that were left, the one that was taken included.
fn tiles_left(counter: u32) -> u32 {
    (counter & ((1 << TILE_COUNT_BITS) - 1)).saturating_sub(NO_TILES_LEFT)
}

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

    /// Slots of a partition between its front and its doorbell. A look is not one moment: where the front that it saw
    /// is beyond the doorbell that it saw, others have taken all that this look may speak for.
    fn ahead(&self, priority: u32) -> u32 {
        let ahead = self.ticket_distance(priority, self.hot[priority as usize], self.polled[priority as usize]);
        if ahead <= self.partitions[priority as usize].1 { ahead } else { 0 }
    }

    /// How far a ticket of a partition is behind another one; wire tickets wrap after its laps.
    fn ticket_distance(&self, priority: u32, from: u32, to: u32) -> u32 {
        let (_, length, laps) = self.partitions[priority as usize];
        let wrapped = if to < from { length * laps } else { 0 };
        to.wrapping_sub(from).wrapping_add(wrapped)
    }

    /// Partitions that have work, as of the last look.
    fn pending(&self) -> u32 {
        (0..PARTITIONS as u32).filter(|&p| self.ahead(p) > 0).fold(0, |mask, p| mask | 1 << p)
    }

    /// The generation behind this one: wire tickets wrap after the partition's laps.
    pub(crate) fn next_generation(&self, claim: Claim) -> u32 {
        if claim.generation + 1 == self.partitions[claim.priority as usize].2 { 0 } else { claim.generation + 1 }
    }

    /// The claim on the ticket that many behind a partition's front, as of the last look; at most a lap.
    pub(crate) fn claim_behind(&self, priority: u32, by: u32) -> Claim {
        let (first, length, laps) = self.partitions[priority as usize];
        let ticket = (u64::from(self.hot[priority as usize]) + u64::from(by)) % u64::from(length * laps);
        let ticket = ticket as u32;
        let (generation, index) = (ticket / length, first + ticket % length);
        Claim { priority, ticket, generation, index, tile: 0, tiles: 1, clock: self.clock() }
    }

    /// Moves the front that many slots past the claim's, unless it is beyond them already. Others may have moved it to somewhere among them: it must
    /// be past a slot before that completes, since the host may then fill the partition up to a lap ahead of the front, where no
    /// look finds it.
    pub(crate) fn advance(&self, claim: Claim, by: u32) {
        let (_, length, laps) = self.partitions[claim.priority as usize];
        let next = (u64::from(claim.ticket) + u64::from(by)) % u64::from(length * laps);
        let mut front = claim.ticket;
        while let Err(found) = self.local.exchange_if(HOT + claim.priority, front, next as u32) {
            if self.ticket_distance(claim.priority, claim.ticket, found) >= by {
                return;
            }
            front = found;
        }
    }

    /// Takes one tile of the slot at the partition's front; advances the front past a slot that has none left, but not past a fence: only
    /// what completes that does. The tag in the phase word makes a stale front harmless: with the tag behind, this worker's view is old,
    /// and nothing is done.
    pub(crate) fn take_tile(&self, priority: u32) -> Option<Claim> {
        let front = self.claim_behind(priority, 0);
        // Reserved but not yet published, or our front is stale.
        if !self.is_published(front) || self.is_held(priority, front.index) {
            return None;
        }
        let claim = self.with_tiles(front);
        match self.take_from(claim) {
            Taken::Tile(tile) => Some(self.taken(claim, tile)),
            Taken::Nothing => None,
            Taken::Exhausted => {
                self.pass(claim);
                None
            }
            Taken::Stray(left) => Some(self.adopt(claim, left)),
        }
    }

    fn take_from(&self, claim: Claim) -> Taken {
        let found = self.local.load_acquire(state_word(claim.index, STATE_PHASE) as usize);
        let phase = |phase| claim.phase_word(phase);
        if found == phase(PHASE_FREE) {
            return if !self.is_scalar(claim) && self.open_slot(claim) { Taken::Tile(0) } else { Taken::Nothing };
        }
        if found == phase(PHASE_OPEN) {
            return self.count_tile(claim);
        }
        let is_taken = claim.tiles == 1 && found == phase(PHASE_TAKEN);
        let is_completed = found >> 16 == self.next_generation(claim) & 0xffff;
        if is_taken || is_completed { Taken::Exhausted } else { Taken::Nothing }
    }

    /// Takes a slot that is free: its only tile, or the first, and then the others are counted.
    fn open_slot(&self, claim: Claim) -> bool {
        let word = state_word(claim.index, STATE_PHASE);
        let taken = self.local.swap(word, claim.phase_word(PHASE_FREE), claim.phase_word(PHASE_TAKEN));
        if taken && claim.tiles > 1 {
            // Released twice: who finds the counter need not have seen the phase. An exchange where the kernel stores, since loom would let
            // workers that come too late go on counting in what a store has replaced.
            let counter = claim.generation << TILE_COUNT_BITS | (NO_TILES_LEFT + claim.tiles - 1);
            self.local.exchange(state_word(claim.index, STATE_COUNTER), counter);
            self.local.store_release(word, claim.phase_word(PHASE_OPEN));
        }
        taken
    }

    /// Takes the next tile of a slot whose counter was open a moment ago.
    fn count_tile(&self, claim: Claim) -> Taken {
        let word = state_word(claim.index, STATE_COUNTER);
        let counter = self.local.add(word, u32::MAX, Ordering::Relaxed);
        match (tiles_left(counter), claim.counts(counter)) {
            (0, true) => Taken::Exhausted,
            (0, false) => Taken::Nothing,
            (left, true) => Taken::Tile(claim.tiles.saturating_sub(left)),
            (left, false) => Taken::Stray(left),
        }
    }

    /// The claim on the slot that came to stand where this one was, and of which a tile was taken.
    fn adopt(&self, stale: Claim, left: u32) -> Claim {
        // Whoever opened the counter had seen the slot.
        fence(Ordering::Acquire);
        let (first, length, _) = self.partitions[stale.priority as usize];
        let sequence = self.region(RegionKind::Ring).load_acquire(slot_word(stale.index, 0));
        let generation = sequence.wrapping_sub(1);
        let ticket = generation.wrapping_mul(length).wrapping_add(stale.index - first);
        let claim = self.with_tiles(Claim { ticket, generation, ..stale });
        self.taken(claim, claim.tiles.saturating_sub(left))
    }

    /// The claim with a tile of its slot that was taken.
    fn taken(&self, claim: Claim, tile: u32) -> Claim {
        if tile + 1 == claim.tiles {
            self.pass(claim);
            self.local.add(COUNTERS, 1, Ordering::Relaxed);
        }
        Claim { tile, ..claim }
    }

    /// Advances the front past the claim's slot, if it stands there.
    fn pass(&self, claim: Claim) {
        if self.region(RegionKind::Ring).load(slot_word(claim.index, 1)) != Operation::Fence.code() {
            self.advance(claim, 1);
        }
    }

    fn with_tiles(&self, claim: Claim) -> Claim {
        let tiles = self.region(RegionKind::Ring).load(slot_word(claim.index, 2)).clamp(1, MAX_TILES);
        Claim { tiles, ..claim }
    }

    /// Whether the host has published the slot of this very generation.
    pub(crate) fn is_published(&self, claim: Claim) -> bool {
        self.region(RegionKind::Ring).load_acquire(slot_word(claim.index, 0)) == claim.generation + 1
    }

    /// Whether the published slot is one of a run's.
    pub(crate) fn is_scalar(&self, claim: Claim) -> bool {
        let word = |word| self.region(RegionKind::Ring).load(slot_word(claim.index, word));
        is_scalar(word(1), word(2))
    }

    /// Whether a fence stands there for which slots before it have yet to complete.
    fn is_held(&self, priority: u32, index: u32) -> bool {
        let word = |word| self.region(RegionKind::Ring).load(slot_word(index, word));
        word(1) == Operation::Fence.code() && word(10) != self.local.load_acquire((COMPLETED + priority) as usize)
    }

    /// Where to claim next, higher partitions first. After [`STARVATION_GUARD`] claims from above while lower work waits, the next
    /// lower partition with work goes first once.
    pub(crate) fn choose(&mut self) -> Option<Choice> {
        let mask = self.pending() & !self.blocked;
        if mask == 0 {
            self.blocked = 0;
            return None;
        }
        let lower = mask & (mask - 1);
        let guarded = lower != 0 && self.above >= STARVATION_GUARD;
        let priority = if guarded { lower } else { mask }.trailing_zeros();
        let above = lower != 0 && !guarded;
        let most = match () {
            // A traced worker takes one at a time, so that its track shows each.
            () if guarded || self.epoch.is_some() => 1,
            () if above => STARVATION_GUARD - self.above,
            () => RUN_SLOTS,
        };
        Some(Choice { priority, most: most.min(self.ahead(priority)), above })
    }

    /// Counts what a claim has given. A partition that gives nothing stands back until another gave something, so that a stalled
    /// producer delays only its own partition.
    pub(crate) fn count_claimed(&mut self, choice: Choice, taken: u32) {
        self.blocked = if taken != 0 { 0 } else { self.blocked | 1 << choice.priority };
        self.above = if choice.above { self.above + taken } else { 0 };
    }

    /// Takes the lease to look at the host, if the last look found it free.
    pub(crate) fn take_lease(&self) -> bool {
        self.hot[HOT_LEASE as usize] == 0 && self.local.swap(HOT + HOT_LEASE, 0, self.id + 1)
    }
}
