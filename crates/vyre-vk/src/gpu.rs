//! The logical device: what everything made from it holds an `Arc` of.
//!
//! # Safety
//!
//! The device and its allocator are destroyed once, in `Drop`, when no object made from them is left: buffers, kernels and the
//! relay each hold an `Arc<Gpu>`. The queue is used by one thread at a time behind its mutex, as Vulkan demands.
#![allow(unsafe_code, reason = "calls Vulkan; see the Safety section above")]

use std::mem::ManuallyDrop;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use ash::{ext, khr, vk};
use gpu_allocator::vulkan::{Allocator, AllocatorCreateDesc};

use crate::device::DeviceReport;
use crate::error::{MemoryError, Named, OpenError, VulkanError};
use crate::instance::{Instance, Vulkan};
use crate::memory::Raw;

pub(crate) struct Gpu {
    pub(crate) raw: ash::Device,
    pub(crate) report: DeviceReport,
    pub(crate) host_import: Option<ext::external_memory_host::Device>,
    pub(crate) queue_family: u32,
    queue: Mutex<vk::Queue>,
    allocator: ManuallyDrop<Mutex<Allocator>>,
    /// Memory that its owner has dropped, with the number of quanta that were launched by then.
    graveyard: Mutex<Vec<(u64, Raw)>>,
    launched: std::sync::atomic::AtomicU64,
    /// Whether it takes subnormal floats for 0, once that was [tried](crate::subnormal).
    pub(crate) flushes: OnceLock<bool>,
    /// Last, so that the instance outlives the device.
    _instance: Arc<Instance>,
}

/// Locks a mutex whose data a panic cannot leave inconsistent.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gpu {
    pub(crate) fn open(vulkan: &Vulkan, index: usize) -> Result<Arc<Gpu>, OpenError> {
        let devices = vulkan.devices()?;
        let count = devices.len();
        let report = devices.into_iter().nth(index).ok_or(OpenError::NoSuchDevice { index, count })?;
        let fit = report.queue_family.filter(|_| report.missing.is_empty());
        let queue_family =
            fit.ok_or_else(|| OpenError::Unfit { name: report.name.clone(), missing: report.missing.clone() })?;
        let instance = &vulkan.instance;

        let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(queue_family).queue_priorities(&[1.0])];
        let mut core12 = vk::PhysicalDeviceVulkan12Features::default()
            .buffer_device_address(true)
            .timeline_semaphore(true)
            .vulkan_memory_model(true)
            .vulkan_memory_model_device_scope(true)
            .shader_buffer_int64_atomics(report.stores_64_bit);
        let features = vk::PhysicalDeviceFeatures::default().shader_int64(report.stores_64_bit);
        let mut clock = vk::PhysicalDeviceShaderClockFeaturesKHR::default().shader_device_clock(true);
        let imports = report.import_alignment.is_some();
        let optional = [(imports, ext::external_memory_host::NAME), (report.device_clock, khr::shader_clock::NAME)];
        let extensions: Vec<_> = optional.iter().filter(|(has, _)| *has).map(|(_, name)| name.as_ptr()).collect();
        let mut info = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&extensions)
            .enabled_features(&features)
            .push_next(&mut core12);
        if report.device_clock {
            info = info.push_next(&mut clock);
        }
        // SAFETY: all pointers in `info` live until the call returns; the report says that the features are there.
        let raw = unsafe { instance.raw.create_device(report.physical, &info, None) }.named("vkCreateDevice")?;
        // SAFETY: the family was created with one queue.
        let queue = unsafe { raw.get_device_queue(queue_family, 0) };
        let allocator = Allocator::new(&AllocatorCreateDesc {
            instance: instance.raw.clone(),
            device: raw.clone(),
            physical_device: report.physical,
            debug_settings: gpu_allocator::AllocatorDebugSettings::default(),
            buffer_device_address: true,
            allocation_sizes: gpu_allocator::AllocationSizes::default(),
        });
        let allocator = match allocator {
            Ok(allocator) => allocator,
            Err(error) => {
                // SAFETY: nothing was made from the device yet.
                unsafe { raw.destroy_device(None) };
                return Err(MemoryError::Allocator { bytes: 0, reason: error.to_string() }.into());
            }
        };
        let host_import = imports.then(|| ext::external_memory_host::Device::new(&instance.raw, &raw));
        Ok(Arc::new(Gpu {
            raw,
            report,
            host_import,
            queue_family,
            queue: Mutex::new(queue),
            allocator: ManuallyDrop::new(Mutex::new(allocator)),
            graveyard: Mutex::new(Vec::new()),
            flushes: OnceLock::new(),
            launched: std::sync::atomic::AtomicU64::new(0),
            _instance: Arc::clone(instance),
        }))
    }

    pub(crate) fn allocator(&self) -> MutexGuard<'_, Allocator> {
        lock(&self.allocator)
    }

    /// Submits to the one queue.
    pub(crate) fn submit(&self, info: &vk::SubmitInfo<'_>, fence: vk::Fence) -> Result<(), VulkanError> {
        let queue = lock(&self.queue);
        // SAFETY: the mutex makes us the queue's only user; the callers keep what `info` names alive until it has run.
        unsafe { self.raw.queue_submit(*queue, std::slice::from_ref(info), fence) }.named("vkQueueSubmit")
    }

    /// Counts a launched quantum and returns its number.
    pub(crate) fn count_launch(&self) -> u64 {
        self.launched.fetch_add(1, std::sync::atomic::Ordering::SeqCst)
    }

    /// Quanta launched so far.
    pub(crate) fn launched(&self) -> u64 {
        self.launched.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// Takes memory that may still be in use by the quanta launched so far.
    pub(crate) fn bury(&self, raw: Raw) {
        lock(&self.graveyard).push((self.launched(), raw));
    }

    /// Frees buried memory that no quantum after the `finished` first can have seen.
    pub(crate) fn sweep(&self, finished: u64) {
        let mut graveyard = lock(&self.graveyard);
        for (_, raw) in graveyard.extract_if(.., |(launched, _)| *launched <= finished) {
            raw.free(self);
        }
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // SAFETY: the relay has joined and the buffers are buried, since both hold an Arc of this; waiting makes sure that
        // nothing runs, the allocator goes before the device, and each is dropped once.
        unsafe {
            let _ = self.raw.device_wait_idle();
            self.sweep(u64::MAX);
            ManuallyDrop::drop(&mut self.allocator);
            self.raw.destroy_device(None);
        }
    }
}
