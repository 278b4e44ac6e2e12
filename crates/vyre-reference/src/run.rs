//! Runs of scalar slots: the same functions as `run.glsl`, one slot after another where the kernel has a lane for each.

use vyre_protocol::local::{COUNTERS, PHASE_FREE, PHASE_TAKEN, STATE_PHASE};
use vyre_protocol::slot::Slot;
use vyre_protocol::words::SharedWords;

use crate::claim::{Choice, Claim, state_word};
use crate::execute::Refusal;
use crate::ops::Results;
use crate::sync::Ordering;
use crate::worker::Worker;

/// A slot of a run that was taken, and what came of it.
pub(crate) type Ran = (Claim, Slot, Result<Results, Refusal>);

impl Worker<'_> {
    /// Takes and runs the scalar slots at the partition's front. Gives how many it has run.
    pub(crate) fn run_scalars(&mut self, choice: Choice) -> u32 {
        let in_run = |by: &u32| self.continues_run(self.claim_behind(choice.priority, *by));
        let length = (0..choice.most).take_while(in_run).count() as u32;
        if length == 0 {
            return 0;
        }
        // Beside the slots' own words the front is only a hint, so it may pass them before they are taken: it passes no slot that nobody
        // takes.
        self.advance(self.claim_behind(choice.priority, 0), length);
        // What is taken here does not take long: until the next look nobody else needs to look, unless there is more.
        if self.regions.is_published() {
            self.looking.found(|| true);
        }
        let mut ran = std::mem::take(&mut self.ran);
        for by in 0..length {
            let claim = self.claim_behind(choice.priority, by);
            if self.take_scalar(claim) {
                let (slot, result) = self.execute(claim);
                if self.epoch.is_some() {
                    self.trace_tile(claim, &slot);
                }
                ran.push((claim, slot, result));
            }
        }
        let count = ran.len() as u32;
        if count != 0 {
            self.local.add(COUNTERS, count, Ordering::Relaxed);
            self.complete_run(choice.priority, &ran);
        }
        ran.clear();
        self.ran = ran;
        count
    }

    /// Whether a run goes on with this slot. One that others have taken, or completed, does not end it: the front passes that, too.
    fn continues_run(&self, claim: Claim) -> bool {
        let tag = self.local.load_acquire(state_word(claim.index, STATE_PHASE) as usize) >> 16;
        let known = tag == claim.generation & 0xffff || tag == self.next_generation(claim) & 0xffff;
        known && self.is_published(claim) && self.is_scalar(claim)
    }

    fn take_scalar(&self, claim: Claim) -> bool {
        let phase = state_word(claim.index, STATE_PHASE);
        self.local.swap(phase, claim.phase_word(PHASE_FREE), claim.phase_word(PHASE_TAKEN))
    }
}
