//! A packed slot: several operations on words in one slot, run in order, all or none.
//!
//! Its *program* is [`PACKED_WORDS`] words, from the slot's tile span on; the slot's `length` says how many bytes of them count.
//! An inner operation is a head, with its operation code in bits 0..8 and a word offset in bits 8..32, and the arguments that it
//! has as a slot of its own. The offset is relative to the slot's output, or to its input for LOAD_U32. The completion's result
//! words are what the first two inner operations gave that give something.
//!
//! The codes and sizes of inner operations are one table, [`inner_words`], for encoder, decoder and kernel. A kernel checks all inner
//! operations before it runs the first; one whose tenant may not use it faults the slot as it would alone.

use crate::operation::Operation;
use crate::slot::{ARGS, Operand, Slot, SlotError};

/// Words of a program: the budget of a packed slot.
pub const PACKED_WORDS: usize = ARGS + 1;

/// Largest byte offset of an inner operation.
pub const MAX_INNER_OFFSET: u32 = (1 << 26) - 4;

/// Bits of a head below the word offset: the operation code.
pub const CODE_BITS: u32 = 8;

/// Words that an operation takes in a packed slot, its head included; 0 for those that cannot be packed.
#[must_use]
pub const fn inner_words(code: u32) -> u32 {
    match Operation::from_code(code) {
        Some(Operation::Nop | Operation::LoadU32) => 1,
        Some(Operation::StoreU32 | Operation::AtomicAdd) => 2,
        Some(Operation::CompareSwap) => 3,
        _ => 0,
    }
}

/// An operation of a packed slot. Offsets are bytes behind the slot's output (its input for a load), multiples of four, at most
/// [`MAX_INNER_OFFSET`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inner {
    /// Does nothing.
    Nop,
    /// Loads a word of the input; it is a result.
    LoadU32 {
        /// Byte offset.
        offset: u32,
    },
    /// Stores a word.
    StoreU32 {
        /// Byte offset.
        offset: u32,
        /// The word.
        value: u32,
    },
    /// Adds to a word, wrapping; what was there before is a result.
    AtomicAdd {
        /// Byte offset.
        offset: u32,
        /// What is added.
        value: u32,
    },
    /// Stores a word if another is there; what was there before is a result.
    CompareSwap {
        /// Byte offset.
        offset: u32,
        /// The word that must be there.
        expected: u32,
        /// The word that is stored then.
        value: u32,
    },
}

impl Inner {
    /// The operation.
    #[must_use]
    pub const fn operation(&self) -> Operation {
        match self {
            Inner::Nop => Operation::Nop,
            Inner::LoadU32 { .. } => Operation::LoadU32,
            Inner::StoreU32 { .. } => Operation::StoreU32,
            Inner::AtomicAdd { .. } => Operation::AtomicAdd,
            Inner::CompareSwap { .. } => Operation::CompareSwap,
        }
    }

    /// Byte offset, and the arguments behind the head.
    const fn parts(&self) -> (u32, [u32; 2]) {
        match *self {
            Inner::Nop => (0, [0; 2]),
            Inner::LoadU32 { offset } => (offset, [0; 2]),
            Inner::StoreU32 { offset, value } | Inner::AtomicAdd { offset, value } => (offset, [value, 0]),
            Inner::CompareSwap { offset, expected, value } => (offset, [expected, value]),
        }
    }
}

impl Slot {
    /// A packed slot. Without operations it does nothing.
    ///
    /// # Errors
    /// [`SlotError::PackedFull`] if the operations take more than [`PACKED_WORDS`], [`SlotError::PackedOffset`] if an offset is none.
    pub fn packed(input: Operand, output: Operand, operations: &[Inner]) -> Result<Slot, SlotError> {
        let needed: usize = operations.iter().map(|inner| inner_words(inner.operation().code()) as usize).sum();
        if needed > PACKED_WORDS {
            return Err(SlotError::PackedFull { needed });
        }
        let mut program = [0; PACKED_WORDS];
        let mut at = 0;
        for inner in operations {
            let (offset, arguments) = inner.parts();
            if offset > MAX_INNER_OFFSET || !offset.is_multiple_of(4) {
                return Err(SlotError::PackedOffset { offset });
            }
            let code = inner.operation().code();
            let words = [code | (offset / 4) << CODE_BITS, arguments[0], arguments[1]];
            let size = inner_words(code) as usize;
            program[at..at + size].copy_from_slice(&words[..size]);
            at += size;
        }
        let [tile_span, args @ ..] = program;
        let length = (at * 4) as u32;
        Ok(Slot { input, output, length, tile_span, args, ..Slot::new(Operation::Packed) })
    }

    /// The inner operations of a packed slot, in order; none of any other slot. Ends behind the first that is wrong.
    pub fn inner(&self) -> impl Iterator<Item = Result<Inner, SlotError>> + use<> {
        let mut program = [self.tile_span; PACKED_WORDS];
        program[1..].copy_from_slice(&self.args);
        let packed = self.operation == Operation::Packed.code();
        let bytes = if packed { self.length } else { 0 };
        let (mut at, mut end) = (0, (bytes / 4) as usize);
        let mut wrong = (end > PACKED_WORDS || !bytes.is_multiple_of(4)).then_some(SlotError::PackedLength { bytes });
        core::iter::from_fn(move || {
            if let Some(error) = wrong.take() {
                end = 0;
                return Some(Err(error));
            }
            if at >= end {
                return None;
            }
            let inner = decode(&program[at..end]);
            match inner {
                Ok(inner) => at += inner_words(inner.operation().code()) as usize,
                Err(_) => end = 0,
            }
            Some(inner)
        })
    }

    /// The codes of the operations that the slot runs: its own, then those packed in it.
    pub fn operations(&self) -> impl Iterator<Item = u32> + use<> {
        let inner = self.inner().filter_map(Result::ok).map(|inner| inner.operation().code());
        core::iter::once(self.operation).chain(inner)
    }
}

/// The first inner operation of a program.
fn decode(program: &[u32]) -> Result<Inner, SlotError> {
    let word = |i: usize| program.get(i).copied().unwrap_or(0);
    let head = word(0);
    let (code, offset) = (head & ((1 << CODE_BITS) - 1), (head >> CODE_BITS) * 4);
    if inner_words(code) as usize > program.len() {
        return Err(SlotError::PackedFull { needed: PACKED_WORDS + inner_words(code) as usize - program.len() });
    }
    match Operation::from_code(code) {
        Some(Operation::Nop) => Ok(Inner::Nop),
        Some(Operation::LoadU32) => Ok(Inner::LoadU32 { offset }),
        Some(Operation::StoreU32) => Ok(Inner::StoreU32 { offset, value: word(1) }),
        Some(Operation::AtomicAdd) => Ok(Inner::AtomicAdd { offset, value: word(1) }),
        Some(Operation::CompareSwap) => Ok(Inner::CompareSwap { offset, expected: word(1), value: word(2) }),
        _ => Err(SlotError::PackedOperation { code }),
    }
}
