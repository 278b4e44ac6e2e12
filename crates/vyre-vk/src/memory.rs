//! Buffers: mapped memory placed by the single-writer rule, device-local memory, and imported host pages.
//!
//! # Safety
//!
//! A [`Raw`] owns a buffer and its memory; both are freed once, by [`Raw::free`], which runs only when no quantum can touch them
//! (see [`Gpu::bury`]). Mapped memory leaves this file only as a [`Region`], whose owner is the [`Owned`] buffer.
#![allow(unsafe_code, reason = "calls Vulkan; see the Safety section above")]

use std::any::Any;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

use ash::vk;
use gpu_allocator::MemoryLocation;
use gpu_allocator::vulkan::{Allocation, AllocationCreateDesc, AllocationScheme};
use vyre_mem::{Region, WriteOrder};
use vyre_protocol::words::SharedWords;

use crate::error::{ImportError, MemoryError, Named, VulkanError};
use crate::gpu::{Gpu, lock};

/// Who writes a buffer, hence where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryUse {
    /// Mapped; the host writes, the device reads: device-local where the host can map enough of it.
    HostToDevice,
    /// Mapped; the device writes, the host reads: host-cached.
    DeviceToHost,
    /// Not mapped; only the device touches it.
    Local,
}

/// How every buffer may be used: the kernel reaches it by its address, the local region is cleared by a transfer, and benches copy.
pub(crate) const BUFFER_USAGE: vk::BufferUsageFlags = vk::BufferUsageFlags::from_raw(
    vk::BufferUsageFlags::STORAGE_BUFFER.as_raw()
        | vk::BufferUsageFlags::SHADER_DEVICE_ADDRESS.as_raw()
        | vk::BufferUsageFlags::TRANSFER_SRC.as_raw()
        | vk::BufferUsageFlags::TRANSFER_DST.as_raw(),
);

/// Largest buffer: lengths and offsets are 32-bit multiples of four.
const MAX_BYTES: u64 = 0xffff_fffc;

/// Memory that operations may work on. Dropping it frees the memory once no quantum in flight can touch it.
#[derive(Clone)]
pub struct Buffer {
    owned: Arc<Owned>,
    region: Option<Region>,
    address: u64,
    len: u64,
}

impl Buffer {
    /// Buffer device address of its first byte.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.address
    }

    /// The address as the two words that the kernel takes, low word first.
    #[must_use]
    pub fn address_words(&self) -> [u32; 2] {
        [self.address as u32, (self.address >> 32) as u32]
    }

    /// The host's view of it; `None` if the host cannot map it.
    #[must_use]
    pub fn region(&self) -> Option<&Region> {
        self.region.as_ref()
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no byte; never true.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn raw(&self) -> vk::Buffer {
        self.owned.buffer
    }

    /// Allocates a buffer of `bytes` bytes, rounded up to a multiple of four. Mapped memory is zeroed: what the driver hands
    /// out may hold another tenant's bytes.
    pub(crate) fn allocate(gpu: &Arc<Gpu>, bytes: u64, usage: MemoryUse) -> Result<Buffer, MemoryError> {
        let max = MAX_BYTES.min(gpu.report.max_allocation & !3);
        if bytes == 0 || bytes > max {
            return Err(MemoryError::Size { bytes, max });
        }
        let len = bytes.next_multiple_of(4);
        let plan = gpu.report.memory;
        let mut raw = Raw::buffer(gpu, len, vk::ExternalMemoryHandleTypeFlags::empty())?;
        let filled = match usage {
            MemoryUse::HostToDevice => raw.map(gpu, plan.host_to_device),
            MemoryUse::DeviceToHost => raw.map(gpu, plan.device_to_host),
            MemoryUse::Local => raw.allocate_local(gpu).map(|()| None),
        };
        match filled {
            Ok(mapped) => {
                let buffer = Buffer::finish(gpu, raw, len, mapped);
                if let Some(region) = &buffer.region {
                    (0..region.len() / 4).for_each(|word| region.store(word, 0));
                    region.publish_fence();
                }
                Ok(buffer)
            }
            Err(error) => {
                raw.free(gpu);
                Err(error)
            }
        }
    }

    /// Maps the pages of a region into the device. The buffer keeps the region alive.
    pub(crate) fn import(gpu: &Arc<Gpu>, region: &Region) -> Result<Buffer, ImportError> {
        let alignment = gpu.report.import_alignment.ok_or(ImportError::Unsupported)?;
        let (address, len) = (region.as_ptr() as usize, region.len());
        if !(address as u64 | len as u64).is_multiple_of(alignment) {
            return Err(ImportError::Misaligned { address, len, alignment });
        }
        if len == 0 || len as u64 > MAX_BYTES {
            return Err(MemoryError::Size { bytes: len as u64, max: MAX_BYTES }.into());
        }
        let host = vk::ExternalMemoryHandleTypeFlags::HOST_ALLOCATION_EXT;
        let mut raw = Raw::buffer(gpu, len as u64, host).map_err(ImportError::Memory)?;
        match raw.import(gpu, region) {
            Ok(()) => {
                let mut buffer = Buffer::finish(gpu, raw, len as u64, None);
                buffer.region = Some(region.clone());
                Ok(buffer)
            }
            Err(error) => {
                raw.free(gpu);
                Err(error)
            }
        }
    }

    fn finish(gpu: &Arc<Gpu>, raw: Raw, len: u64, mapped: Option<(NonNull<u8>, WriteOrder)>) -> Buffer {
        let info = vk::BufferDeviceAddressInfo::default().buffer(raw.buffer);
        // SAFETY: the buffer is bound to memory and was made with SHADER_DEVICE_ADDRESS.
        let address = unsafe { gpu.raw.get_buffer_device_address(&info) };
        let owned = Arc::new(Owned { gpu: Arc::clone(gpu), buffer: raw.buffer, raw: Mutex::new(Some(raw)) });
        let region = mapped.map(|(ptr, order)| {
            let owner: Arc<dyn Any + Send + Sync> = Arc::clone(&owned) as _;
            // SAFETY: the mapping of at least `len` bytes lives as long as the memory, which `owned` keeps; Vulkan aligns
            // mappings to 64 bytes; no reference into it is ever made.
            unsafe { Region::from_raw_parts(ptr, len as usize, order, owner) }
        });
        Buffer { owned, region, address, len }
    }
}

/// Shared by a buffer and the regions over it; buries the memory when the last of them goes.
struct Owned {
    gpu: Arc<Gpu>,
    buffer: vk::Buffer,
    raw: Mutex<Option<Raw>>,
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(raw) = lock(&self.raw).take() {
            self.gpu.bury(raw);
        }
    }
}

/// A buffer and what backs it.
pub(crate) struct Raw {
    buffer: vk::Buffer,
    backing: Backing,
}

enum Backing {
    None,
    Memory(vk::DeviceMemory),
    Imported(vk::DeviceMemory, #[expect(dead_code, reason = "keeps the imported pages mapped")] Region),
    Suballocated(Allocation),
}

impl Raw {
    fn buffer(gpu: &Gpu, len: u64, external: vk::ExternalMemoryHandleTypeFlags) -> Result<Raw, MemoryError> {
        let mut outside = vk::ExternalMemoryBufferCreateInfo::default().handle_types(external);
        let mut info = vk::BufferCreateInfo::default().size(len).usage(BUFFER_USAGE);
        if !external.is_empty() {
            info = info.push_next(&mut outside);
        }
        // SAFETY: `info` and its chain live until the call returns.
        let buffer = unsafe { gpu.raw.create_buffer(&info, None) }.named("vkCreateBuffer")?;
        Ok(Raw { buffer, backing: Backing::None })
    }

    fn requirements(&self, gpu: &Gpu) -> vk::MemoryRequirements {
        // SAFETY: the buffer is alive.
        unsafe { gpu.raw.get_buffer_memory_requirements(self.buffer) }
    }

    fn bind(&self, gpu: &Gpu, memory: vk::DeviceMemory, offset: u64) -> Result<(), VulkanError> {
        // SAFETY: the buffer is not bound yet, and the memory meets its requirements.
        unsafe { gpu.raw.bind_buffer_memory(self.buffer, memory, offset) }.named("vkBindBufferMemory")
    }

    /// Backs the buffer with mapped memory of its own.
    fn map(
        &mut self,
        gpu: &Gpu,
        chosen: Option<(u32, vk::MemoryPropertyFlags)>,
    ) -> Result<Option<(NonNull<u8>, WriteOrder)>, MemoryError> {
        let needs = self.requirements(gpu);
        let chosen = chosen.filter(|(index, _)| needs.memory_type_bits >> index & 1 == 1);
        let (index, flags) = chosen.ok_or(MemoryError::NoType { wanted: "host-visible and usable for buffers" })?;
        let mut addressable = vk::MemoryAllocateFlagsInfo::default().flags(vk::MemoryAllocateFlags::DEVICE_ADDRESS);
        let info = vk::MemoryAllocateInfo::default()
            .allocation_size(needs.size)
            .memory_type_index(index)
            .push_next(&mut addressable);
        // SAFETY: `info` and its chain live until the call returns.
        let memory = unsafe { gpu.raw.allocate_memory(&info, None) }.named("vkAllocateMemory")?;
        self.backing = Backing::Memory(memory);
        self.bind(gpu, memory, 0)?;
        // SAFETY: the memory is host-visible and not mapped yet; it stays mapped until it is freed.
        let mapped = unsafe { gpu.raw.map_memory(memory, 0, vk::WHOLE_SIZE, vk::MemoryMapFlags::empty()) };
        let pointer = NonNull::new(mapped.named("vkMapMemory")?.cast::<u8>());
        let pointer = pointer.ok_or(MemoryError::NoType { wanted: "mappable" })?;
        let cached = flags.contains(vk::MemoryPropertyFlags::HOST_CACHED);
        Ok(Some((pointer, if cached { WriteOrder::Cached } else { WriteOrder::WriteCombined })))
    }

    fn allocate_local(&mut self, gpu: &Gpu) -> Result<(), MemoryError> {
        let requirements = self.requirements(gpu);
        let allocation = gpu.allocator().allocate(&AllocationCreateDesc {
            name: "vyre",
            requirements,
            location: MemoryLocation::GpuOnly,
            linear: true,
            allocation_scheme: AllocationScheme::GpuAllocatorManaged,
        });
        let failed = |error: gpu_allocator::AllocationError| MemoryError::Allocator {
            bytes: requirements.size,
            reason: error.to_string(),
        };
        let allocation = allocation.map_err(failed)?;
        // SAFETY: the memory is bound below and freed only together with the buffer.
        let (memory, offset) = (unsafe { allocation.memory() }, allocation.offset());
        self.backing = Backing::Suballocated(allocation);
        Ok(self.bind(gpu, memory, offset)?)
    }

    fn import(&mut self, gpu: &Gpu, region: &Region) -> Result<(), ImportError> {
        let host = vk::ExternalMemoryHandleTypeFlags::HOST_ALLOCATION_EXT;
        let extension = gpu.host_import.as_ref().ok_or(ImportError::Unsupported)?;
        let mut properties = vk::MemoryHostPointerPropertiesEXT::default();
        // SAFETY: the region is mapped for as long as we hold it, and aligned as the extension demands.
        let result = unsafe {
            let get = extension.fp().get_memory_host_pointer_properties_ext;
            get(gpu.raw.handle(), host, region.as_ptr().cast(), &raw mut properties)
        };
        result.result().named("vkGetMemoryHostPointerPropertiesEXT").map_err(MemoryError::from)?;
        let usable = self.requirements(gpu).memory_type_bits & properties.memory_type_bits;
        if usable == 0 {
            return Err(MemoryError::NoType { wanted: "able to import host pages" }.into());
        }
        let mut addressable = vk::MemoryAllocateFlagsInfo::default().flags(vk::MemoryAllocateFlags::DEVICE_ADDRESS);
        let mut pages =
            vk::ImportMemoryHostPointerInfoEXT::default().handle_type(host).host_pointer(region.as_ptr().cast());
        let info = vk::MemoryAllocateInfo::default()
            .allocation_size(region.len() as u64)
            .memory_type_index(usable.trailing_zeros())
            .push_next(&mut addressable)
            .push_next(&mut pages);
        // SAFETY: the pages stay mapped until the memory is freed, since the backing holds the region.
        let memory =
            unsafe { gpu.raw.allocate_memory(&info, None) }.named("vkAllocateMemory").map_err(MemoryError::from)?;
        self.backing = Backing::Imported(memory, region.clone());
        self.bind(gpu, memory, 0).map_err(MemoryError::from)?;
        Ok(())
    }

    /// Destroys the buffer and frees its memory. No quantum may be able to touch it any more.
    pub(crate) fn free(self, gpu: &Gpu) {
        // SAFETY: the callers guarantee that the device is done with it; `self` is consumed, so this happens once.
        unsafe { gpu.raw.destroy_buffer(self.buffer, None) };
        match self.backing {
            Backing::None => {}
            Backing::Memory(memory) | Backing::Imported(memory, _) => {
                // SAFETY: as above; freeing unmaps.
                unsafe { gpu.raw.free_memory(memory, None) };
            }
            Backing::Suballocated(allocation) => {
                if let Err(error) = gpu.allocator().free(allocation) {
                    tracing::warn!("freeing device memory failed: {error}");
                }
            }
        }
    }
}
