//! Typed errors, one for each operation.

use ash::vk;
use vyre_protocol::fault::LaunchFault;

/// A Vulkan call failed in a way that its caller could not foresee.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{call} failed: {result:?}; update the driver or choose another device")]
pub struct VulkanError {
    /// Name of the call.
    pub call: &'static str,
    /// What it returned.
    pub result: vk::Result,
}

impl VulkanError {
    /// The operating system gave no thread for this.
    pub(crate) fn no_thread(call: &'static str) -> VulkanError {
        VulkanError { call, result: vk::Result::ERROR_OUT_OF_HOST_MEMORY }
    }
}

/// Attaches the name of a call to its result.
pub(crate) trait Named<T> {
    /// Names the call that returned this.
    fn named(self, call: &'static str) -> Result<T, VulkanError>;
}

impl<T> Named<T> for Result<T, vk::Result> {
    fn named(self, call: &'static str) -> Result<T, VulkanError> {
        self.map_err(|result| VulkanError { call, result })
    }
}

/// Vulkan cannot be used at all on this machine.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no loader library.
    #[error("no Vulkan loader ({reason}); install libvulkan1 and a driver (Debian: apt-get install libvulkan1)")]
    NoLoader {
        /// What the dynamic linker said.
        reason: String,
    },
    /// The loader knows no usable driver.
    #[error("no Vulkan driver ({result:?}); install the GPU's driver (in software: mesa-vulkan-drivers)")]
    NoDriver {
        /// What creating an instance returned.
        result: vk::Result,
    },
    /// The loader is older than Vulkan 1.2.
    #[error("the Vulkan loader speaks {major}.{minor}, 1.2 is needed; update libvulkan1")]
    OldLoader {
        /// Major version.
        major: u32,
        /// Minor version.
        minor: u32,
    },
    /// Validation was asked for and the layer is not there.
    #[error(
        "validation layer VK_LAYER_KHRONOS_validation not found; install vulkan-validationlayers or set VK_LAYER_PATH"
    )]
    NoValidationLayer,
}

/// A device cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No device has this index.
    #[error("there is no Vulkan device {index}, this machine has {count}; `vyre devices` lists them")]
    NoSuchDevice {
        /// Index asked for.
        index: usize,
        /// Devices there are.
        count: usize,
    },
    /// The device lacks something that the kernel needs.
    #[error("{name} cannot run the kernel, it lacks: {}; choose another device", missing.join(", "))]
    Unfit {
        /// Name of the device.
        name: String,
        /// What it lacks.
        missing: Vec<String>,
    },
    /// The kernel refused its regions.
    #[error("the kernel refused the launch: {fault:?} in region {region}; host and shader are not of one build")]
    Refused {
        /// What it found.
        fault: LaunchFault,
        /// Number of the region.
        region: u32,
    },
    /// The kernel did not report its launch in time.
    #[error("the kernel did not start within {seconds} s; the device may be hung or busy, see `vyre doctor`")]
    Silent {
        /// Seconds waited.
        seconds: u64,
    },
    /// The device was lost while the kernel started.
    #[error(transparent)]
    Lost(#[from] DeviceLost),
    /// Memory for the regions could not be had.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// Any other Vulkan failure.
    #[error(transparent)]
    Vulkan(#[from] VulkanError),
}

/// Memory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The length is 0, or more than a resource may have.
    #[error("a buffer of {bytes} bytes is not possible; allowed are 4 to {max}")]
    Size {
        /// Bytes asked for.
        bytes: u64,
        /// Most that is allowed.
        max: u64,
    },
    /// No memory type is suitable.
    #[error("no memory type of the device is {wanted}; choose another device")]
    NoType {
        /// What was wanted.
        wanted: &'static str,
    },
    /// The allocator has no memory, or failed.
    #[error("allocating {bytes} bytes of device memory failed: {reason}; free buffers or ask for less")]
    Allocator {
        /// Bytes asked for.
        bytes: u64,
        /// What the allocator said.
        reason: String,
    },
    /// A Vulkan call failed.
    #[error(transparent)]
    Vulkan(#[from] VulkanError),
}

/// Host pages cannot be mapped into the device.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The device has no `VK_EXT_external_memory_host`.
    #[error("the device cannot import host pages (no VK_EXT_external_memory_host); use mapped device memory instead")]
    Unsupported,
    /// Address or length are not multiples of the device's import alignment.
    #[error("pages at {address:#x} of {len} bytes are not multiples of the import alignment {alignment}")]
    Misaligned {
        /// Address of the first byte.
        address: usize,
        /// Length in bytes.
        len: usize,
        /// What the device asks for.
        alignment: u64,
    },
    /// The driver refused these pages.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

/// The device is gone; nothing more will complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the device was lost after {quanta} quanta ({source}); open it again, tickets without completion are unknown")]
pub struct DeviceLost {
    /// Quanta that had ended.
    pub quanta: u64,
    /// The call that said so, and its reason.
    pub source: VulkanError,
}
