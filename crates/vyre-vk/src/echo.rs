//! One word to a waiting kernel and back: the floor of every round trip on this machine.
//!
//! # Safety
//!
//! The kernel touches two words of two buffers, which are dropped after [`Quanta`] has waited for its last run.
#![allow(unsafe_code, reason = "calls Vulkan; see the Safety section above")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use ash::vk;
use vyre_mem::Region;
use vyre_protocol::words::SharedWords;
use zerocopy::IntoBytes;

use crate::error::{MemoryError, OpenError, VulkanError};
use crate::gpu::Gpu;
use crate::instance::Vulkan;
use crate::kernel::Kernel;
use crate::memory::{Buffer, MemoryUse};
use crate::quantum::Quanta;

/// The host's last word (`ECHO_END` in `echo.comp`).
const END: u32 = u32::MAX;

/// Looks of a dispatch: some tens of milliseconds on a GPU, and what llvmpipe bears.
const LOOKS: u32 = 50_000;

/// How often the host looks before it asks whether the dispatch has ended.
const SPINS: u32 = 4096;

/// A kernel of one lane that waits for a word and answers it, in the memory in which the ring would lie.
pub struct Echo {
    // Declaration order is drop order: the commands end before what they use goes.
    quanta: Quanta,
    kernel: Kernel,
    asked: (Buffer, Region),
    answered: (Buffer, Region),
    /// The last word.
    word: u32,
    /// Value of the timeline at the dispatch's end.
    end: u64,
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.ask(END);
    }
}

impl Echo {
    /// Prepares the kernel on a device of its own.
    ///
    /// # Errors
    /// [`OpenError`] says why the device cannot be used.
    pub fn new(vulkan: &Vulkan, index: usize) -> Result<Echo, OpenError> {
        let gpu = Gpu::open(vulkan, index)?;
        let (asked, answered) = (word(&gpu, MemoryUse::HostToDevice)?, word(&gpu, MemoryUse::DeviceToHost)?);
        let (quanta, kernel) = (Quanta::new(&gpu)?, Kernel::echo(&gpu)?);
        Ok(Echo { quanta, kernel, asked, answered, word: 0, end: 0 })
    }

    /// Sends a word and waits for it. `None` where a dispatch had to be submitted meanwhile.
    ///
    /// # Errors
    /// [`VulkanError`] if a call fails.
    pub fn round_trip(&mut self) -> Result<Option<Duration>, VulkanError> {
        // Neither 0, which the kernel takes for answered, nor the last word.
        self.word = self.word % (END - 1) + 1;
        let mut resubmitted = false;
        let start = Instant::now();
        self.ask(self.word);
        loop {
            for _ in 0..SPINS {
                if self.answered.1.load_acquire(0) == self.word {
                    return Ok((!resubmitted).then(|| start.elapsed()));
                }
                std::hint::spin_loop();
            }
            if self.quanta.wait(self.end, Duration::ZERO)? {
                self.dispatch()?;
                resubmitted = true;
            }
        }
    }

    /// Ends the dispatch that waits, so that others have the device for themselves.
    ///
    /// # Errors
    /// [`VulkanError`] if a call fails.
    pub fn rest(&mut self) -> Result<(), VulkanError> {
        self.ask(END);
        self.quanta.wait(self.end, Duration::from_secs(10)).map(drop)
    }

    fn ask(&self, word: u32) {
        self.asked.1.store(0, word);
        self.asked.1.publish_fence();
    }

    fn dispatch(&mut self) -> Result<(), VulkanError> {
        let [asked, answered] = [self.asked.0.address_words(), self.answered.0.address_words()];
        let constants = [asked[0], asked[1], answered[0], answered[1], LOOKS];
        let kernel = &self.kernel;
        self.end = self.quanta.submit(|gpu, commands| {
            // SAFETY: the buffer is being recorded; the pipeline takes these push constants, which name two live words.
            unsafe {
                gpu.raw.cmd_bind_pipeline(commands, vk::PipelineBindPoint::COMPUTE, kernel.pipeline);
                let stages = vk::ShaderStageFlags::COMPUTE;
                gpu.raw.cmd_push_constants(commands, kernel.layout, stages, 0, constants.as_bytes());
                gpu.raw.cmd_dispatch(commands, 1, 1, 1);
            }
        })?;
        Ok(())
    }
}

/// A buffer of one word, and the host's view of it.
fn word(gpu: &Arc<Gpu>, usage: MemoryUse) -> Result<(Buffer, Region), MemoryError> {
    let buffer = Buffer::allocate(gpu, 4, usage)?;
    let region = buffer.region().cloned().ok_or(MemoryError::NoType { wanted: "mappable" })?;
    Ok((buffer, region))
}
