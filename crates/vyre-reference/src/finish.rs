//! Ending tiles and slots: the same functions as `finish.glsl`.

use vyre_protocol::completion::Status;
use vyre_protocol::fault::Fault;
use vyre_protocol::geometry::ring_records;
use vyre_protocol::header::{HEADER_WORDS, RegionKind};
use vyre_protocol::local::{COMPLETED, COMPLETION_TAIL, COUNTERS};
use vyre_protocol::slot::{MAX_TILES, Slot};
use vyre_protocol::stamped::{self, RECORD_BYTES};
use vyre_protocol::words::SharedWords;

use crate::claim::{Claim, STATE_DONE, STATE_FAULT, STATE_FAULT_WORD, STATE_TILES, state_word};
use crate::sync::Ordering;
use crate::worker::Worker;

impl Worker<'_> {
    /// Counts the tile; the worker that ends the slot's last one completes the slot.
    pub(crate) fn finish_tile(&self, claim: Claim, slot: &Slot) {
        let total = slot.tiles.clamp(1, MAX_TILES);
        if self.local.add(state_word(claim.index, STATE_DONE), 1, Ordering::AcqRel) + 1 == total {
            self.complete_slot(claim, slot);
        }
    }

    /// The tag goes to the next generation before the completion is written, so that the host cannot recycle the slot too
    /// early.
    fn complete_slot(&self, claim: Claim, slot: &Slot) {
        let state = |word| state_word(claim.index, word) as usize;
        let fault = self.local.load(state(STATE_FAULT));
        let fault_word = self.local.load(state(STATE_FAULT_WORD));
        let next = if claim.generation + 1 == self.laps(claim.priority) { 0 } else { claim.generation + 1 };
        for word in [STATE_FAULT, STATE_FAULT_WORD, STATE_DONE] {
            self.local.store(state(word), 0);
        }
        self.local.store_release(state_word(claim.index, STATE_TILES), next << 16);
        self.local.add(COMPLETED + claim.priority, 1, Ordering::AcqRel);
        self.local.add(COUNTERS + 1, 1, Ordering::Relaxed);
        let status = if fault == Fault::None.code() { Status::Done } else { Status::Faulted };
        if status == Status::Faulted {
            self.local.add(COUNTERS + 2, 1, Ordering::Relaxed);
        }
        let state = claim.priority | status.code() << 8 | fault << 16;
        let origin = (slot.operation & 0xffff) | slot.tenant << 16;
        let position = self.local.add(COMPLETION_TAIL, 1, Ordering::Relaxed);
        let records = ring_records(self.slots);
        let base = HEADER_WORDS + (position & (records - 1)) * (RECORD_BYTES / 4);
        let record = [claim.ticket, state, fault_word, origin, 0, 0, 0, 0];
        stamped::store(self.region(RegionKind::Completions), base as usize, stamped::stamp(position, records), &record);
        self.completed.ring();
    }
}
