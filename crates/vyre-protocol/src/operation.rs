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
        /// value is there. With `args[2] = 1` the one tile is the whole message and the value is the hash itself. Source:
        /// the BLAKE3 paper, sections 2.1 to 2.5.
        Blake3 = 4 => "OP_BLAKE3",
    }
}

/// Whether results lie in memory without stamps, so that a completion says nothing of when the host may read them.
#[must_use]
pub const fn leaves_bulk(code: u32) -> bool {
    !matches!(Operation::from_code(code), Some(Operation::Nop | Operation::Blake3))
}

/// Largest tile of FILL and COPY in bytes. A tile is the unit between two looks at more urgent work, and bounds the fuel that
/// an operation may use.
pub const MAX_TILE_BYTES: u32 = 16 << 10;

/// Largest tile of BLAKE3 in chunks.
pub const MAX_TILE_CHUNKS: u32 = 64;

/// Bytes of a BLAKE3 chunk.
pub const CHUNK_BYTES: u32 = 1024;

/// Bytes of a BLAKE3 chaining value.
pub const CHAINING_VALUE_BYTES: usize = 32;

/// First operation code of the range that a user's own kernel may define; codes below it which no built-in has are reserved.
pub const USER_OPERATIONS: u32 = 0x1000;

/// Last operation code.
pub const LAST_OPERATION: u32 = 0xffff;

/// Whether a slot with this code may be published: a built-in, or any code of the user range.
#[must_use]
pub const fn is_publishable(code: u32) -> bool {
    Operation::from_code(code).is_some() || (code >= USER_OPERATIONS && code <= LAST_OPERATION)
}
