//! The operations, slow and obvious: the counterparts of `op_*.glsl`.

use std::sync::Arc;

use blake3::hazmat::HasherExt;
use vyre_protocol::debuglog::LOG_ARGS;
use vyre_protocol::fault::Fault;
use vyre_protocol::operation::{ACCUMULATORS, CHUNK_BYTES, MAX_BINS, MAX_TILE_CHUNKS, Operation, Reduction};
use vyre_protocol::resource::{ATOMIC, WRITE};
use vyre_protocol::slot::Slot;
use vyre_protocol::stamped::{self, RECORD_BYTES};
use vyre_protocol::vir0::Program;
use vyre_protocol::words::SharedWords;

use crate::execute::{Refusal, Resolved, covers, tile_range};
use crate::span::Span;
use crate::sync::Ordering;

/// Result words of the completion.
pub(crate) type Results = [u32; 2];

/// Bytes that nobody writes as long as they are lent.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// What holds a resource's bytes.
#[derive(Clone)]
pub enum Backing {
    /// Words that operations read and write.
    Words(Span),
    /// Bytes lent for reading, without a copy.
    Lent(SharedBytes),
    /// A program, which only EXEC reaches.
    Program(Arc<Program>),
}

impl Backing {
    /// Loads the word at a byte offset that is a multiple of four; bytes beyond the end are 0.
    pub(crate) fn load(&self, offset: usize) -> u32 {
        match self {
            Backing::Program(_) => 0,
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

    /// Adds to a word and returns what was there before.
    fn add(&self, offset: usize, value: u32) -> u32 {
        match self {
            Backing::Words(words) => words.add((offset / 4) as u32, value, Ordering::Relaxed),
            Backing::Lent(_) | Backing::Program(_) => 0,
        }
    }

    /// Stores `new` if the word is `old`; returns what was there before.
    fn compare_swap(&self, offset: usize, old: u32, new: u32) -> u32 {
        match self {
            Backing::Words(words) => words.compare_swap((offset / 4) as u32, old, new),
            Backing::Lent(_) | Backing::Program(_) => 0,
        }
    }

    /// Changes a word in one step; returns what was there before.
    pub(crate) fn change(&self, offset: usize, change: impl Fn(u32) -> u32) -> u32 {
        let mut before = self.load(offset);
        loop {
            match self.compare_swap(offset, before, change(before)) {
                found if found == before => return before,
                found => before = found,
            }
        }
    }

    pub(crate) fn store(&self, offset: usize, value: u32) {
        // Lent resources are registered without the WRITE bit, so no operation comes here with one.
        if let Backing::Words(words) = self {
            words.store(offset / 4, value);
        }
    }
}

/// What the operations on one word have in common.
pub(crate) fn check_word(slot: &Slot) -> Result<(), Refusal> {
    match (slot.tiles, slot.length) {
        (1, 4) => Ok(()),
        (1, length) => Err((Fault::BadArgument, length)),
        (tiles, _) => Err((Fault::BadArgument, tiles)),
    }
}

/// What an operation that changes a word needs.
pub(crate) fn word_access(operation: Operation) -> u32 {
    if operation == Operation::StoreU32 { WRITE } else { WRITE | ATOMIC }
}

/// Runs an operation on the one word at the place, and gives its result.
pub(crate) fn run_word(operation: Operation, place: &Resolved, [first, second]: [u32; 2]) -> u32 {
    let Resolved { backing, offset, .. } = place;
    match operation {
        Operation::LoadU32 => backing.load(*offset),
        Operation::AtomicAdd => backing.add(*offset, first),
        Operation::CompareSwap => backing.compare_swap(*offset, first, second),
        Operation::StoreU32 => {
            backing.store(*offset, first);
            0
        }
        _ => 0,
    }
}

pub(crate) fn check_printf(slot: &Slot) -> Result<(), Refusal> {
    match (slot.tiles, slot.args[1] as usize) {
        (1, 0..=LOG_ARGS) => Ok(()),
        (1, _) => Err((Fault::BadArgument, slot.args[1])),
        (tiles, _) => Err((Fault::BadArgument, tiles)),
    }
}

pub(crate) fn check_reduce(slot: &Slot) -> Result<Reduction, Refusal> {
    let reduction = Reduction::from_code(slot.args[0]).ok_or((Fault::BadArgument, slot.args[0]))?;
    if slot.args[1] == 0 {
        return Err((Fault::BadArgument, 0));
    }
    if !slot.output.offset.is_multiple_of(8) {
        return Err((Fault::Misaligned, slot.output.offset));
    }
    Ok(reduction)
}

pub(crate) fn reduce(slot: &Slot, reduction: Reduction, tile: u32, input: &Resolved, output: &Resolved) {
    let range = tile_range(slot, tile, slot.tile_span);
    // A tile behind the end of the input writes nothing.
    if range.is_empty() && tile != 0 {
        return;
    }
    let mut sums = [reduction.identity(); ACCUMULATORS as usize];
    for (i, at) in range.step_by(4).enumerate() {
        let sum = &mut sums[i % ACCUMULATORS as usize];
        *sum = reduction.join(*sum, input.backing.load(input.offset + at));
    }
    let mut stride = sums.len() / 2;
    while stride > 0 {
        for j in 0..stride {
            sums[j] = reduction.join(sums[j], sums[j + stride]);
        }
        stride /= 2;
    }
    if let Backing::Words(words) = &output.backing {
        let place = output.offset / 4 + 2 * tile as usize;
        words.store(place, sums[0]);
        words.store_release(place as u32 + 1, slot.args[1]);
    }
}

/// Where an element of HISTOGRAM counts, by the arguments.
pub(crate) fn check_histogram(slot: &Slot) -> Result<u32, Refusal> {
    let [mode, _, shift, bins, ..] = slot.args;
    let bins = match mode {
        0 => 256,
        1 => bins,
        _ => return Err((Fault::BadArgument, mode)),
    };
    if bins == 0 || bins > MAX_BINS {
        return Err((Fault::BadArgument, bins));
    }
    if mode == 1 && shift > 31 {
        return Err((Fault::BadArgument, shift));
    }
    Ok(bins)
}

pub(crate) fn histogram(slot: &Slot, bins: u32, tile: u32, input: &Resolved, output: &Resolved) {
    let mut counts = vec![0; bins as usize];
    let mut count = |bin: u32| {
        if let Some(count) = counts.get_mut(bin as usize) {
            *count += 1;
        }
    };
    for at in tile_range(slot, tile, slot.tile_span).step_by(4) {
        let word = input.backing.load(input.offset + at);
        match slot.args {
            [0, ..] => word.to_le_bytes().into_iter().for_each(|byte| count(byte.into())),
            [_, base, shift, ..] => count(word.wrapping_sub(base) >> shift),
        }
    }
    for (bin, count) in counts.into_iter().enumerate().filter(|(_, count)| *count > 0) {
        output.backing.add(output.offset + 4 * bin, count);
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
    if root == 0 && slot.length == 0 {
        return Err((Fault::BadArgument, 0));
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
        Backing::Program(_) => return,
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
        stamped::store(words, base, slot.args[3], &record);
    }
}
