//! Two operations of our own. `ops` has them in GLSL, for devices; here they are in Rust, for the reference engine.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use vyre_runtime::protocol::completion::Status;
use vyre_runtime::protocol::geometry::Priority;
use vyre_runtime::protocol::operation::MAX_TILE_BYTES;
use vyre_runtime::protocol::resource::WRITE;
use vyre_runtime::protocol::slot::Slot;
use vyre_runtime::reference::{CustomTile, Refusal};
use vyre_runtime::vk::{CustomError, MemoryUse};
use vyre_runtime::{CustomOperations, Runtime};

/// Loads the kernel that `cargo xtask build-shaders --ops examples/custom-op/ops` has built.
///
/// # Errors
/// [`CustomError`] says what is wrong with the folder.
pub fn operations(kernel: &Path) -> Result<CustomOperations, CustomError> {
    CustomOperations::load(kernel)?.with_model("swap", swap)?.with_model("popcount", popcount)
}

/// `op_swap.glsl` in Rust.
fn swap(tile: &CustomTile<'_>) -> Result<(), Refusal> {
    tile.check_bytes()?;
    let input = tile.input(tile.slot().length)?;
    let output = tile.output(tile.slot().length, WRITE)?;
    tile.range().step_by(4).try_for_each(|at| output.store(at, input.load(at)?.swap_bytes()))
}

/// `op_popcount.glsl` in Rust.
fn popcount(tile: &CustomTile<'_>) -> Result<(), Refusal> {
    tile.check_bytes()?;
    let input = tile.input(tile.slot().length)?;
    let output = tile.output(tile.slot().tiles * 4, WRITE)?;
    let bits = tile.range().step_by(4).try_fold(0, |bits, at| Ok(bits + input.load(at)?.count_ones()))?;
    output.store(tile.number() as usize * 4, bits)
}

/// Runs an operation over words, in tiles of the largest size, and gives the first `words` words that it wrote.
///
/// # Errors
/// What went wrong; a fault says which, and the offending word.
pub fn run(runtime: &mut Runtime, operation: u32, input: &[u32], words: usize) -> Result<Vec<u32>, Box<dyn Error>> {
    let bytes: Vec<u8> = input.iter().flat_map(|word| word.to_le_bytes()).collect();
    let source = runtime.allocate(bytes.len() as u64, MemoryUse::HostToDevice)?;
    let target = runtime.allocate(4 * words as u64, MemoryUse::DeviceToHost)?;
    source.write(0, &bytes)?;
    let slot = Slot { input: source.at(0), output: target.at(0), ..Slot::with_code(operation) };
    let ticket = runtime.publish(Priority::Normal, &slot.tiled(bytes.len() as u32, MAX_TILE_BYTES, 1))?;
    let completion = runtime.wait(ticket, Duration::from_secs(10))?;
    let mut bytes = vec![0; 4 * words];
    target.read(0, &mut bytes)?;
    runtime.release(source);
    runtime.release(target);
    if completion.status != Status::Done {
        return Err(format!("{:?} ({:#x})", completion.fault, completion.fault_word).into());
    }
    Ok(bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect())
}
