//! What vyre is measured against: the same kernel, submitted for each slot, or recorded many times, and waited for with a fence.
//!
//! # Safety
//!
//! The fence is waited for before the command buffer or the fence is used again or destroyed.
#![allow(unsafe_code, reason = "calls Vulkan; see the Safety section above")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use ash::vk;
use vyre_mem::Region;
use vyre_protocol::geometry::Priority;
use vyre_protocol::launch::Launch;
use vyre_protocol::operation::Operation;
use vyre_protocol::ring::Ring;
use vyre_protocol::slot::Slot;
use zerocopy::IntoBytes;

use crate::error::{Named, OpenError, VulkanError};
use crate::gpu::Gpu;
use crate::instance::Vulkan;
use crate::kernel::Kernel;
use crate::quantum::{Quanta, barrier};
use crate::resident::{Blocks, KernelConfig};

/// A command buffer that was recorded once and is submitted again and again, as a careful user would do it.
pub(crate) struct Submission {
    commands: vk::CommandBuffer,
    pool: vk::CommandPool,
    fence: vk::Fence,
    gpu: Arc<Gpu>,
}

impl Drop for Submission {
    fn drop(&mut self) {
        // SAFETY: every run waits for its fence, so nothing is pending.
        unsafe {
            self.gpu.raw.destroy_fence(self.fence, None);
            self.gpu.raw.destroy_command_pool(self.pool, None);
        }
    }
}

impl Submission {
    /// Records what `record` adds to the buffer.
    ///
    /// # Safety
    /// All that the commands name lives as long as the submission.
    pub(crate) unsafe fn new(
        gpu: &Arc<Gpu>,
        record: impl FnOnce(vk::CommandBuffer),
    ) -> Result<Submission, VulkanError> {
        let pool = vk::CommandPoolCreateInfo::default().queue_family_index(gpu.queue_family);
        // SAFETY: structures live until the calls return; the buffer is recorded before it is submitted; if a later call fails,
        // the device's destruction takes the few objects made before it along.
        unsafe {
            let pool = gpu.raw.create_command_pool(&pool, None).named("vkCreateCommandPool")?;
            let info = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(1);
            let commands = gpu.raw.allocate_command_buffers(&info).named("vkAllocateCommandBuffers")?[0];
            let begin = vk::CommandBufferBeginInfo::default();
            gpu.raw.begin_command_buffer(commands, &begin).named("vkBeginCommandBuffer")?;
            record(commands);
            gpu.raw.end_command_buffer(commands).named("vkEndCommandBuffer")?;
            let fence = gpu.raw.create_fence(&vk::FenceCreateInfo::default(), None).named("vkCreateFence")?;
            Ok(Submission { commands, pool, fence, gpu: Arc::clone(gpu) })
        }
    }

    /// Submits and waits for the fence.
    pub(crate) fn run(&mut self) -> Result<(), VulkanError> {
        let info = vk::SubmitInfo::default().command_buffers(std::slice::from_ref(&self.commands));
        self.gpu.submit(&info, self.fence)?;
        // SAFETY: the fence is signalled by the submission above and reset only after the wait.
        unsafe {
            self.gpu.raw.wait_for_fences(&[self.fence], true, u64::MAX).named("vkWaitForFences")?;
            self.gpu.raw.reset_fences(&[self.fence]).named("vkResetFences")
        }
    }
}

/// Dispatches of the kernel, each of one worker that runs one slot.
pub struct SubmitFence {
    slots: Vec<Slot>,
    ring: Ring<Region>,
    submission: Submission,
    _kernel: Kernel,
    _blocks: Blocks,
}

impl SubmitFence {
    /// Prepares the kernel on a device of its own, so that no relay disturbs it. A submission holds that many dispatches, at most as
    /// many as the NORMAL partition has slots.
    ///
    /// # Errors
    /// [`OpenError`] says why the device cannot be used.
    pub fn new(
        vulkan: &Vulkan,
        index: usize,
        config: &KernelConfig,
        dispatches: usize,
    ) -> Result<SubmitFence, OpenError> {
        let gpu = Gpu::open(vulkan, index)?;
        let kernel = Kernel::resident(&gpu, config)?;
        let blocks = Blocks::allocate(&gpu, &config.geometry)?;
        blocks.reset(&config.geometry, &mut Quanta::new(&gpu)?)?;
        // Fuel for one look and one tile.
        let launch = Launch { fuel: kernel.tile_fuel + 1, ..blocks.launch(&config.geometry, 1) };
        // SAFETY: kernel and blocks are kept beside the submission.
        let submission =
            unsafe { Submission::new(&gpu, |commands| record(&gpu, commands, &kernel, &launch, dispatches)) }?;
        let ring = Ring::new(config.geometry, blocks.ring_memory(&config.geometry));
        let slots = vec![Slot::new(Operation::Nop); dispatches];
        Ok(SubmitFence { slots, ring, submission, _kernel: kernel, _blocks: blocks })
    }

    /// Publishes a NOP for each dispatch, submits, waits for the fence and reaps: the time from before the first to after the last.
    ///
    /// # Errors
    /// [`VulkanError`] if a call fails, or if a slot did not complete.
    pub fn round_trip(&mut self) -> Result<Duration, VulkanError> {
        let incomplete = VulkanError { call: "a submitted quantum", result: vk::Result::INCOMPLETE };
        let start = Instant::now();
        self.ring.publish_all(Priority::Normal, &self.slots).map_err(|_| incomplete)?;
        self.submission.run()?;
        while let Ok(Some(_)) = self.ring.reap() {}
        let took = start.elapsed();
        if self.ring.tally().outstanding() == 0 { Ok(took) } else { Err(incomplete) }
    }
}

/// Records the dispatches, each behind the one before, since they share the ring.
fn record(gpu: &Gpu, commands: vk::CommandBuffer, kernel: &Kernel, launch: &Launch, dispatches: usize) {
    // SAFETY: the buffer is being recorded; the pipeline takes these push constants.
    unsafe {
        gpu.raw.cmd_bind_pipeline(commands, vk::PipelineBindPoint::COMPUTE, kernel.pipeline);
        gpu.raw.cmd_push_constants(commands, kernel.layout, vk::ShaderStageFlags::COMPUTE, 0, launch.as_bytes());
        for _ in 0..dispatches {
            gpu.raw.cmd_dispatch(commands, launch.workers, 1, 1);
            barrier(gpu, commands, vk::PipelineStageFlags::COMPUTE_SHADER, vk::AccessFlags::SHADER_WRITE);
        }
    }
}
