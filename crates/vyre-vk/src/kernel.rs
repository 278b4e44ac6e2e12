//! The kernel as a Vulkan pipeline, and the pipeline cache on disk.
//!
//! # Safety
//!
//! Layout, pipeline and shader module are made and destroyed here, each once; a [`Kernel`] holds its device alive. The SPIR-V was
//! validated when it was built: ours before it was committed, a [`CustomKernel`](crate::CustomKernel)'s before its manifest was written,
//! and its checksums say that it is what was validated then.
#![allow(unsafe_code, reason = "calls Vulkan; see the Safety section above")]

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ash::vk;
use vyre_protocol::control::operation_bit;
use vyre_protocol::custom::RESIDENT_MODULES;
use vyre_protocol::launch::{LAUNCH_BYTES, max_tile_fuel};
use vyre_protocol::operation::{CUSTOM_MASK, Operation};
use zerocopy::IntoBytes;

use crate::custom::CustomKernel;
use crate::device::DeviceReport;
use crate::error::{Named, VulkanError};
use crate::gpu::Gpu;
use crate::hot::{self, FloatMode, HotProgram, Subnormal, Target, Translated, Untranslatable};
use crate::resident::KernelConfig;

/// In the order of [`RESIDENT_MODULES`].
pub(crate) const SPIRV: [&[u8]; RESIDENT_MODULES.len()] = [
    include_bytes!("../spirv/exec.spv"),
    include_bytes!("../spirv/exec_int64.spv"),
    include_bytes!("../spirv/exec_int64_clock.spv"),
    include_bytes!("../spirv/resident.spv"),
    include_bytes!("../spirv/resident_int64.spv"),
    include_bytes!("../spirv/resident_int64_clock.spv"),
];
/// Those among them that have no EXEC begin here.
const WITHOUT_EXEC: usize = 3;
/// The modules that run scalar slots alone.
const SCALARS: [&[u8]; 3] = [
    include_bytes!("../spirv/scalars.spv"),
    include_bytes!("../spirv/scalars_int64.spv"),
    include_bytes!("../spirv/scalars_int64_clock.spv"),
];
const ECHO: &[u8] = include_bytes!("../spirv/echo.spv");
const PLAIN: &[u8] = include_bytes!("../spirv/plain.spv");
const PLAIN_INT64: &[u8] = include_bytes!("../spirv/plain_int64.spv");

/// Whether the operations have EXEC among them.
fn runs_programs(operations: u32) -> bool {
    operations & operation_bit(Operation::Exec.code()) != 0
}

/// Those operations of the configuration that there are.
fn operations(config: &KernelConfig) -> u32 {
    let custom = config.custom.as_ref().map_or(0, CustomKernel::mask);
    config.operations & (custom | !CUSTOM_MASK)
}

/// Which of three modules the device takes.
fn variant(gpu: &Gpu) -> usize {
    match (gpu.report.stores_64_bit, gpu.report.device_clock) {
        (false, _) => 0,
        (true, false) => 1,
        (true, true) => 2,
    }
}

/// The words of a module.
pub(crate) fn module_words(spirv: &[u8]) -> Vec<u32> {
    spirv.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
}

/// A compiled kernel.
pub(crate) struct Kernel {
    gpu: Arc<Gpu>,
    pub(crate) layout: vk::PipelineLayout,
    pub(crate) pipeline: vk::Pipeline,
    /// Fuel that a worker keeps back for a tile.
    pub(crate) tile_fuel: u32,
    /// Loops of hot programs, which llvmpipe runs once for each tile.
    pub(crate) loops: u32,
}

impl Drop for Kernel {
    fn drop(&mut self) {
        // SAFETY: the quanta hold the kernels of their command buffers until these have run.
        unsafe {
            self.gpu.raw.destroy_pipeline(self.pipeline, None);
            self.gpu.raw.destroy_pipeline_layout(self.layout, None);
        }
    }
}

impl Kernel {
    /// The module of the resident kernel with all operations of the configuration, and which of them it has.
    pub(crate) fn module<'a>(gpu: &Gpu, config: &'a KernelConfig) -> (Cow<'a, [u32]>, u32) {
        let number = variant(gpu) + if runs_programs(config.operations) { 0 } else { WITHOUT_EXEC };
        let words = match &config.custom {
            Some(custom) => Cow::Borrowed(custom.module(number)),
            None => Cow::Owned(module_words(SPIRV[number])),
        };
        (words, operations(config))
    }

    /// Compiles that module; with the configuration's `trace` each tile leaves a record.
    pub(crate) fn resident(gpu: &Arc<Gpu>, config: &KernelConfig) -> Result<Kernel, VulkanError> {
        let (words, operations) = Self::module(gpu, config);
        Self::of_module(gpu, &words, operations, config.trace)
    }

    /// Compiles the kernel of a small start: it runs scalar slots as [`resident`](Self::resident) does, with the same fuel, and leaves all
    /// others to that.
    pub(crate) fn scalars(gpu: &Arc<Gpu>, config: &KernelConfig) -> Result<Kernel, VulkanError> {
        Self::of_module(gpu, &module_words(SCALARS[variant(gpu)]), operations(config), config.trace)
    }

    /// A module of the resident kernel with these programs translated, and what became of them.
    pub(crate) fn translate(
        gpu: &Arc<Gpu>,
        module: &[u32],
        programs: &[HotProgram],
    ) -> Result<Translated, Untranslatable> {
        let DeviceReport { quirks, nan_control, .. } = &gpu.report;
        let host_threads = quirks.max_pause == 0;
        let (lanes, counts_loops) = (quirks.program_lanes, quirks.fuel_limit.is_some());
        let floats = FloatMode { subnormal: Subnormal::of(gpu), keeps_nan: *nan_control };
        let target = Target { lanes, floats, host_threads, counts_loops };
        hot::module(module, target, programs)
    }

    /// Compiles the kernel that runs one slot in a dispatch; its push constants are a slot.
    pub(crate) fn plain(gpu: &Arc<Gpu>, operations: u32) -> Result<Kernel, VulkanError> {
        let spirv = if gpu.report.stores_64_bit { PLAIN_INT64 } else { PLAIN };
        Self::of_module(gpu, &module_words(spirv), operations, false)
    }

    /// Compiles the kernel that answers words.
    pub(crate) fn echo(gpu: &Arc<Gpu>) -> Result<Kernel, VulkanError> {
        Self::of_module(gpu, &module_words(ECHO), 0, false)
    }

    /// Compiles a shader that is no kernel of ours.
    pub(crate) fn hand_written(gpu: &Arc<Gpu>, spirv: &[u8]) -> Result<Kernel, VulkanError> {
        Self::of_module(gpu, &module_words(spirv), 0, false)
    }

    /// Compiles a kernel of a module that one of the functions above made.
    pub(crate) fn of_module(
        gpu: &Arc<Gpu>,
        words: &[u32],
        operations: u32,
        trace: bool,
    ) -> Result<Kernel, VulkanError> {
        let module = vk::ShaderModuleCreateInfo::default().code(words);
        // SAFETY: `words` is a valid SPIR-V module (see the file's header) and lives until the call returns.
        let module = unsafe { gpu.raw.create_shader_module(&module, None) }.named("vkCreateShaderModule")?;
        let cache = PipelineCache::load(gpu)?;
        let kernel = Self::compile(gpu, module, cache.raw, operations, trace);
        // SAFETY: a module is not needed once the pipeline is made.
        unsafe { gpu.raw.destroy_shader_module(module, None) };
        if kernel.is_ok() {
            cache.save();
        }
        kernel
    }

    fn compile(
        gpu: &Arc<Gpu>,
        module: vk::ShaderModule,
        cache: vk::PipelineCache,
        operations: u32,
        trace: bool,
    ) -> Result<Kernel, VulkanError> {
        let lanes = gpu.report.quirks.lanes_with(operations);
        let constants = [lanes, operations, gpu.report.quirks.max_pause, trace.into()];
        let entry = |id: u32| vk::SpecializationMapEntry::default().constant_id(id).offset(id * 4).size(4);
        let entries = [0, 1, 2, 3].map(entry);
        let specialization = vk::SpecializationInfo::default().map_entries(&entries).data(constants.as_bytes());
        let push = [vk::PushConstantRange::default().stage_flags(vk::ShaderStageFlags::COMPUTE).size(LAUNCH_BYTES)];
        let layout = vk::PipelineLayoutCreateInfo::default().push_constant_ranges(&push);
        // SAFETY: the structure lives until the call returns.
        let layout = unsafe { gpu.raw.create_pipeline_layout(&layout, None) }.named("vkCreatePipelineLayout")?;
        let stage = vk::PipelineShaderStageCreateInfo::default()
            .stage(vk::ShaderStageFlags::COMPUTE)
            .module(module)
            .name(c"main")
            .specialization_info(&specialization);
        let info = [vk::ComputePipelineCreateInfo::default().stage(stage).layout(layout)];
        // SAFETY: all that `info` names lives until the call returns.
        match unsafe { gpu.raw.create_compute_pipelines(cache, &info, None) } {
            Ok(pipelines) => {
                let tile_fuel = max_tile_fuel(operations);
                Ok(Kernel { gpu: Arc::clone(gpu), layout, pipeline: pipelines[0], tile_fuel, loops: 0 })
            }
            Err((_, result)) => {
                // SAFETY: nothing uses the layout.
                unsafe { gpu.raw.destroy_pipeline_layout(layout, None) };
                Err(VulkanError { call: "vkCreateComputePipelines", result })
            }
        }
    }
}

/// A pipeline cache that lives in the user's cache folder, one file per device and driver. Losing it costs time, never
/// correctness, so its failures are only logged.
struct PipelineCache<'a> {
    gpu: &'a Gpu,
    raw: vk::PipelineCache,
    path: Option<PathBuf>,
    loaded: usize,
}

impl Drop for PipelineCache<'_> {
    fn drop(&mut self) {
        // SAFETY: the pipeline made with it is finished.
        unsafe { self.gpu.raw.destroy_pipeline_cache(self.raw, None) };
    }
}

impl<'a> PipelineCache<'a> {
    fn load(gpu: &'a Gpu) -> Result<Self, VulkanError> {
        let path = cache_file(gpu);
        let stored = path.as_ref().and_then(|path| std::fs::read(path).ok()).unwrap_or_default();
        let stored = if belongs_to(gpu, &stored) { stored } else { Vec::new() };
        let info = vk::PipelineCacheCreateInfo::default().initial_data(&stored);
        // SAFETY: the data starts with a header of this very device and driver, as `belongs_to` has checked.
        let raw = unsafe { gpu.raw.create_pipeline_cache(&info, None) }.named("vkCreatePipelineCache")?;
        Ok(PipelineCache { gpu, raw, path, loaded: stored.len() })
    }

    fn save(&self) {
        // SAFETY: the cache is alive.
        let data = unsafe { self.gpu.raw.get_pipeline_cache_data(self.raw) };
        let (Some(path), Ok(data)) = (&self.path, data) else { return };
        if data.len() == self.loaded {
            return;
        }
        // Written beside and renamed, so that nobody else reads half a file.
        static SAVED: AtomicU64 = AtomicU64::new(0);
        let number = SAVED.fetch_add(1, Ordering::Relaxed);
        let beside = path.with_extension(format!("{}-{number}.tmp", std::process::id()));
        let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        let saved = folder.and_then(|()| std::fs::write(&beside, data)).and_then(|()| std::fs::rename(&beside, path));
        if let Err(error) = saved {
            tracing::debug!("the pipeline cache was not saved to {}: {error}", path.display());
        }
    }
}

/// `$XDG_CACHE_HOME/vyre` or `~/.cache/vyre`; the name holds vendor, device, driver version and the driver's identifier.
fn cache_file(gpu: &Gpu) -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    let (vendor, device, version, uuid) = gpu.report.cache_key;
    let uuid: String = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(folder.join("vyre").join(format!("pipeline-{vendor:04x}-{device:04x}-{version:08x}-{uuid}.bin")))
}

/// Whether cached bytes start with the header of this device (VkPipelineCacheHeaderVersionOne).
fn belongs_to(gpu: &Gpu, data: &[u8]) -> bool {
    let (vendor, device, _, uuid) = gpu.report.cache_key;
    let mut header = Vec::new();
    for word in [32, vk::PipelineCacheHeaderVersion::ONE.as_raw() as u32, vendor, device] {
        header.extend_from_slice(&word.to_le_bytes());
    }
    header.extend_from_slice(&uuid);
    data.starts_with(&header)
}
