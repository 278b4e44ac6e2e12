//! Bulk operations without the resident kernel: a plain dispatch of the same code, or Vulkan's own command.
//!
//! # Safety
//!
//! A [`Recorded`] holds the kernel and the buffers that its commands name. The host has checked that each part lies within its
//! buffers, since nothing on the device does.
#![allow(unsafe_code, reason = "calls Vulkan; see the Safety section above")]

use std::collections::BTreeMap;
use std::sync::Arc;

use ash::vk;
use vyre_protocol::operation::{CHUNK_BYTES, MAX_BINS, MAX_TILE_BYTES, MAX_TILE_CHUNKS, Operation, Reduction};
use vyre_protocol::slot::{Operand, Slot, SlotError};
use vyre_protocol::stamped::RECORD_BYTES;
use zerocopy::IntoBytes;

use crate::error::{MemoryError, OpenError, VulkanError};
use crate::gpu::Gpu;
use crate::instance::Vulkan;
use crate::kernel::Kernel;
use crate::memory::{Buffer, MemoryUse};
use crate::quantum::barrier;
use crate::rival::Submission;

/// A bulk operation as it is measured: with stamps of 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bulk {
    /// FILL with this word.
    Fill(u32),
    /// COPY.
    Copy,
    /// REDUCE to the sum of the words.
    Reduce,
    /// HISTOGRAM of the bytes.
    Histogram,
    /// BLAKE3 from chunk 0 on, to the chaining values of the tiles.
    Blake3,
}

impl Bulk {
    /// The operation.
    #[must_use]
    pub const fn operation(self) -> Operation {
        match self {
            Bulk::Fill(_) => Operation::Fill,
            Bulk::Copy => Operation::Copy,
            Bulk::Reduce => Operation::Reduce,
            Bulk::Histogram => Operation::Histogram,
            Bulk::Blake3 => Operation::Blake3,
        }
    }

    /// The slot for part `part` of the work. Its operands have no handle yet: they are the part's
    /// offsets, one part behind the other. All parts of HISTOGRAM count in the same bins.
    #[must_use]
    pub fn slot(self, parts: Parts, part: u32) -> Slot {
        let (span, unit, args) = match self {
            Bulk::Fill(word) => (parts.tile, 1, [word, 0, 0, 0, 0, 0]),
            Bulk::Copy | Bulk::Histogram => (parts.tile, 1, [0; 6]),
            Bulk::Reduce => (parts.tile, 1, [Reduction::Sum.code(), 1, 0, 0, 0, 0]),
            Bulk::Blake3 => (MAX_TILE_CHUNKS, CHUNK_BYTES, [0, 0, 0, 1, 0, 0]),
        };
        let slot = Slot { args, ..Slot::new(self.operation()) }.tiled(parts.bytes, span, unit);
        let output = self.output_stride(parts).saturating_mul(part);
        let at = |offset| Operand { handle: 0, offset };
        Slot { input: at(parts.bytes.saturating_mul(part)), output: at(output), ..slot }
    }

    /// Bytes that all parts together write, from the start of the output on.
    #[must_use]
    pub fn written(self, parts: Parts) -> u64 {
        let before_last = u64::from(self.output_stride(parts)) * u64::from(parts.count.saturating_sub(1));
        before_last + u64::from(self.output_bytes(parts))
    }

    /// Bytes between the outputs of two parts.
    const fn output_stride(self, parts: Parts) -> u32 {
        if matches!(self, Bulk::Histogram) { 0 } else { self.output_bytes(parts) }
    }

    /// Bytes that a part writes.
    const fn output_bytes(self, parts: Parts) -> u32 {
        match self {
            Bulk::Fill(_) | Bulk::Copy => parts.bytes,
            Bulk::Reduce => parts.bytes.div_ceil(parts.tile) * 8,
            Bulk::Histogram => MAX_BINS * 4,
            Bulk::Blake3 => parts.bytes.div_ceil(MAX_TILE_CHUNKS * CHUNK_BYTES) * RECORD_BYTES,
        }
    }
}

/// How work is cut: each part is a slot, a dispatch or a command of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// Bytes of each part, a multiple of four.
    pub bytes: u32,
    /// Parts.
    pub count: u32,
    /// Bytes of a tile, at most [`MAX_TILE_BYTES`]; those of BLAKE3 are as large as they may be.
    pub tile: u32,
}

/// Work cannot be recorded.
#[derive(Debug, thiserror::Error)]
pub enum PlainError {
    /// A part is empty, or does not consist of words.
    #[error("parts of {bytes} bytes are not possible; use a multiple of 4, at least 4")]
    Bytes {
        /// Bytes of a part.
        bytes: u32,
    },
    /// A tile is empty, too large, or does not consist of words.
    #[error("tiles of {tile} bytes are not possible; use a multiple of 4, at least 4 and at most {MAX_TILE_BYTES}")]
    Tile {
        /// Bytes of a tile.
        tile: u32,
    },
    /// A buffer is shorter than what the parts need.
    #[error("the {operand} needs {needed} bytes and the buffer has {found}; allocate more or use fewer parts")]
    Short {
        /// Which one: input or output.
        operand: &'static str,
        /// Bytes needed.
        needed: u64,
        /// Bytes of the buffer.
        found: u64,
    },
    /// Vulkan has no command for the operation.
    #[error("Vulkan has no command for {0:?}; dispatch it")]
    NoCommand(Operation),
    /// The part has more tiles than a slot takes.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// A Vulkan call failed.
    #[error(transparent)]
    Vulkan(#[from] VulkanError),
}

/// A device of its own, on which no kernel is resident.
pub struct PlainDevice {
    kernels: BTreeMap<u32, Arc<Kernel>>,
    gpu: Arc<Gpu>,
}

/// Commands to run any number of times.
pub struct Recorded {
    submission: Submission,
    _kernel: Option<Arc<Kernel>>,
    _buffers: [Buffer; 2],
}

impl PlainDevice {
    /// Opens a device.
    ///
    /// # Errors
    /// [`OpenError`] says why it cannot be used.
    pub fn open(vulkan: &Vulkan, index: usize) -> Result<PlainDevice, OpenError> {
        Ok(PlainDevice { kernels: BTreeMap::new(), gpu: Gpu::open(vulkan, index)? })
    }

    pub(crate) fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }

    /// Allocates memory, as [`Resident::allocate`](crate::Resident::allocate) does.
    ///
    /// # Errors
    /// [`MemoryError`] says why there is none.
    pub fn allocate(&self, bytes: u64, usage: MemoryUse) -> Result<Buffer, MemoryError> {
        Buffer::allocate(&self.gpu, bytes, usage)
    }

    /// Records a dispatch for each part, of a kernel that holds this operation alone. Parts are not ordered among themselves.
    ///
    /// # Errors
    /// [`PlainError`] says why not.
    pub fn dispatch(
        &mut self,
        bulk: Bulk,
        parts: Parts,
        input: &Buffer,
        output: &Buffer,
    ) -> Result<Recorded, PlainError> {
        check(bulk, parts, input, output)?;
        let kernel = self.kernel(bulk.operation())?;
        let gpu = &self.gpu;
        let record = |commands| {
            // SAFETY: the buffer is being recorded; the push constants are a slot that was checked against its buffers.
            unsafe {
                gpu.raw.cmd_bind_pipeline(commands, vk::PipelineBindPoint::COMPUTE, kernel.pipeline);
                for part in 0..parts.count {
                    let slot = bulk.slot(parts, part);
                    let (input, output) = (address(input, slot.input), address(output, slot.output));
                    let slot = Slot { input, output, ..slot };
                    let stages = vk::ShaderStageFlags::COMPUTE;
                    gpu.raw.cmd_push_constants(commands, kernel.layout, stages, 0, slot.as_bytes());
                    gpu.raw.cmd_dispatch(commands, slot.tiles, 1, 1);
                }
                barrier(gpu, commands, vk::PipelineStageFlags::COMPUTE_SHADER, vk::AccessFlags::SHADER_WRITE);
            }
        };
        // SAFETY: kernel and buffers are kept beside the submission.
        let submission = unsafe { Submission::new(gpu, record) }?;
        Ok(Recorded::new(submission, kernel, [input.clone(), output.clone()]))
    }

    /// Records `vkCmdCopyBuffer` or `vkCmdFillBuffer` for each part.
    ///
    /// # Errors
    /// [`PlainError`]; [`NoCommand`](PlainError::NoCommand) for all but COPY and FILL.
    pub fn transfer(&self, bulk: Bulk, parts: Parts, input: &Buffer, output: &Buffer) -> Result<Recorded, PlainError> {
        check(bulk, parts, input, output)?;
        if !matches!(bulk, Bulk::Copy | Bulk::Fill(_)) {
            return Err(PlainError::NoCommand(bulk.operation()));
        }
        let (gpu, size) = (&self.gpu, u64::from(parts.bytes));
        let record = |commands| {
            for offset in (0..parts.count).map(|part| u64::from(part) * size) {
                let copy = vk::BufferCopy { src_offset: offset, dst_offset: offset, size };
                // SAFETY: the buffer is being recorded; the ranges were checked, and both buffers allow transfers.
                unsafe {
                    match bulk {
                        Bulk::Fill(word) => gpu.raw.cmd_fill_buffer(commands, output.raw(), offset, size, word),
                        _ => gpu.raw.cmd_copy_buffer(commands, input.raw(), output.raw(), &[copy]),
                    }
                }
            }
            // SAFETY: the buffer is being recorded.
            unsafe { barrier(gpu, commands, vk::PipelineStageFlags::TRANSFER, vk::AccessFlags::TRANSFER_WRITE) };
        };
        // SAFETY: the buffers are kept beside the submission.
        let submission = unsafe { Submission::new(gpu, record) }?;
        Ok(Recorded { submission, _kernel: None, _buffers: [input.clone(), output.clone()] })
    }

    fn kernel(&mut self, operation: Operation) -> Result<Arc<Kernel>, VulkanError> {
        if let Some(kernel) = self.kernels.get(&operation.code()) {
            return Ok(Arc::clone(kernel));
        }
        let kernel = Arc::new(Kernel::plain(&self.gpu, 1 << operation.code())?);
        self.kernels.insert(operation.code(), Arc::clone(&kernel));
        Ok(kernel)
    }
}

impl Recorded {
    pub(crate) fn new(submission: Submission, kernel: Arc<Kernel>, buffers: [Buffer; 2]) -> Recorded {
        Recorded { submission, _kernel: Some(kernel), _buffers: buffers }
    }

    /// Submits the commands and waits for their fence.
    ///
    /// # Errors
    /// [`VulkanError`] if a call fails.
    pub fn run(&mut self) -> Result<(), VulkanError> {
        self.submission.run()
    }
}

/// Whether all parts lie within the buffers.
fn check(bulk: Bulk, parts: Parts, input: &Buffer, output: &Buffer) -> Result<(), PlainError> {
    let Parts { bytes, count, tile } = parts;
    if bytes == 0 || !bytes.is_multiple_of(4) {
        return Err(PlainError::Bytes { bytes });
    }
    if tile == 0 || !tile.is_multiple_of(4) || tile > MAX_TILE_BYTES {
        return Err(PlainError::Tile { tile });
    }
    bulk.slot(parts, 0).validate(1)?;
    let reads = if matches!(bulk, Bulk::Fill(_)) { 0 } else { u64::from(bytes) * u64::from(count) };
    for (operand, needed, buffer) in [("input", reads, input), ("output", bulk.written(parts), output)] {
        if needed > buffer.len() {
            return Err(PlainError::Short { operand, needed, found: buffer.len() });
        }
    }
    Ok(())
}

/// The address of an operand in a buffer, in place of its handle and offset.
fn address(buffer: &Buffer, operand: Operand) -> Operand {
    let address = buffer.address() + u64::from(operand.offset);
    Operand { handle: address as u32, offset: (address >> 32) as u32 }
}
