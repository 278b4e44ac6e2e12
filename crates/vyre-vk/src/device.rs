//! What a device is, whether it is fit, and what would be chosen on it.
//!
//! # Safety
//!
//! All calls are queries on a physical device that was enumerated from a live instance; they change nothing.
#![allow(unsafe_code, reason = "queries Vulkan; see the Safety section above")]

use std::ffi::CStr;
use std::fmt;
use std::time::Duration;

use ash::{ext, khr, vk};
use vyre_protocol::MIN_LANES;
use vyre_protocol::control::operation_bit;
use vyre_protocol::launch::LAUNCH_BYTES;
use vyre_protocol::operation::Operation;
use vyre_protocol::vir0::GROUP;

use crate::instance::Vulkan;
use crate::memory::BUFFER_USAGE;

/// What kind of device it is, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeviceKind {
    /// A GPU with memory of its own.
    Discrete,
    /// A GPU that shares the host's memory.
    Integrated,
    /// A GPU passed through to a virtual machine.
    Virtual,
    /// An implementation on the CPU.
    Software,
    /// Anything else.
    Other,
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DeviceKind::Discrete => "discrete GPU",
            DeviceKind::Integrated => "integrated GPU",
            DeviceKind::Virtual => "virtual GPU",
            DeviceKind::Software => "software",
            DeviceKind::Other => "other",
        })
    }
}

/// How a driver must be treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceQuirks {
    /// Lanes of a worker.
    pub lanes: u32,
    /// The same where its kernel has EXEC. More of them hide each other's waiting; beyond a quarter of a group they would have nothing to do.
    pub program_lanes: u32,
    /// Most fuel of a quantum, so that a driver that counts loop iterations cuts no loop; `None` where it does not count them.
    pub fuel_limit: Option<u32>,
    /// How long a quantum should take.
    pub quantum_target: Duration,
    /// Workers run on the host's processors, so one processor is left to the host.
    pub shares_processors: bool,
    /// Longest pause of an idle worker between two looks at the ring, in loads from memory; 0 = it never pauses.
    pub max_pause: u32,
}

impl fmt::Display for DeviceQuirks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} lanes", self.lanes)?;
        match self.fuel_limit {
            Some(limit) => write!(f, ", quanta of {limit} loop iterations")?,
            None => write!(f, ", quanta of {} ms", self.quantum_target.as_millis())?,
        }
        if self.shares_processors { f.write_str(", workers are host threads") } else { Ok(()) }
    }
}

impl DeviceQuirks {
    /// Lanes of a worker whose kernel has these operations.
    pub(crate) const fn lanes_with(&self, operations: u32) -> u32 {
        if operations & operation_bit(Operation::Exec.code()) != 0 { self.program_lanes } else { self.lanes }
    }

    fn of(driver: vk::DriverId, kind: DeviceKind, subgroup: u32) -> Self {
        let software = kind == DeviceKind::Software;
        // For tests: the code that only GPUs run, on a device that every machine has.
        let host_threads = software && std::env::var_os("VYRE_TREAT_AS_GPU").is_none();
        DeviceQuirks {
            // Software devices run a worker on one thread, eight lanes wide; wider workers only cost them switches.
            lanes: if host_threads { MIN_LANES } else { subgroup.clamp(32, 64) },
            program_lanes: if host_threads { MIN_LANES } else { GROUP / 4 },
            // Mesa's llvmpipe silently ends every loop once an invocation has run 65,535 iterations in total
            // (LP_MAX_TGSI_LOOP_ITERATIONS). It counts one more for each loop that is entered: three where an instruction of a program
            // that is done once costs a fuel of two. What is left of two thirds pays for the loops before and after the turns.
            fuel_limit: (driver == vk::DriverId::MESA_LLVMPIPE).then_some(43_000),
            quantum_target: Duration::from_millis(if software { 5 } else { 10 }),
            shares_processors: software,
            // Some hundred microseconds, so that thousands of idle workers leave the memory to the few that are at work.
            max_pause: if host_threads { 0 } else { 512 },
        }
    }
}

/// The memory types chosen for what host and device share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Type for what the host writes and the device polls, with its properties.
    pub(crate) host_to_device: Option<(u32, vk::MemoryPropertyFlags)>,
    /// Type for what the device writes and the host polls.
    pub(crate) device_to_host: Option<(u32, vk::MemoryPropertyFlags)>,
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |chosen: Option<(u32, vk::MemoryPropertyFlags)>| match chosen {
            Some((index, flags)) => format!("#{index} {}", describe(flags)),
            None => "none".into(),
        };
        write!(f, "to device {}, to host {}", side(self.host_to_device), side(self.device_to_host))
    }
}

fn describe(flags: vk::MemoryPropertyFlags) -> String {
    let place = if flags.contains(vk::MemoryPropertyFlags::DEVICE_LOCAL) { "device-local" } else { "system" };
    let cache = if flags.contains(vk::MemoryPropertyFlags::HOST_CACHED) { "cached" } else { "write-combined" };
    format!("{place} {cache}")
}

/// What one device is and offers.
#[derive(Debug, Clone)]
pub struct DeviceReport {
    /// Index in the loader's order.
    pub index: usize,
    /// Name.
    pub name: String,
    /// Driver and its version.
    pub driver: String,
    /// Kind.
    pub kind: DeviceKind,
    /// Vulkan version of the device, as `major.minor.patch`.
    pub api_version: String,
    /// What the kernel needs and the device lacks; empty if it is fit.
    pub missing: Vec<String>,
    /// Memory types that would be used.
    pub memory: MemoryPlan,
    /// Alignment of importable host pages in bytes; `None` if the device imports none.
    pub import_alignment: Option<u64>,
    /// Whether completions are written by single 64-bit stores.
    pub stores_64_bit: bool,
    /// Whether completions carry the time of a device clock.
    pub device_clock: bool,
    /// Whether a shader can say of floats of 32 bits that subnormal numbers are 0.
    pub flush_control: bool,
    /// Whether a shader can say of floats of 32 bits that what is no number stays so.
    pub nan_control: bool,
    /// Largest single allocation in bytes.
    pub max_allocation: u64,
    /// How the driver must be treated.
    pub quirks: DeviceQuirks,
    pub(crate) queue_family: Option<u32>,
    pub(crate) physical: vk::PhysicalDevice,
    /// What identifies a pipeline cache: vendor, device, driver version and the driver's own identifier.
    pub(crate) cache_key: (u32, u32, u32, [u8; vk::UUID_SIZE]),
}

/// Looks at a device. Never fails: what cannot be found out is missing.
pub(crate) fn report(vulkan: &Vulkan, physical: vk::PhysicalDevice, index: usize) -> DeviceReport {
    let instance = &vulkan.instance.raw;
    // SAFETY: `physical` comes from this live instance, here and in the queries below.
    let extensions = unsafe { instance.enumerate_device_extension_properties(physical) }.unwrap_or_default();
    let has = |name: &CStr| extensions.iter().any(|extension| extension.extension_name_as_c_str() == Ok(name));
    let importable = has(ext::external_memory_host::NAME) && imports_host_pages(instance, physical);

    let mut subgroup = vk::PhysicalDeviceSubgroupProperties::default();
    let mut driver = vk::PhysicalDeviceDriverProperties::default();
    let mut import = vk::PhysicalDeviceExternalMemoryHostPropertiesEXT::default();
    let mut sizes = vk::PhysicalDeviceMaintenance3Properties::default();
    let mut floats = vk::PhysicalDeviceFloatControlsProperties::default();
    let mut properties = vk::PhysicalDeviceProperties2::default()
        .push_next(&mut subgroup)
        .push_next(&mut driver)
        .push_next(&mut sizes)
        .push_next(&mut floats);
    if importable {
        properties = properties.push_next(&mut import);
    }
    // SAFETY: the chain holds live structures of the right types.
    unsafe { instance.get_physical_device_properties2(physical, &mut properties) };
    let core = properties.properties;

    let kind = match core.device_type {
        vk::PhysicalDeviceType::DISCRETE_GPU => DeviceKind::Discrete,
        vk::PhysicalDeviceType::INTEGRATED_GPU => DeviceKind::Integrated,
        vk::PhysicalDeviceType::VIRTUAL_GPU => DeviceKind::Virtual,
        vk::PhysicalDeviceType::CPU => DeviceKind::Software,
        _ => DeviceKind::Other,
    };
    let quirks = DeviceQuirks::of(driver.driver_id, kind, subgroup.subgroup_size);
    let (mut missing, stores_64_bit) = features(instance, physical, core.api_version);
    // One module fewer: no device is known that has the clock and not the stores.
    let device_clock = stores_64_bit && has(khr::shader_clock::NAME) && has_device_clock(instance, physical);
    if core.limits.max_compute_work_group_invocations < quirks.lanes {
        missing.push(format!("workgroups of {} invocations", quirks.lanes));
    }
    if core.limits.max_push_constants_size < LAUNCH_BYTES {
        missing.push(format!("{LAUNCH_BYTES} bytes of push constants"));
    }
    let memory = memory_plan(instance, physical);
    if memory.host_to_device.is_none() || memory.device_to_host.is_none() {
        missing.push("host-visible coherent memory".into());
    }
    let queue_family = compute_family(instance, physical);
    if queue_family.is_none() {
        missing.push("a compute queue".into());
    }
    let text =
        |chars: Result<&CStr, _>| chars.map_or_else(|_| String::new(), |text| text.to_string_lossy().into_owned());
    DeviceReport {
        index,
        name: text(core.device_name_as_c_str()),
        driver: format!("{} {}", text(driver.driver_name_as_c_str()), text(driver.driver_info_as_c_str())),
        kind,
        api_version: version(core.api_version),
        missing,
        memory,
        import_alignment: importable.then_some(import.min_imported_host_pointer_alignment),
        stores_64_bit,
        device_clock,
        flush_control: floats.shader_denorm_flush_to_zero_float32 == vk::TRUE,
        nan_control: floats.shader_signed_zero_inf_nan_preserve_float32 == vk::TRUE,
        max_allocation: sizes.max_memory_allocation_size,
        quirks,
        queue_family,
        physical,
        cache_key: (core.vendor_id, core.device_id, core.driver_version, core.pipeline_cache_uuid),
    }
}

impl DeviceReport {
    /// Whether quanta end by the device's clock. Workers that are host threads are not all there at once, so that time says little of what
    /// one of theirs has done.
    pub(crate) fn ends_by_clock(&self) -> bool {
        self.device_clock && !self.quirks.shares_processors
    }
}

/// Whether buffers may be made over imported host pages. Having the extension is not enough: SwiftShader has it, and says here
/// that no buffer can use it.
fn imports_host_pages(instance: &ash::Instance, physical: vk::PhysicalDevice) -> bool {
    let info = vk::PhysicalDeviceExternalBufferInfo::default()
        .usage(BUFFER_USAGE)
        .handle_type(vk::ExternalMemoryHandleTypeFlags::HOST_ALLOCATION_EXT);
    let mut properties = vk::ExternalBufferProperties::default();
    // SAFETY: a query on a live physical device that has the extension of this handle type.
    unsafe { instance.get_physical_device_external_buffer_properties(physical, &info, &mut properties) };
    let features = properties.external_memory_properties.external_memory_features;
    features.contains(vk::ExternalMemoryFeatureFlags::IMPORTABLE)
}

fn version(version: u32) -> String {
    format!("{}.{}.{}", vk::api_version_major(version), vk::api_version_minor(version), vk::api_version_patch(version))
}

/// What is missing of the features, and whether 64-bit atomic stores are there.
fn features(instance: &ash::Instance, physical: vk::PhysicalDevice, api: u32) -> (Vec<String>, bool) {
    if api < vk::API_VERSION_1_2 {
        return (vec![format!("Vulkan 1.2 (it has {})", version(api))], false);
    }
    let mut core12 = vk::PhysicalDeviceVulkan12Features::default();
    let mut features = vk::PhysicalDeviceFeatures2::default().push_next(&mut core12);
    // SAFETY: the chain holds live structures of the right types, known to a Vulkan 1.2 device.
    unsafe { instance.get_physical_device_features2(physical, &mut features) };
    let int64 = features.features.shader_int64;
    let needed = [
        (core12.buffer_device_address, "bufferDeviceAddress"),
        (core12.timeline_semaphore, "timelineSemaphore"),
        (core12.vulkan_memory_model, "vulkanMemoryModel"),
        (core12.vulkan_memory_model_device_scope, "vulkanMemoryModelDeviceScope"),
    ];
    let missing = needed.into_iter().filter(|(has, _)| *has == vk::FALSE).map(|(_, name)| name.into()).collect();
    (missing, int64 == vk::TRUE && core12.shader_buffer_int64_atomics == vk::TRUE)
}

/// Whether shaders may read a clock that all workers share. The device has the extension.
fn has_device_clock(instance: &ash::Instance, physical: vk::PhysicalDevice) -> bool {
    let mut clock = vk::PhysicalDeviceShaderClockFeaturesKHR::default();
    let mut features = vk::PhysicalDeviceFeatures2::default().push_next(&mut clock);
    // SAFETY: the chain holds live structures of the right types, known to a device with the extension.
    unsafe { instance.get_physical_device_features2(physical, &mut features) };
    clock.shader_device_clock == vk::TRUE
}

/// A family that computes and does not draw, where there is one: the relay occupies its queue for ever.
fn compute_family(instance: &ash::Instance, physical: vk::PhysicalDevice) -> Option<u32> {
    // SAFETY: a query on a live physical device.
    let families = unsafe { instance.get_physical_device_queue_family_properties(physical) };
    let computes =
        |family: &&(usize, vk::QueueFamilyProperties)| family.1.queue_flags.contains(vk::QueueFlags::COMPUTE);
    let families: Vec<_> = families.into_iter().enumerate().collect();
    let alone =
        families.iter().filter(computes).find(|(_, family)| !family.queue_flags.contains(vk::QueueFlags::GRAPHICS));
    alone.or_else(|| families.iter().find(computes)).map(|(index, _)| *index as u32)
}

/// Smallest heap that counts as "enough" device memory behind the bus: more than the 256 MiB window of old systems.
const RESIZABLE_BAR: u64 = (256 << 20) + 1;

fn memory_plan(instance: &ash::Instance, physical: vk::PhysicalDevice) -> MemoryPlan {
    use vk::MemoryPropertyFlags as Flags;
    // SAFETY: a query on a live physical device.
    let memory = unsafe { instance.get_physical_device_memory_properties(physical) };
    let types = memory.memory_types_as_slice();
    let heap = |kind: &vk::MemoryType| memory.memory_heaps[kind.heap_index as usize].size;
    let mapped = Flags::HOST_VISIBLE | Flags::HOST_COHERENT;
    let find = |wanted: Flags, unwanted: Flags, least: u64| {
        types.iter().enumerate().find_map(|(index, kind)| {
            let flags = kind.property_flags;
            let fits = flags.contains(wanted) && !flags.intersects(unwanted) && heap(kind) >= least;
            fits.then_some((index as u32, flags))
        })
    };
    let cached = Flags::HOST_CACHED;
    MemoryPlan {
        host_to_device: find(mapped | Flags::DEVICE_LOCAL, Flags::empty(), RESIZABLE_BAR)
            .or_else(|| find(mapped, Flags::DEVICE_LOCAL | cached, 0))
            .or_else(|| find(mapped, Flags::empty(), 0)),
        device_to_host: find(mapped | cached, Flags::DEVICE_LOCAL, 0)
            .or_else(|| find(mapped | cached, Flags::empty(), 0))
            .or_else(|| find(mapped, Flags::empty(), 0)),
    }
}
