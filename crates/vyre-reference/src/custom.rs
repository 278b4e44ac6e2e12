//! Operations of the user's own, as Rust functions: the counterpart of `custom.glsl`.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use vyre_protocol::fault::Fault;
use vyre_protocol::resource::READ;
use vyre_protocol::slot::Slot;

use crate::execute::{Refusal, Resolved, check_bytes, tile_range};
use crate::worker::Worker;

/// Runs one tile of a custom operation, after the checks that its GLSL makes, in the same order; or says why the slot does not run.
/// Several threads run tiles at once. A slot whose function panics faults as a trap does.
pub type CustomFunction = Arc<dyn Fn(&CustomTile<'_>) -> Result<(), Refusal> + Send + Sync>;

/// A tile as its function sees it.
pub struct CustomTile<'a> {
    worker: &'a Worker<'a>,
    slot: &'a Slot,
    number: u32,
}

/// Bytes of an operand. Offsets are counted from the operand's own.
pub struct OperandBytes {
    place: Resolved,
    bytes: u32,
}

impl CustomTile<'_> {
    /// The slot.
    #[must_use]
    pub fn slot(&self) -> &Slot {
        self.slot
    }

    /// Number of the tile in its slot.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The tile's bytes within the slot's length.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        tile_range(self.slot, self.number, self.slot.tile_span)
    }

    /// Whether length, span and tiles are those of a slot of FILL or COPY: `check_bytes` in GLSL.
    ///
    /// # Errors
    /// The fault.
    pub fn check_bytes(&self) -> Result<(), Refusal> {
        check_bytes(self.slot)
    }

    /// The first `bytes` bytes of the input: `resolve_input` in GLSL.
    ///
    /// # Errors
    /// The fault.
    pub fn input(&self, bytes: u32) -> Result<OperandBytes, Refusal> {
        let place = self.worker.resolve(self.slot, self.slot.input, bytes, READ)?;
        Ok(OperandBytes { place, bytes })
    }

    /// The first `bytes` bytes of the output, for these kinds of access: `resolve_output` in GLSL.
    ///
    /// # Errors
    /// The fault.
    pub fn output(&self, bytes: u32, access: u32) -> Result<OperandBytes, Refusal> {
        let place = self.worker.resolve(self.slot, self.slot.output, bytes, access)?;
        Ok(OperandBytes { place, bytes })
    }
}

impl OperandBytes {
    /// Loads the word at an offset, a multiple of four.
    ///
    /// # Errors
    /// A fault with the offset if it is not within the bytes.
    pub fn load(&self, offset: usize) -> Result<u32, Refusal> {
        Ok(self.place.backing.load(self.at(offset)?))
    }

    /// Stores a word.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    pub fn store(&self, offset: usize, word: u32) -> Result<(), Refusal> {
        self.place.backing.store(self.at(offset)?, word);
        Ok(())
    }

    /// Changes a word in one step and gives what was there before. `change` may be called several times.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    pub fn change(&self, offset: usize, change: impl Fn(u32) -> u32) -> Result<u32, Refusal> {
        Ok(self.place.backing.change(self.at(offset)?, change))
    }

    fn at(&self, offset: usize) -> Result<usize, Refusal> {
        if !offset.is_multiple_of(4) {
            return Err((Fault::Misaligned, offset as u32));
        }
        let inside = offset.checked_add(4).is_some_and(|end| end <= self.bytes as usize);
        if inside { Ok(self.place.offset + offset) } else { Err((Fault::OutOfRange, offset as u32)) }
    }
}

impl Worker<'_> {
    /// Runs a tile of an operation that is no built-in.
    pub(crate) fn run_custom(&self, slot: &Slot, number: u32) -> Result<(), Refusal> {
        let known = self.custom.iter().find(|(code, _)| *code == slot.operation);
        let (code, function) = known.ok_or((Fault::UnknownOperation, slot.operation))?;
        self.check_allowed(slot, *code)?;
        let tile = CustomTile { worker: self, slot, number };
        // A worker that unwound would leave its slot outstanding for ever.
        catch_unwind(AssertUnwindSafe(|| function(&tile))).unwrap_or(Err((Fault::Trap, 0)))
    }
}
