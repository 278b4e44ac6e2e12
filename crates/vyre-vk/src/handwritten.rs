//! Compute shaders as a user of Vulkan writes them, to measure programs against: `rival_*.comp`.
//!
//! # Safety
//!
//! As in `plain.rs`: a [`Recorded`] holds the kernel and the buffers that its commands name, and the host has checked that the work lies
//! within them.
#![allow(unsafe_code, reason = "calls Vulkan; see the Safety section above")]

use std::sync::Arc;

use ash::vk;
use vyre_protocol::slot::{MAX_TILES, SlotError};
use zerocopy::{Immutable, IntoBytes};

use crate::error::VulkanError;
use crate::gpu::Gpu;
use crate::kernel::Kernel;
use crate::memory::Buffer;
use crate::plain::{PlainDevice, PlainError, Recorded};
use crate::quantum::barrier;
use crate::rival::Submission;

/// Parameters of the shaders.
const PARAMETERS: usize = 5;

/// Lanes of their workgroups.
const LANES: u32 = 256;

/// A shader that does what the program of the same name does, in the same layout of its buffers and parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HandWritten {
    /// `saxpy.vir`.
    Saxpy,
    /// `dot.vir`.
    Dot,
    /// `histogram.vir`, over whole words.
    Histogram,
    /// `crc32.vir`.
    Crc32,
    /// `mandelbrot.vir`.
    Mandelbrot,
}

/// What a shader shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandWork {
    /// Items, as the program counts them.
    pub items: u32,
    /// Items of a workgroup of the two that sum up: a multiple of four for HISTOGRAM. A workgroup of the others has 256.
    pub span: u32,
    /// Parameters; those that the shader has not are 0.
    pub parameters: [u32; PARAMETERS],
}

/// The push constants.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Push {
    source: u64,
    target: u64,
    items: u32,
    span: u32,
    parameters: [u32; PARAMETERS],
    padding: u32,
}

impl HandWritten {
    fn spirv(self) -> &'static [u8] {
        match self {
            HandWritten::Saxpy => include_bytes!("../spirv/rival_saxpy.spv"),
            HandWritten::Dot => include_bytes!("../spirv/rival_dot.spv"),
            HandWritten::Histogram => include_bytes!("../spirv/rival_histogram.spv"),
            HandWritten::Crc32 => include_bytes!("../spirv/rival_crc32.spv"),
            HandWritten::Mandelbrot => include_bytes!("../spirv/rival_mandelbrot.spv"),
        }
    }

    /// Bytes that it reads from the input, and of the output that it reads or writes.
    fn bytes(self, work: &HandWork) -> [u64; 2] {
        let words = 4 * u64::from(work.items);
        match self {
            HandWritten::Saxpy => [words, words],
            HandWritten::Dot => [2 * words, 4 * u64::from(work.items.div_ceil(work.span.max(1)))],
            HandWritten::Histogram => [work.items.into(), 4 * u64::from(LANES)],
            HandWritten::Crc32 => [words * u64::from(work.parameters[0]), words],
            HandWritten::Mandelbrot => [0, words],
        }
    }

    /// Workgroups, if the work can be cut into the spans.
    fn groups(self, work: &HandWork) -> Result<u32, PlainError> {
        let (span, unit) = match self {
            HandWritten::Histogram => (work.span, 4),
            HandWritten::Dot => (work.span, 1),
            _ => (LANES, 1),
        };
        if span == 0 || !span.is_multiple_of(unit) || !work.items.is_multiple_of(unit) {
            return Err(PlainError::Bytes { bytes: span });
        }
        match work.items.div_ceil(span) {
            groups @ 1..=MAX_TILES => Ok(groups),
            given => Err(SlotError::Tiles { given }.into()),
        }
    }
}

impl PlainDevice {
    /// Records a dispatch of a shader.
    ///
    /// # Errors
    /// [`PlainError`] says why not.
    pub fn hand_written(
        &self,
        shader: HandWritten,
        work: &HandWork,
        input: &Buffer,
        output: &Buffer,
    ) -> Result<Recorded, PlainError> {
        let groups = shader.groups(work)?;
        let buffers = [("input", input), ("output", output)];
        for (needed, (operand, buffer)) in shader.bytes(work).into_iter().zip(buffers) {
            if needed > buffer.len() {
                return Err(PlainError::Short { operand, needed, found: buffer.len() });
            }
        }
        // SAFETY: what the shader touches was checked above.
        Ok(unsafe { record(self.gpu(), shader.spirv(), groups, work, [input, output]) }?)
    }
}

/// Records a dispatch of a shader that includes `rival.glsl`.
///
/// # Safety
/// What it touches of the buffers, of which the first is the input, lies within them.
pub(crate) unsafe fn record(
    gpu: &Arc<Gpu>,
    spirv: &[u8],
    groups: u32,
    work: &HandWork,
    buffers: [&Buffer; 2],
) -> Result<Recorded, VulkanError> {
    let kernel = Arc::new(Kernel::hand_written(gpu, spirv)?);
    let HandWork { items, span, parameters } = *work;
    let [source, target] = buffers.map(Buffer::address);
    let push = Push { source, target, items, span, parameters, padding: 0 };
    let record = |commands| {
        // SAFETY: the buffer is being recorded; the shader touches what the caller says.
        unsafe {
            gpu.raw.cmd_bind_pipeline(commands, vk::PipelineBindPoint::COMPUTE, kernel.pipeline);
            gpu.raw.cmd_push_constants(commands, kernel.layout, vk::ShaderStageFlags::COMPUTE, 0, push.as_bytes());
            gpu.raw.cmd_dispatch(commands, groups, 1, 1);
            barrier(gpu, commands, vk::PipelineStageFlags::COMPUTE_SHADER, vk::AccessFlags::SHADER_WRITE);
        }
    };
    // SAFETY: kernel and buffers are kept beside the submission.
    let submission = unsafe { Submission::new(gpu, record) }?;
    Ok(Recorded::new(submission, kernel, buffers.map(Buffer::clone)))
}
