//! Ending tiles and slots: the same functions as `finish.glsl`.

use vyre_protocol::completion::Status;
use vyre_protocol::fault::Fault;
use vyre_protocol::geometry::ring_records;
use vyre_protocol::header::{HEADER_WORDS, RegionKind};
use vyre_protocol::local::{
    COMPLETED, COMPLETION_TAIL, COUNTERS, PHASE_FREE, STATE_DONE, STATE_FAULT, STATE_FAULT_WORD, STATE_PHASE,
};
use vyre_protocol::operation::Operation;
use vyre_protocol::slot::Slot;
use vyre_protocol::stamped::{self, RECORD_BYTES};
use vyre_protocol::words::SharedWords;

use crate::claim::{Claim, state_word};
use crate::execute::Refusal;
use crate::ops::Results;
use crate::run::Ran;
use crate::sync::Ordering;
use crate::worker::Worker;

/// A completion's fault code and word.
fn fault_of(result: &Result<Results, Refusal>) -> (u32, u32) {
    result.map_or_else(|(fault, word)| (fault.code(), word), |_| (Fault::None.code(), 0))
}

impl Worker<'_> {
    /// Counts the tile; the worker that ends the slot's last one completes the slot.
    pub(crate) fn finish_tile(&self, claim: Claim, slot: &Slot, result: Result<Results, Refusal>) {
        let fault = fault_of(&result);
        let fault = if claim.tiles == 1 { Some(fault) } else { self.end_tile(claim) };
        if let Some(fault) = fault {
            self.complete_slot(claim, slot, fault, result.unwrap_or([0; 2]));
        }
    }

    /// The slot's fault, if this was its last tile; then its state is cleared for the next generation.
    fn end_tile(&self, claim: Claim) -> Option<(u32, u32)> {
        let state = |word| state_word(claim.index, word);
        if self.local.add(state(STATE_DONE), 1, Ordering::AcqRel) + 1 != claim.tiles {
            return None;
        }
        let fault = self.local.load(state(STATE_FAULT) as usize);
        let word = self.local.load(state(STATE_FAULT_WORD) as usize);
        for word in [STATE_FAULT, STATE_FAULT_WORD, STATE_DONE] {
            self.local.store(state(word) as usize, 0);
        }
        Some((fault, word))
    }

    /// Moves the slot to its next generation, counts it and writes its completion.
    fn complete_slot(&self, claim: Claim, slot: &Slot, fault: (u32, u32), results: Results) {
        self.free_slot(claim, fault);
        let position = self.local.add(COMPLETION_TAIL, 1, Ordering::Release);
        // What is behind a fence is claimed when the fence has its place in the completion ring.
        if slot.operation == Operation::Fence.code() {
            self.advance(claim, 1);
        }
        self.store_completion(position, claim, slot, fault, results);
        // Counted when the slot has its place in the completion ring, so that a fence that waits for it gets a later one.
        self.local.add(COMPLETED + claim.priority, 1, Ordering::Release);
        self.completed.ring();
    }

    /// The same for all slots of a run.
    pub(crate) fn complete_run(&self, priority: u32, ran: &[Ran]) {
        for (claim, _, result) in ran {
            self.free_slot(*claim, fault_of(result));
        }
        let count = ran.len() as u32;
        let first = self.local.add(COMPLETION_TAIL, count, Ordering::Release);
        for (place, (claim, slot, result)) in ran.iter().enumerate() {
            let position = first.wrapping_add(place as u32);
            self.store_completion(position, *claim, slot, fault_of(result), result.unwrap_or([0; 2]));
        }
        self.local.add(COMPLETED + priority, count, Ordering::Release);
        self.completed.ring();
    }

    /// Moves a slot whose tiles have all ended to its next generation.
    fn free_slot(&self, claim: Claim, (fault, _): (u32, u32)) {
        let free = self.next_generation(claim) << 16 | PHASE_FREE;
        self.local.store_release(state_word(claim.index, STATE_PHASE), free);
        if fault != Fault::None.code() {
            self.local.add(COUNTERS + 2, 1, Ordering::Relaxed);
        }
    }

    /// Writes the completion with this place in the ring.
    fn store_completion(&self, position: u32, claim: Claim, slot: &Slot, (fault, word): (u32, u32), results: Results) {
        let status = if fault == Fault::None.code() { Status::Done } else { Status::Faulted };
        let state = claim.priority | status.code() << 8 | fault << 16;
        let origin = (slot.operation & 0xffff) | slot.tenant << 16;
        let records = ring_records(self.slots);
        let base = HEADER_WORDS + (position & (records - 1)) * (RECORD_BYTES / 4);
        let record = [claim.ticket, state, word, origin, results[0], results[1], 0, 0];
        stamped::store(self.region(RegionKind::Completions), base as usize, stamped::stamp(position, records), &record);
    }
}
