//! The two sides of `vyre bench ops`, each with memory of its own, and what their work must come to.

use std::time::{Duration, Instant};

use blake3::hazmat::HasherExt;
use vyre_runtime::protocol::completion::Status;
use vyre_runtime::protocol::geometry::{Counts, Priority};
use vyre_runtime::protocol::operation::{CHUNK_BYTES, MAX_TILE_BYTES, MAX_TILE_CHUNKS};
use vyre_runtime::protocol::ring::Completion;
use vyre_runtime::protocol::slot::{Operand, Slot};
use vyre_runtime::protocol::words::SharedWords;
use vyre_runtime::vk::{Buffer, Bulk, DeviceKind, MemoryUse, Parts, PlainDevice, Recorded, Vulkan};
use vyre_runtime::{BulkVisibility, DeviceChoice, EngineKind, Options, Resource, Runtime};

use super::{BULK, PARTS};
use crate::Failure;
use crate::bench::whole_kernel;

/// Time without any completion after which a kernel counts as hung.
const PATIENCE: Duration = Duration::from_secs(60);

/// Memory of a side: the input on its way, the input, the output of an operation that writes as much as it reads or needs atomics,
/// and what the host reads.
struct Memory<T> {
    staging: T,
    source: T,
    target: T,
    back: T,
}

impl<T> Memory<T> {
    fn allocate(mut one: impl FnMut(MemoryUse) -> Result<T, Failure>) -> Result<Memory<T>, Failure> {
        Ok(Memory {
            staging: one(MemoryUse::HostToDevice)?,
            source: one(MemoryUse::Local)?,
            target: one(MemoryUse::Local)?,
            back: one(MemoryUse::DeviceToHost)?,
        })
    }

    /// Where an operation writes: what a host wants at once, to memory that it can read.
    fn output(&self, bulk: Bulk) -> &T {
        match bulk {
            Bulk::Reduce | Bulk::Blake3 => &self.back,
            Bulk::Fill(_) | Bulk::Copy | Bulk::Histogram => &self.target,
        }
    }
}

/// All of the memory, in parts.
fn whole(bytes: usize) -> Parts {
    Parts { bytes: bytes as u32 / PARTS, count: PARTS, tile: MAX_TILE_BYTES }
}

/// The resident kernel.
pub(super) struct Live {
    pub(super) runtime: Runtime,
    memory: Memory<Resource>,
    whole: Parts,
}

impl Live {
    /// Opens the engine with all bulk operations, and gives it the data.
    pub(super) fn open(device: &DeviceChoice, workers: Option<u32>, data: &[u8]) -> Result<Live, Failure> {
        let operations = BULK.iter().fold(0, |mask, bulk| mask | 1 << bulk.operation().code());
        let park_after = Duration::from_millis(1);
        let options = Options { workers, park_after, operations, ..whole_kernel(Counts::default())? };
        let mut runtime = Runtime::open(device, &options)?;
        let memory = Memory::allocate(|usage| Ok(runtime.allocate(data.len() as u64, usage)?))?;
        memory.staging.write(0, data)?;
        let mut live = Live { runtime, memory, whole: whole(data.len()) };
        live.run(&slots(Bulk::Copy, live.whole, &live.memory.staging, &live.memory.source))?;
        Ok(live)
    }

    /// The slots of some work.
    pub(super) fn slots(&self, bulk: Bulk, parts: Parts) -> Vec<Slot> {
        slots(bulk, parts, &self.memory.source, self.memory.output(bulk))
    }

    /// From before the slots are published until all have completed. Looks for completions all the time, as who wants them soon does,
    /// unless workers are host threads, which need that processor.
    pub(super) fn run(&mut self, slots: &[Slot]) -> Result<(), Failure> {
        self.runtime.publish_all(Priority::Normal, slots)?;
        let software =
            matches!(self.runtime.engine().kind, EngineKind::Reference | EngineKind::Vulkan(DeviceKind::Software));
        let start = Instant::now();
        let mut completed = 0;
        while completed < slots.len() {
            match self.runtime.reap()? {
                Some(Completion { status: Status::Done, .. }) => completed += 1,
                Some(Completion { fault, fault_word, .. }) => {
                    return Err(format!("a slot faulted: {fault:?} ({fault_word:#x})").into());
                }
                None if start.elapsed() > PATIENCE => {
                    return Err("a slot did not complete within 60 s; see `vyre doctor`".into());
                }
                None if software => self.runtime.pause(start.elapsed(), PATIENCE),
                None => std::hint::spin_loop(),
            }
        }
        Ok(())
    }

    /// Delivers completions at once, for outputs that the host does not look at.
    pub(super) fn deliver_at_once(&mut self) {
        self.runtime.set_bulk_visibility(BulkVisibility::Immediate);
    }

    /// What the work leaves in an output that was zero before.
    pub(super) fn outcome(&mut self, bulk: Bulk, parts: Parts) -> Result<Vec<u8>, Failure> {
        let Memory { source, target, back, .. } = &self.memory;
        let clear = slots(Bulk::Fill(0), self.whole, source, self.memory.output(bulk));
        let read = slots(Bulk::Copy, self.whole, target, back);
        self.run(&clear)?;
        self.run(&self.slots(bulk, parts))?;
        if self.memory.output(bulk).handle() == self.memory.target.handle() {
            self.run(&read)?;
        }
        // Results that carry stamps may come later than the completion; the others were delivered with it.
        let stamped = matches!(bulk, Bulk::Reduce | Bulk::Blake3);
        let mut out = vec![0; bulk.written(parts) as usize];
        let start = Instant::now();
        loop {
            self.memory.back.read(0, &mut out)?;
            if !stamped || out.as_chunks::<8>().0.iter().all(|word| word[4..] != [0; 4]) {
                return Ok(out);
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("{bulk:?} left a place without its result; see `vyre doctor`").into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A slot for each part.
fn slots(bulk: Bulk, parts: Parts, input: &Resource, output: &Resource) -> Vec<Slot> {
    let place = |resource: &Resource, operand: Operand| resource.at(operand.offset);
    let slots = (0..parts.count).map(|part| bulk.slot(parts, part));
    slots.map(|slot| Slot { input: place(input, slot.input), output: place(output, slot.output), ..slot }).collect()
}

/// The same device without a resident kernel.
pub(super) struct Plain {
    device: PlainDevice,
    pub(super) vulkan: Vulkan,
    memory: Memory<Buffer>,
    whole: Parts,
}

impl Plain {
    /// Opens the device and gives it the data.
    pub(super) fn open(index: usize, data: &[u8]) -> Result<Plain, Failure> {
        let vulkan = Vulkan::load(vyre_runtime::validation_from_environment())?;
        let device = PlainDevice::open(&vulkan, index)?;
        let memory = Memory::allocate(|usage| Ok(device.allocate(data.len() as u64, usage)?))?;
        let staging = memory.staging.region().ok_or("memory for the host is not mapped")?;
        staging.write_bytes(0, data)?;
        staging.publish_fence();
        let whole = whole(data.len());
        device.transfer(Bulk::Copy, whole, &memory.staging, &memory.source)?.run()?;
        Ok(Plain { device, vulkan, memory, whole })
    }

    /// The work as plain dispatches.
    pub(super) fn dispatch(&mut self, bulk: Bulk, parts: Parts) -> Result<Recorded, Failure> {
        Ok(self.device.dispatch(bulk, parts, &self.memory.source, self.memory.output(bulk))?)
    }

    /// The work as Vulkan's own commands; `None` where it has none.
    pub(super) fn command(&self, bulk: Bulk, parts: Parts) -> Result<Option<Recorded>, Failure> {
        if command_name(bulk).is_none() {
            return Ok(None);
        }
        Ok(Some(self.device.transfer(bulk, parts, &self.memory.source, self.memory.output(bulk))?))
    }

    /// What the work leaves in an output that was zero before.
    pub(super) fn outcome(&self, bulk: Bulk, parts: Parts, work: &mut Recorded) -> Result<Vec<u8>, Failure> {
        let Memory { source, target, back, .. } = &self.memory;
        let output = self.memory.output(bulk);
        self.device.transfer(Bulk::Fill(0), self.whole, source, output)?.run()?;
        work.run()?;
        if output.address() == target.address() {
            self.device.transfer(Bulk::Copy, self.whole, target, back)?.run()?;
        }
        let mut out = vec![0; bulk.written(parts) as usize];
        back.region().ok_or("memory for the host is not mapped")?.read_bytes(0, &mut out)?;
        Ok(out)
    }
}

/// Vulkan's own command for an operation.
pub(super) fn command_name(bulk: Bulk) -> Option<&'static str> {
    match bulk {
        Bulk::Copy => Some("vkCmdCopyBuffer"),
        Bulk::Fill(_) => Some("vkCmdFillBuffer"),
        Bulk::Reduce | Bulk::Histogram | Bulk::Blake3 => None,
    }
}

/// What the work must leave in the output, computed by the host.
pub(super) fn expected(bulk: Bulk, data: &[u8], parts: Parts) -> Vec<u8> {
    let data = &data[..parts.bytes as usize * parts.count as usize];
    let stamped =
        |words: &[u32]| words.iter().flat_map(|word| [*word, 1]).flat_map(u32::to_le_bytes).collect::<Vec<_>>();
    let words =
        |bytes: &[u8]| bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect::<Vec<_>>();
    let tile = parts.tile as usize;
    let parts = data.chunks(parts.bytes as usize);
    match bulk {
        Bulk::Fill(word) => word.to_le_bytes().repeat(data.len() / 4),
        Bulk::Copy => data.to_vec(),
        Bulk::Reduce => {
            let tiles = parts.flat_map(|part| part.chunks(tile));
            tiles.flat_map(|tile| stamped(&[words(tile).into_iter().fold(0, u32::wrapping_add)])).collect()
        }
        Bulk::Histogram => {
            let mut bins = [0_u32; 256];
            data.iter().for_each(|byte| bins[usize::from(*byte)] += 1);
            bins.into_iter().flat_map(u32::to_le_bytes).collect()
        }
        Bulk::Blake3 => {
            let bytes = (MAX_TILE_CHUNKS * CHUNK_BYTES) as usize;
            let tiles = parts.flat_map(|part| part.chunks(bytes).enumerate());
            let value = |(i, tile): (usize, &[u8])| {
                let mut hasher = blake3::Hasher::new();
                hasher.set_input_offset((i * bytes) as u64).update(tile).finalize_non_root()
            };
            tiles.flat_map(|tile| stamped(&words(&value(tile)))).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_engine_does_what_the_host_expects() {
        let data: Vec<u8> = (0..1_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let mut live = Live::open(&DeviceChoice::Reference, Some(2), &data).unwrap();
        for bulk in BULK {
            for bytes in [16_384, 1 << 18] {
                let parts = Parts { bytes, count: PARTS, tile: live.runtime.tile_bytes(bytes) };
                assert!(live.outcome(bulk, parts).unwrap() == expected(bulk, &data, parts), "{bulk:?} of {bytes}");
            }
        }
    }
}
