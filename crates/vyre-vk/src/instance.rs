//! The loader and the instance.
//!
//! # Safety
//!
//! Creating and destroying Vulkan objects is unsafe in ash because handles are plain numbers. Here each handle is owned by
//! exactly one [`Instance`], destroyed once, in its `Drop`, after everything made from it (they hold an `Arc` of it).
#![allow(unsafe_code, reason = "calls Vulkan; see the Safety section above")]

use std::ffi::{CStr, c_void};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use ash::{ext, vk};

use crate::device::{self, DeviceReport};
use crate::error::{LoadError, Named, OpenError, VulkanError};
use crate::resident::{KernelConfig, Resident};

const VALIDATION_LAYER: &CStr = c"VK_LAYER_KHRONOS_validation";

/// The Vulkan loader and one instance. Cheap to clone.
#[derive(Clone)]
pub struct Vulkan {
    pub(crate) instance: Arc<Instance>,
}

pub(crate) struct Instance {
    pub(crate) raw: ash::Instance,
    messenger: Option<(ext::debug_utils::Instance, vk::DebugUtilsMessengerEXT)>,
    /// Boxed so that the messenger may keep its address.
    messages: Box<AtomicU64>,
    /// The library must stay loaded as long as the instance lives.
    _entry: ash::Entry,
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: devices hold an Arc of this Instance, so none is left; messenger and instance are destroyed once, here.
        unsafe {
            if let Some((debug, messenger)) = &self.messenger {
                debug.destroy_debug_utils_messenger(*messenger, None);
            }
            self.raw.destroy_instance(None);
        }
    }
}

/// The first instance stays as long as the process, so that the loader never unloads a driver. NVIDIA's (580) gives its
/// thread-local storage not back then: a process that opened it some dozens of times found no driver any more.
static FIRST: OnceLock<Arc<Instance>> = OnceLock::new();

impl Vulkan {
    /// Loads the library and makes an instance; with `validation`, the Khronos layer is on and its messages are counted.
    ///
    /// # Errors
    /// [`LoadError`] says what is missing on this machine.
    pub fn load(validation: bool) -> Result<Vulkan, LoadError> {
        // SAFETY: loading a library runs its initialisers; the Vulkan loader's are meant for that.
        let entry = unsafe { ash::Entry::load() }.map_err(|error| LoadError::NoLoader { reason: error.to_string() })?;
        // SAFETY: the entry was just loaded.
        let version = unsafe { entry.try_enumerate_instance_version() }
            .map_err(|result| LoadError::NoDriver { result })?
            .unwrap_or(vk::API_VERSION_1_0);
        if version < vk::API_VERSION_1_2 {
            let (major, minor) = (vk::api_version_major(version), vk::api_version_minor(version));
            return Err(LoadError::OldLoader { major, minor });
        }
        if validation && !has_validation_layer(&entry) {
            return Err(LoadError::NoValidationLayer);
        }
        let application = vk::ApplicationInfo::default().application_name(c"vyre").api_version(vk::API_VERSION_1_2);
        let layers = [VALIDATION_LAYER.as_ptr()];
        let extensions = [ext::debug_utils::NAME.as_ptr()];
        let on = usize::from(validation);
        let info = vk::InstanceCreateInfo::default()
            .application_info(&application)
            .enabled_layer_names(&layers[..on])
            .enabled_extension_names(&extensions[..on]);
        // SAFETY: all pointers in `info` live until the call returns.
        let raw = unsafe { entry.create_instance(&info, None) }.map_err(|result| LoadError::NoDriver { result })?;
        let messages = Box::new(AtomicU64::new(0));
        let messenger = if validation { messenger(&entry, &raw, &messages) } else { None };
        let instance = Arc::new(Instance { raw, messenger, messages, _entry: entry });
        FIRST.get_or_init(|| Arc::clone(&instance));
        Ok(Vulkan { instance })
    }

    /// Reports on all devices, in the loader's order.
    ///
    /// # Errors
    /// [`VulkanError`] if the devices cannot be enumerated.
    pub fn devices(&self) -> Result<Vec<DeviceReport>, VulkanError> {
        let physical = self.physical_devices()?;
        Ok(physical.into_iter().enumerate().map(|(index, physical)| device::report(self, physical, index)).collect())
    }

    /// Warnings and errors that the validation layer has given so far; 0 without validation.
    #[must_use]
    pub fn validation_messages(&self) -> u64 {
        self.instance.messages.load(Ordering::Relaxed)
    }

    /// Opens a device and prepares the kernel on it; [`Resident::launch`] starts it.
    ///
    /// # Errors
    /// [`OpenError`] says why the device cannot be used.
    pub fn open(&self, index: usize, config: &KernelConfig) -> Result<Resident, OpenError> {
        Resident::open(self, index, config)
    }

    pub(crate) fn physical_devices(&self) -> Result<Vec<vk::PhysicalDevice>, VulkanError> {
        // SAFETY: the instance is alive.
        match unsafe { self.instance.raw.enumerate_physical_devices() } {
            // The loader's way to say that no driver found a device.
            Err(vk::Result::ERROR_INITIALIZATION_FAILED) => Ok(Vec::new()),
            other => other.named("vkEnumeratePhysicalDevices"),
        }
    }
}

fn has_validation_layer(entry: &ash::Entry) -> bool {
    // SAFETY: the entry is loaded.
    let layers = unsafe { entry.enumerate_instance_layer_properties() }.unwrap_or_default();
    layers.iter().any(|layer| layer.layer_name_as_c_str() == Ok(VALIDATION_LAYER))
}

fn messenger(
    entry: &ash::Entry,
    instance: &ash::Instance,
    messages: &AtomicU64,
) -> Option<(ext::debug_utils::Instance, vk::DebugUtilsMessengerEXT)> {
    use vk::{DebugUtilsMessageSeverityFlagsEXT as Severity, DebugUtilsMessageTypeFlagsEXT as Type};
    let debug = ext::debug_utils::Instance::new(entry, instance);
    let info = vk::DebugUtilsMessengerCreateInfoEXT::default()
        .message_severity(Severity::WARNING | Severity::ERROR)
        .message_type(Type::VALIDATION | Type::PERFORMANCE)
        .pfn_user_callback(Some(on_message))
        .user_data(std::ptr::from_ref(messages).cast_mut().cast());
    // SAFETY: `messages` is boxed in the Instance, which destroys the messenger before the box is dropped.
    let messenger = unsafe { debug.create_debug_utils_messenger(&info, None) };
    messenger.ok().map(|messenger| (debug, messenger))
}

/// Counts a message and hands it to `tracing`.
unsafe extern "system" fn on_message(
    severity: vk::DebugUtilsMessageSeverityFlagsEXT,
    _kind: vk::DebugUtilsMessageTypeFlagsEXT,
    data: *const vk::DebugUtilsMessengerCallbackDataEXT<'_>,
    messages: *mut c_void,
) -> vk::Bool32 {
    // SAFETY: Vulkan passes a valid callback structure, and as user data the pointer that `messenger` gave.
    let (data, messages) = unsafe { (&*data, &*messages.cast_const().cast::<AtomicU64>()) };
    // SAFETY: the message is null or a C string that lives during the callback.
    let text = unsafe { data.message_as_c_str() }.unwrap_or(c"").to_string_lossy();
    messages.fetch_add(1, Ordering::Relaxed);
    if severity.contains(vk::DebugUtilsMessageSeverityFlagsEXT::ERROR) {
        tracing::error!(target: "vyre::validation", "{text}");
    } else {
        tracing::warn!(target: "vyre::validation", "{text}");
    }
    vk::FALSE
}
