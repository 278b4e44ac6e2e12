//! The operation table: each built-in operation is defined once, here.
//!
//! All offsets and lengths are bytes. Memory operations take multiples of four, so that the kernel needs no 8-bit storage;
//! every access is bounds-checked against the resource, and a violation completes as [`FAULTED`](crate::completion::Status).
//! A slot's work is cut into *tiles*: tile `t` covers `[t * tile_span, (t + 1) * tile_span)` of the slot's length.

use crate::fault::wire_codes;

wire_codes! {
    /// A built-in operation.
    Operation: u16 {
        /// Does nothing, in any number of tiles.
        Nop = 1 => "OP_NOP",
        /// Writes the word `args[0]` over `length` bytes of the output. Tile span: bytes, a multiple of 4, at most
        /// [`MAX_TILE_BYTES`].
        Fill = 2 => "OP_FILL",
        /// Copies `length` bytes from the input to the output, which must not overlap. Tile span as for FILL.
        Copy = 3 => "OP_COPY",
        /// BLAKE3 of `length` bytes of the input, which begin at chunk `args[0] | args[1] << 32` of the whole message. Tile
        /// span: chunks of 1024 bytes, a power of two, at most [`MAX_TILE_CHUNKS`]. Each tile writes the chaining value
        /// of its subtree as a [stamped](crate::stamped) record with the stamp `args[3]`, which is not 0, to
        /// `output_offset + 64 * tile`, a multiple of 8: a host that waits for the stamp needs no other guarantee that the
        /// value is there. With `args[2] = 1` the one tile is the whole message and the value is the hash itself; else the length
        /// is not 0, since a part of a message is never empty. Source:
        /// the BLAKE3 paper, sections 2.1 to 2.5.
        Blake3 = 4 => "OP_BLAKE3",
        /// Stores the word `args[0]` at the output. One tile; `length` is 4, as for the other operations on one word.
        StoreU32 = 5 => "OP_STORE_U32",
        /// Loads the word at the input into the completion's first result word. One tile.
        LoadU32 = 6 => "OP_LOAD_U32",
        /// Adds `args[0]` to the word at the output, wrapping; the first result word is what was there before. One tile. The
        /// output needs [`ATOMIC`](crate::resource::ATOMIC). Not idempotent.
        AtomicAdd = 7 => "OP_ATOMIC_ADD",
        /// Stores `args[1]` at the output if the word there is `args[0]`; the first result word is what was there before. One
        /// tile. The output needs [`ATOMIC`](crate::resource::ATOMIC). Not idempotent.
        CompareSwap = 8 => "OP_COMPARE_SWAP",
        /// Reduces the words of the input by the [`Reduction`] `args[0]`. Tile span as for FILL. Each tile writes its result and
        /// the stamp `args[1]`, which is not 0, as 8 bytes to `output_offset + 8 * tile`, a multiple of 8; the host folds the
        /// tiles' results. Within a tile, element `i` goes to accumulator `i mod 32`, in order, and accumulator `j` then
        /// takes in `j + 16`, `j + 8`, and so on, so that a sum of floats is the same on every engine.
        Reduce = 9 => "OP_REDUCE",
        /// Adds to the words at the output how many elements of the input fall into each bin. Tile span as for FILL. With `args[0]
        /// = 0` the elements are bytes and there are 256 bins; with 1 they are words, and element `x` falls into bin
        /// `(x - args[1]) >> args[2]`, of `args[3]` bins, at most [`MAX_BINS`]; what falls outside counts nowhere. The output
        /// needs [`ATOMIC`](crate::resource::ATOMIC). Not idempotent.
        Histogram = 10 => "OP_HISTOGRAM",
        /// Completes when all slots that were published before it in its partition have completed, and not earlier; until then no
        /// slot behind it in the partition is claimed. One tile. The ring sets `args[0]` to the low word of the slot's ticket,
        /// which is how many slots must have completed.
        Fence = 11 => "OP_FENCE",
        /// Writes a record to the [debug log](crate::debuglog): the format string `args[0]` with the `args[1]` arguments that
        /// follow, at most [`LOG_ARGS`](crate::debuglog::LOG_ARGS). One tile. Not idempotent.
        Printf = 12 => "OP_PRINTF",
        /// Runs the operations [packed](crate::packed) in the slot one after the other, each visible to other workers before the
        /// next; if one of them is wrong, none runs. One tile.
        Packed = 13 => "OP_PACKED",
        /// Runs the [VIR0](crate::vir0) program behind the handle `args[0]` over `length` items, of which each tile has `tile_span`; what
        /// an item is the program says. Its resources are the input, the output, and as many handles from `args[1]` on as it declares
        /// further ones; its parameters are the arguments behind them. An access outside a resource faults with the byte offset behind
        /// the operand's. Not idempotent.
        Exec = 14 => "OP_EXEC",
    }
}

wire_codes! {
    /// How REDUCE joins two elements. Minimum and maximum of floats pass over NaN; the identity is the result of no element.
    Reduction: u8 {
        /// Sum of integers, wrapping, of either sign. Identity 0.
        Sum = 1 => "REDUCE_SUM",
        /// Smallest unsigned word. Identity `u32::MAX`.
        MinU32 = 2 => "REDUCE_MIN_U32",
        /// Largest unsigned word. Identity 0.
        MaxU32 = 3 => "REDUCE_MAX_U32",
        /// Smallest signed word. Identity `i32::MAX`.
        MinI32 = 4 => "REDUCE_MIN_I32",
        /// Largest signed word. Identity `i32::MIN`.
        MaxI32 = 5 => "REDUCE_MAX_I32",
        /// Sum of floats. Identity 0; subnormal numbers may count as 0.
        SumF32 = 6 => "REDUCE_SUM_F32",
        /// Smallest float. Identity positive infinity.
        MinF32 = 7 => "REDUCE_MIN_F32",
        /// Largest float. Identity negative infinity.
        MaxF32 = 8 => "REDUCE_MAX_F32",
    }
}

impl Reduction {
    /// The word that changes nothing.
    #[must_use]
    pub const fn identity(self) -> u32 {
        match self {
            Reduction::Sum | Reduction::MaxU32 | Reduction::SumF32 => 0,
            Reduction::MinU32 => u32::MAX,
            Reduction::MinI32 => i32::MAX as u32,
            Reduction::MaxI32 => i32::MIN as u32,
            Reduction::MinF32 => f32::INFINITY.to_bits(),
            Reduction::MaxF32 => f32::NEG_INFINITY.to_bits(),
        }
    }

    /// Joins an accumulator with one more element.
    #[must_use]
    pub fn join(self, sum: u32, element: u32) -> u32 {
        let float = f32::from_bits;
        let takes = match self {
            Reduction::Sum => return sum.wrapping_add(element),
            Reduction::SumF32 => return (float(sum) + float(element)).to_bits(),
            Reduction::MinU32 => element < sum,
            Reduction::MaxU32 => element > sum,
            Reduction::MinI32 => element.cast_signed() < sum.cast_signed(),
            Reduction::MaxI32 => element.cast_signed() > sum.cast_signed(),
            Reduction::MinF32 => float(element) < float(sum),
            Reduction::MaxF32 => float(element) > float(sum),
        };
        if takes { element } else { sum }
    }
}

/// Accumulators of a REDUCE tile.
pub const ACCUMULATORS: u32 = 32;

/// Most bins of HISTOGRAM.
pub const MAX_BINS: u32 = 256;

/// Operations that a single lane runs on at most one word: bit `c` for code `c`. A worker takes several slots of these at once, if each
/// has one tile. Slots of one run are in no order among each other, as slots of several workers are.
pub const SCALAR_OPERATIONS: u32 = 1 << Operation::Nop.code()
    | 1 << Operation::StoreU32.code()
    | 1 << Operation::LoadU32.code()
    | 1 << Operation::AtomicAdd.code()
    | 1 << Operation::CompareSwap.code();

/// Most slots that a worker takes at once; on a GPU several for each lane, so that it waits for memory once for all of
/// them. The kernel notes in four words which of them it has got.
pub const RUN_SLOTS: u32 = 128;
const _: () = assert!(RUN_SLOTS <= 4 * u32::BITS);

/// Whether a slot is one that a single lane runs, so that it can be taken together with others.
#[must_use]
pub const fn is_scalar(operation: u32, tiles: u32) -> bool {
    tiles == 1 && operation < u32::BITS && SCALAR_OPERATIONS >> operation & 1 == 1
}

/// Whether results lie in memory without stamps, so that a completion says nothing of when the host may read them.
#[must_use]
pub const fn leaves_bulk(code: u32) -> bool {
    use Operation::{AtomicAdd, Blake3, CompareSwap, Fence, LoadU32, Nop, Printf, Reduce};
    !matches!(
        Operation::from_code(code),
        Some(Nop | Blake3 | LoadU32 | AtomicAdd | CompareSwap | Reduce | Fence | Printf)
    )
}

/// Operations that a kernel holds if nobody asks for others: all but EXEC. Its interpreter takes most of the registers that a GPU's
/// workers have, and llvmpipe runs through it in each turn.
pub const DEFAULT_OPERATIONS: u32 = !(1 << Operation::Exec.code());

/// Largest tile of FILL and COPY in bytes. A tile is the unit between two looks at more urgent work, and bounds the fuel that
/// an operation may use.
pub const MAX_TILE_BYTES: u32 = 64 << 10;

/// Largest tile of BLAKE3 in chunks.
pub const MAX_TILE_CHUNKS: u32 = 64;

/// Bytes of a BLAKE3 chunk.
pub const CHUNK_BYTES: u32 = 1024;

/// Bytes of a BLAKE3 chaining value.
pub const CHAINING_VALUE_BYTES: usize = 32;

/// First operation code of the user range; codes below it which no built-in has are reserved.
pub const USER_OPERATIONS: u32 = 0x1000;

/// Last operation code.
pub const LAST_OPERATION: u32 = 0xffff;

/// Most custom operations of a kernel. They have the first codes of the user range, in the order of their names; a kernel that does
/// not hold one faults its slots, as it does those of all codes behind them.
pub const CUSTOM_OPERATIONS: u32 = 8;

/// Bit of the first custom operation in a mask of operations.
pub const CUSTOM_BIT: u32 = u32::BITS - CUSTOM_OPERATIONS;

/// Bits of all custom operations in a mask of operations.
pub const CUSTOM_MASK: u32 = u32::MAX << CUSTOM_BIT;

const _: () = assert!(Operation::ALL[Operation::ALL.len() - 1].0.code() < CUSTOM_BIT);

/// Whether a slot with this code may be published: a built-in, or any code of the user range.
#[must_use]
pub const fn is_publishable(code: u32) -> bool {
    Operation::from_code(code).is_some() || (code >= USER_OPERATIONS && code <= LAST_OPERATION)
}
