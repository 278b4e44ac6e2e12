//! PACKED: the counterpart of `op_packed.glsl`.

use vyre_protocol::fault::Fault;
use vyre_protocol::operation::Operation;
use vyre_protocol::packed::{CODE_BITS, PACKED_WORDS, inner_words};
use vyre_protocol::resource::READ;
use vyre_protocol::slot::{Operand, Slot};

use crate::execute::{Refusal, Resolved};
use crate::ops::{self, Results};
use crate::sync::{Ordering, fence};
use crate::worker::Worker;

/// An inner operation that was checked; NOP has no place.
struct Step {
    operation: Operation,
    place: Option<Resolved>,
    arguments: [u32; 2],
}

impl Worker<'_> {
    /// Checks all inner operations, then runs them in order.
    pub(crate) fn run_packed(&self, slot: &Slot) -> Result<Results, Refusal> {
        let mut results = [0; 2];
        let mut places = results.iter_mut();
        for Step { operation, place, arguments } in self.check_packed(slot)? {
            let Some(place) = place else { continue };
            // What came before is there for whoever sees this one.
            fence(Ordering::AcqRel);
            let result = ops::run_word(operation, &place, arguments);
            if operation != Operation::StoreU32
                && let Some(place) = places.next()
            {
                *place = result;
            }
        }
        Ok(results)
    }

    fn check_packed(&self, slot: &Slot) -> Result<Vec<Step>, Refusal> {
        if slot.tiles != 1 {
            return Err((Fault::BadArgument, slot.tiles));
        }
        if !slot.length.is_multiple_of(4) {
            return Err((Fault::Misaligned, slot.length));
        }
        let mut program = [slot.tile_span; PACKED_WORDS];
        program[1..].copy_from_slice(&slot.args);
        let mut rest = program.get(..slot.length as usize / 4).ok_or((Fault::BadArgument, slot.length))?;
        let mut steps = Vec::new();
        while let Some(&head) = rest.first() {
            let code = head & ((1 << CODE_BITS) - 1);
            let (inner, after) = match inner_words(code) as usize {
                0 => return Err((Fault::BadArgument, head)),
                words => rest.split_at_checked(words).ok_or((Fault::BadArgument, head))?,
            };
            let operation = Operation::from_code(code).ok_or((Fault::BadArgument, head))?;
            self.check_allowed(slot, code)?;
            let place = self.resolve_inner(slot, operation, (head >> CODE_BITS) * 4)?;
            let argument = |i: usize| inner.get(i).copied().unwrap_or(0);
            steps.push(Step { operation, place, arguments: [argument(1), argument(2)] });
            rest = after;
        }
        Ok(steps)
    }

    /// The word that an inner operation works on.
    fn resolve_inner(&self, slot: &Slot, operation: Operation, offset: u32) -> Result<Option<Resolved>, Refusal> {
        let (operand, access) = match operation {
            Operation::Nop => return Ok(None),
            Operation::LoadU32 => (slot.input, READ),
            _ => (slot.output, ops::word_access(operation)),
        };
        // Beyond 32 bits it is in no resource.
        let offset = operand.offset.checked_add(offset).unwrap_or(0xffff_fffc);
        self.resolve(slot, Operand { offset, ..operand }, 4, access).map(Some)
    }
}
