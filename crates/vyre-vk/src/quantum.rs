//! One quantum: the command buffer that runs the kernel once, and the ring of them that the relay reuses.
//!
//! # Safety
//!
//! A command buffer is recorded again only when the timeline semaphore says that its last run has ended; the pool is destroyed
//! after waiting for all of them; until then its kernel is held. Push constants name memory that the caller keeps alive.
#![allow(unsafe_code, reason = "calls Vulkan; see the Safety section above")]

use std::sync::Arc;
use std::time::Duration;

use ash::vk;
use vyre_protocol::header::RegionHeader;
use vyre_protocol::launch::Launch;
use zerocopy::IntoBytes;

use crate::error::{Named, VulkanError};
use crate::gpu::Gpu;
use crate::kernel::Kernel;
use crate::memory::Buffer;

/// Command buffers to run the kernel with, and the timeline that counts their ends.
pub(crate) struct Quanta {
    gpu: Arc<Gpu>,
    pool: vk::CommandPool,
    buffers: Vec<vk::CommandBuffer>,
    /// The kernel that each buffer runs: it may not go before its last quantum has ended.
    kernels: [Option<Arc<Kernel>>; COMMAND_BUFFERS as usize],
    timeline: vk::Semaphore,
    /// Value that the newest submission will signal.
    submitted: u64,
}

/// Command buffers; one more than quanta in flight.
const COMMAND_BUFFERS: u32 = 3;

impl Drop for Quanta {
    fn drop(&mut self) {
        // A failure means that the device is lost, and then nothing runs.
        let _ = self.wait(self.submitted, Duration::from_secs(60));
        // SAFETY: all submissions have ended; pool and semaphore are destroyed once.
        unsafe {
            self.gpu.raw.destroy_command_pool(self.pool, None);
            self.gpu.raw.destroy_semaphore(self.timeline, None);
        }
    }
}

impl Quanta {
    pub(crate) fn new(gpu: &Arc<Gpu>) -> Result<Quanta, VulkanError> {
        let pool = vk::CommandPoolCreateInfo::default()
            .flags(vk::CommandPoolCreateFlags::RESET_COMMAND_BUFFER)
            .queue_family_index(gpu.queue_family);
        let mut kind = vk::SemaphoreTypeCreateInfo::default().semaphore_type(vk::SemaphoreType::TIMELINE);
        let semaphore = vk::SemaphoreCreateInfo::default().push_next(&mut kind);
        // SAFETY: the structures live until the calls return; what was made first is destroyed if a later call fails.
        unsafe {
            let pool = gpu.raw.create_command_pool(&pool, None).named("vkCreateCommandPool")?;
            let timeline = gpu.raw.create_semaphore(&semaphore, None).named("vkCreateSemaphore");
            let timeline = timeline.inspect_err(|_| gpu.raw.destroy_command_pool(pool, None))?;
            let mut quanta = Quanta {
                gpu: Arc::clone(gpu),
                pool,
                buffers: Vec::new(),
                kernels: Default::default(),
                timeline,
                submitted: 0,
            };
            let info = vk::CommandBufferAllocateInfo::default()
                .command_pool(pool)
                .level(vk::CommandBufferLevel::PRIMARY)
                .command_buffer_count(COMMAND_BUFFERS);
            quanta.buffers = gpu.raw.allocate_command_buffers(&info).named("vkAllocateCommandBuffers")?;
            Ok(quanta)
        }
    }

    /// Runs the kernel once; returns the value that the timeline reaches at its end.
    pub(crate) fn run(&mut self, kernel: &Arc<Kernel>, launch: &Launch) -> Result<u64, VulkanError> {
        let value = self.submit(|gpu, commands| {
            // SAFETY: the buffer is being recorded; the pipeline takes these push constants; after the dispatch its writes are
            // made available to the host, which is what safe mode relies on.
            unsafe {
                gpu.raw.cmd_bind_pipeline(commands, vk::PipelineBindPoint::COMPUTE, kernel.pipeline);
                let stages = vk::ShaderStageFlags::COMPUTE;
                gpu.raw.cmd_push_constants(commands, kernel.layout, stages, 0, launch.as_bytes());
                gpu.raw.cmd_dispatch(commands, launch.workers, 1, 1);
                barrier(gpu, commands, vk::PipelineStageFlags::COMPUTE_SHADER, vk::AccessFlags::SHADER_WRITE);
            }
        })?;
        // The buffer's previous run has ended, or it would not have been recorded again.
        self.kernels[value as usize % self.buffers.len()] = Some(Arc::clone(kernel));
        Ok(value)
    }

    /// Zeroes the local region and writes its header.
    pub(crate) fn clear_local(&mut self, local: &Buffer, header: &RegionHeader) -> Result<u64, VulkanError> {
        self.submit(|gpu, commands| {
            // SAFETY: the buffer is being recorded; `local` is a transfer destination, larger than a header; the barrier between
            // orders the two writes, the one behind orders them before the kernel.
            unsafe {
                let transfer = vk::PipelineStageFlags::TRANSFER;
                gpu.raw.cmd_fill_buffer(commands, local.raw(), 0, vk::WHOLE_SIZE, 0);
                barrier(gpu, commands, transfer, vk::AccessFlags::TRANSFER_WRITE);
                gpu.raw.cmd_update_buffer(commands, local.raw(), 0, header.as_bytes());
                barrier(gpu, commands, transfer, vk::AccessFlags::TRANSFER_WRITE);
            }
        })
    }

    /// Records commands and submits them; returns the value that the timeline reaches at their end.
    pub(crate) fn submit(&mut self, record: impl FnOnce(&Gpu, vk::CommandBuffer)) -> Result<u64, VulkanError> {
        let value = self.submitted + 1;
        // The buffer's previous run must have ended before it is recorded again.
        if value > u64::from(COMMAND_BUFFERS) {
            self.wait(value - u64::from(COMMAND_BUFFERS), Duration::from_secs(60))?;
        }
        let commands = [self.buffers[value as usize % self.buffers.len()]];
        let once = vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        // SAFETY: this command buffer is not pending, as was just waited for, and the pool is used by this thread alone.
        unsafe {
            self.gpu.raw.begin_command_buffer(commands[0], &once).named("vkBeginCommandBuffer")?;
            record(&self.gpu, commands[0]);
            self.gpu.raw.end_command_buffer(commands[0]).named("vkEndCommandBuffer")?;
        }
        let (values, semaphores) = ([value], [self.timeline]);
        let mut timeline = vk::TimelineSemaphoreSubmitInfo::default().signal_semaphore_values(&values);
        let info = vk::SubmitInfo::default()
            .command_buffers(&commands)
            .signal_semaphores(&semaphores)
            .push_next(&mut timeline);
        self.gpu.submit(&info, vk::Fence::null())?;
        self.submitted = value;
        Ok(value)
    }

    /// Waits until the timeline has reached `value`; `Ok(false)` if that takes longer than `timeout`.
    pub(crate) fn wait(&self, value: u64, timeout: Duration) -> Result<bool, VulkanError> {
        let (semaphores, values) = ([self.timeline], [value]);
        let info = vk::SemaphoreWaitInfo::default().semaphores(&semaphores).values(&values);
        // SAFETY: the semaphore is alive.
        match unsafe { self.gpu.raw.wait_semaphores(&info, timeout.as_nanos() as u64) } {
            Ok(()) => Ok(true),
            Err(vk::Result::TIMEOUT) => Ok(false),
            Err(result) => Err(VulkanError { call: "vkWaitSemaphores", result }),
        }
    }
}

/// Orders the writes of a stage before everything that follows, the host's reads included.
///
/// # Safety
/// `commands` is being recorded.
pub(crate) unsafe fn barrier(
    gpu: &Gpu,
    commands: vk::CommandBuffer,
    stage: vk::PipelineStageFlags,
    access: vk::AccessFlags,
) {
    let after =
        vk::PipelineStageFlags::HOST | vk::PipelineStageFlags::COMPUTE_SHADER | vk::PipelineStageFlags::TRANSFER;
    let reads = vk::AccessFlags::HOST_READ
        | vk::AccessFlags::SHADER_READ
        | vk::AccessFlags::SHADER_WRITE
        | vk::AccessFlags::TRANSFER_READ
        | vk::AccessFlags::TRANSFER_WRITE;
    let memory = [vk::MemoryBarrier::default().src_access_mask(access).dst_access_mask(reads)];
    // SAFETY: by this function's contract.
    unsafe {
        gpu.raw.cmd_pipeline_barrier(commands, stage, after, vk::DependencyFlags::empty(), &memory, &[], &[]);
    }
}
