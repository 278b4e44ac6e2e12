//! The operations, slow and obvious: the counterparts of `op_*.glsl`.

use std::sync::Arc;

use blake3::hazmat::HasherExt;
use vyre_protocol::fault::Fault;
use vyre_protocol::operation::{CHUNK_BYTES, MAX_TILE_CHUNKS};
use vyre_protocol::slot::Slot;
use vyre_protocol::stamped::{self, RECORD_BYTES};
use vyre_protocol::words::SharedWords;

use crate::execute::{Refusal, Resolved, covers, tile_range};

/// Bytes that nobody writes as long as they are lent.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// What holds a resource's bytes.
#[derive(Clone)]
pub enum Backing {
    /// Words that operations read and write.
    Words(Arc<dyn SharedWords>),
    /// Bytes lent for reading, without a copy.
    Lent(SharedBytes),
}

impl Backing {
    /// Loads the word at a byte offset that is a multiple of four; bytes beyond the end are 0.
    fn load(&self, offset: usize) -> u32 {
        match self {
            Backing::Words(words) => words.load(offset / 4),
            Backing::Lent(bytes) => {
                let tail = (**bytes).as_ref().get(offset..).unwrap_or_default();
                let mut word = [0; 4];
                let count = tail.len().min(4);
                word[..count].copy_from_slice(&tail[..count]);
                u32::from_le_bytes(word)
            }
        }
    }

    fn store(&self, offset: usize, value: u32) {
        // Lent resources are registered without the WRITE bit, so no operation comes here with one.
        if let Backing::Words(words) = self {
            words.store(offset / 4, value);
        }
    }
}

pub(crate) fn fill(slot: &Slot, tile: u32, output: &Resolved) {
    for at in tile_range(slot, tile, slot.tile_span).step_by(4) {
        output.backing.store(output.offset + at, slot.args[0]);
    }
}

pub(crate) fn copy(slot: &Slot, tile: u32, input: &Resolved, output: &Resolved) {
    for at in tile_range(slot, tile, slot.tile_span).step_by(4) {
        output.backing.store(output.offset + at, input.backing.load(input.offset + at));
    }
}

pub(crate) fn check_blake3(slot: &Slot) -> Result<(), Refusal> {
    let [low, high, root, ..] = slot.args;
    let span = slot.tile_span;
    if !span.is_power_of_two() || span > MAX_TILE_CHUNKS {
        return Err((Fault::BadArgument, span));
    }
    if !covers(slot.tiles, span * CHUNK_BYTES, slot.length) {
        return Err((Fault::BadArgument, slot.tiles));
    }
    let whole = slot.tiles == 1 && low | high == 0;
    if root > 1 || (root == 1 && !whole) {
        return Err((Fault::BadArgument, root));
    }
    if !low.is_multiple_of(span) {
        return Err((Fault::BadArgument, low));
    }
    if slot.args[3] == 0 {
        return Err((Fault::BadArgument, 0));
    }
    if !slot.output.offset.is_multiple_of(8) {
        return Err((Fault::Misaligned, slot.output.offset));
    }
    Ok(())
}

pub(crate) fn blake3(slot: &Slot, tile: u32, input: &Resolved, output: &Resolved, scratch: &mut Vec<u8>) {
    let range = tile_range(slot, tile, slot.tile_span * CHUNK_BYTES);
    // A tile behind the end of the input has no subtree and writes nothing.
    if range.is_empty() && tile != 0 {
        return;
    }
    let range = input.offset + range.start..input.offset + range.end;
    let bytes = match &input.backing {
        Backing::Lent(bytes) => (**bytes).as_ref().get(range).unwrap_or_default(),
        Backing::Words(words) => {
            scratch.clear();
            let first = range.start / 4;
            scratch.extend((first..range.end.div_ceil(4)).flat_map(|word| words.load(word).to_le_bytes()));
            &scratch[..range.len()]
        }
    };
    let value = if slot.args[2] == 1 {
        *blake3::hash(bytes).as_bytes()
    } else {
        let chunk = u64::from(slot.args[0]) | u64::from(slot.args[1]) << 32;
        let chunk = chunk.wrapping_add(u64::from(tile) * u64::from(slot.tile_span));
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(chunk.wrapping_mul(u64::from(CHUNK_BYTES)));
        hasher.update(bytes).finalize_non_root()
    };
    if let Backing::Words(words) = &output.backing {
        let base = (output.offset + tile as usize * RECORD_BYTES as usize) / 4;
        let record = std::array::from_fn(|i| u32::from_le_bytes(value.as_chunks::<4>().0[i]));
        stamped::store(&**words, base, slot.args[3], &record);
    }
}
