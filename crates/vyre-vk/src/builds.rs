//! Kernels that are built beside the one that runs, and take its place at a quantum's beginning: the one with all operations behind a small
//! start, and those with hot programs.

use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use vyre_protocol::geometry::{Counts, Geometry};
use vyre_protocol::launch::{Launch, TURN_FUEL};

use crate::error::{OpenError, VulkanError};
use crate::gpu::{Gpu, lock};
use crate::hot::{HotProgram, Untranslatable};
use crate::instance::Vulkan;
use crate::kernel::Kernel;
use crate::quantum;
use crate::resident::{Blocks, KernelConfig};

/// Longest time for the first quantum of a kernel, in which a software device compiles it.
const FIRST_QUANTUM: Duration = Duration::from_secs(120);

/// Stack for drivers' compilers, which go down deep in large kernels.
const STACK: usize = 64 << 20;

/// Why a kernel with hot programs was not built.
#[derive(Debug, thiserror::Error)]
pub enum HotError {
    /// The module could not be made.
    #[error(transparent)]
    Module(#[from] Untranslatable),
    /// The driver did not compile it.
    #[error(transparent)]
    Vulkan(#[from] VulkanError),
    /// There is no thread to build it on.
    #[error("no thread to build the kernel on: {0}; allow more threads")]
    NoThread(#[source] std::io::Error),
}

/// A kernel with hot programs that was built, or not.
#[derive(Debug)]
pub struct HotBuild {
    /// What became of each program, by its tag.
    pub programs: Vec<(u32, Result<(), Untranslatable>)>,
    /// How long it took from the start of the thread on.
    pub took: Duration,
}

/// The kernel that the next quantum runs, or why there is none with all operations.
pub(crate) struct Newest(Mutex<Result<Arc<Kernel>, VulkanError>>);

impl Newest {
    pub(crate) fn new(kernel: Kernel) -> Newest {
        Newest(Mutex::new(Ok(Arc::new(kernel))))
    }

    /// The kernel.
    ///
    /// # Errors
    /// What kept the kernel from being built that was to follow a small start.
    pub(crate) fn get(&self) -> Result<Arc<Kernel>, VulkanError> {
        lock(&self.0).clone()
    }

    fn set(&self, kernel: Result<Kernel, VulkanError>) {
        *lock(&self.0) = kernel.map(Arc::new);
    }
}

/// Where kernels are built, and for what.
pub(crate) struct Site {
    pub(crate) gpu: Arc<Gpu>,
    pub(crate) vulkan: Vulkan,
    /// Index of the device.
    pub(crate) index: usize,
    pub(crate) config: KernelConfig,
    pub(crate) newest: Arc<Newest>,
}

impl Site {
    /// Builds the kernel with all operations.
    fn build_whole(&self) {
        let (words, operations) = Kernel::module(&self.gpu, &self.config);
        self.newest.set(self.compile(&words, operations));
    }

    fn build_hot(&self, programs: &[HotProgram]) -> Result<HotBuild, HotError> {
        let start = Instant::now();
        let (words, operations) = Kernel::module(&self.gpu, &self.config);
        let (module, programs) = Kernel::translate(&self.gpu, &words, programs)?;
        if programs.iter().any(|(_, outcome)| outcome.is_ok()) {
            let mut kernel = self.compile(&module.words, operations)?;
            kernel.loops = module.loops;
            self.newest.set(Ok(kernel));
        }
        Ok(HotBuild { programs, took: start.elapsed() })
    }

    /// Compiles a kernel that is quick in its first quantum, too. llvmpipe generates code there, for seconds in which no other quantum runs; a
    /// first quantum on a device of its own leaves the code in Mesa's cache, where the one that counts finds it.
    fn compile(&self, words: &[u32], operations: u32) -> Result<Kernel, VulkanError> {
        let compile = || Kernel::of_module(&self.gpu, words, operations, self.config.trace);
        if self.gpu.report.quirks.fuel_limit.is_none() {
            return compile();
        }
        std::thread::scope(|scope| {
            let warm = || {
                // Without it there is a pause, and nothing else is amiss.
                self.warm(words, operations)
                    .unwrap_or_else(|error| tracing::debug!("a kernel was not warmed: {error}"));
            };
            if let Err(error) = thread("vyre-warm").spawn_scoped(scope, warm) {
                tracing::debug!("a kernel was not warmed: {error}");
            }
            compile()
        })
    }

    /// Runs a kernel for one turn, on a device and memory of its own.
    fn warm(&self, words: &[u32], operations: u32) -> Result<(), OpenError> {
        let gpu = Gpu::open(&self.vulkan, self.index)?;
        let kernel = Arc::new(Kernel::of_module(&gpu, words, operations, self.config.trace)?);
        let counts = Counts { slots: 8, tenants: 1, observables: 1, resources: 1, log_records: 8, io_requests: 1 };
        let Ok(geometry) = Geometry::new(counts) else { return Ok(()) };
        let blocks = Blocks::allocate(&gpu, &geometry)?;
        let mut quanta = quantum::Quanta::new(&gpu)?;
        blocks.reset(&geometry, &mut quanta)?;
        let launch = Launch { fuel: kernel.tile_fuel + TURN_FUEL, ..blocks.launch(&geometry, 1) };
        let end = quanta.run(&kernel, &launch)?;
        quanta.wait(end, FIRST_QUANTUM)?;
        Ok(())
    }
}

/// A thread that drivers compile on.
fn thread(name: &str) -> Builder {
    Builder::new().name(name.into()).stack_size(STACK)
}

/// Builds that are under way, at most one at a time. Dropping it waits for that.
#[derive(Default)]
pub(crate) struct Builds {
    whole: Option<JoinHandle<()>>,
    hot: Option<JoinHandle<Result<HotBuild, HotError>>>,
}

impl Builds {
    /// Starts to build the kernel with all operations. Nothing may have been started before.
    pub(crate) fn start_whole(&mut self, site: Site) -> Result<(), VulkanError> {
        let thread = thread("vyre-build").spawn(move || site.build_whole());
        self.whole = Some(thread.map_err(|_| VulkanError::no_thread("starting a thread to build the kernel on"))?);
        Ok(())
    }

    /// Starts to build a kernel with hot programs, unless a build is under way.
    pub(crate) fn start_hot(&mut self, site: Site, programs: Vec<HotProgram>) -> Result<bool, HotError> {
        if self.hot.is_some() || self.whole.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return Ok(false);
        }
        let build = move || site.build_hot(&programs);
        self.hot = Some(thread("vyre-hot").spawn(build).map_err(HotError::NoThread)?);
        Ok(true)
    }

    /// Takes what a build with hot programs has come to; `None` while it is under way, or if there is none.
    pub(crate) fn take_hot(&mut self) -> Option<Result<HotBuild, HotError>> {
        let thread = self.hot.take_if(|thread| thread.is_finished())?;
        // A panic of the thread is a bug, not something that a caller can mend.
        Some(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    }
}

impl Drop for Builds {
    fn drop(&mut self) {
        // What they came to interests nobody any more.
        if let Some(thread) = self.whole.take() {
            let _ = thread.join();
        }
        if let Some(thread) = self.hot.take() {
            let _ = thread.join();
        }
    }
}
