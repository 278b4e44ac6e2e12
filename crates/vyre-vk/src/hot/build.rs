//! A kernel with hot programs is built beside the one that runs, and takes its place at a quantum's beginning.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use vyre_protocol::geometry::{Counts, Geometry};
use vyre_protocol::launch::{Launch, TURN_FUEL};

use super::{HotProgram, Untranslatable};
use crate::error::{MemoryError, OpenError, VulkanError};
use crate::gpu::{Gpu, lock};
use crate::instance::Vulkan;
use crate::kernel::Kernel;
use crate::quantum;
use crate::resident::Blocks;

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
    /// The device on which it is tried could not be had.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Memory to try it with could not be had.
    #[error(transparent)]
    Memory(#[from] MemoryError),
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

/// The kernel that the next quantum runs.
pub(crate) struct Newest(Mutex<Arc<Kernel>>);

impl Newest {
    pub(crate) fn new(kernel: Kernel) -> Newest {
        Newest(Mutex::new(Arc::new(kernel)))
    }

    pub(crate) fn get(&self) -> Arc<Kernel> {
        Arc::clone(&lock(&self.0))
    }

    fn set(&self, kernel: Kernel) {
        *lock(&self.0) = Arc::new(kernel);
    }
}

/// What a build needs.
pub(crate) struct Order {
    pub(crate) gpu: Arc<Gpu>,
    pub(crate) vulkan: Vulkan,
    /// Index of the device.
    pub(crate) index: usize,
    pub(crate) operations: u32,
    pub(crate) trace: bool,
    /// The kernel has operations of a user's, which one with hot programs would lack.
    pub(crate) custom: bool,
    pub(crate) programs: Vec<HotProgram>,
    pub(crate) newest: Arc<Newest>,
}

impl Order {
    fn build(&self) -> Result<HotBuild, HotError> {
        let start = Instant::now();
        if self.custom {
            let programs = self.programs.iter().map(|program| (program.tag, Err(Untranslatable::Custom))).collect();
            return Ok(HotBuild { programs, took: start.elapsed() });
        }
        let (module, programs) = Kernel::translate(&self.gpu, &self.programs)?;
        if programs.iter().any(|(_, outcome)| outcome.is_ok()) {
            if self.gpu.report.quirks.fuel_limit.is_some() {
                self.warm(&module.words)?;
            }
            let mut kernel = Kernel::of_module(&self.gpu, &module.words, self.operations, self.trace)?;
            kernel.loops = module.loops;
            self.newest.set(kernel);
        }
        Ok(HotBuild { programs, took: start.elapsed() })
    }

    /// llvmpipe compiles a kernel in its first quantum, for seconds in which no other runs. On a device of its own that leaves the code in
    /// Mesa's cache, where the quantum that counts finds it.
    fn warm(&self, module: &[u32]) -> Result<(), HotError> {
        let gpu = Gpu::open(&self.vulkan, self.index)?;
        let kernel = Arc::new(Kernel::of_module(&gpu, module, self.operations, self.trace)?);
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

/// At most one build at a time. Dropping it waits for that.
#[derive(Default)]
pub(crate) struct Builds {
    thread: Option<JoinHandle<Result<HotBuild, HotError>>>,
}

impl Builds {
    /// Starts a build, unless one is under way.
    pub(crate) fn start(&mut self, order: Order) -> Result<bool, HotError> {
        if self.thread.is_some() {
            return Ok(false);
        }
        let thread = std::thread::Builder::new().name("vyre-hot".into()).stack_size(STACK).spawn(move || order.build());
        self.thread = Some(thread.map_err(HotError::NoThread)?);
        Ok(true)
    }

    /// Takes what a build has come to; `None` while it is under way, or if there is none.
    pub(crate) fn take(&mut self) -> Option<Result<HotBuild, HotError>> {
        let thread = self.thread.take_if(|thread| thread.is_finished())?;
        // A panic of the thread is a bug, not something that a caller can mend.
        Some(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    }
}

impl Drop for Builds {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // What it came to interests nobody any more.
            let _ = thread.join();
        }
    }
}
