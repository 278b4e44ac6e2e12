//! A device with the kernel's regions and the relay on it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use vyre_mem::Region;
use vyre_protocol::control::initialise;
use vyre_protocol::fault::LaunchFault;
use vyre_protocol::geometry::{Counts, Direction, Geometry};
use vyre_protocol::header::{RegionHeader, RegionKind};
use vyre_protocol::launch::{Launch, TURN_FUEL};
use vyre_protocol::operation::{DEFAULT_OPERATIONS, SCALAR_OPERATIONS};
use vyre_protocol::ring::RingMemory;
use vyre_protocol::status::{Counters, LaunchReport};

use crate::builds::{Builds, HotBuild, HotError, Newest, Site};
use crate::custom::CustomKernel;
use crate::device::{DeviceKind, MemoryPlan};
use crate::error::{DeviceLost, ImportError, MemoryError, OpenError, VulkanError};
use crate::gpu::Gpu;
use crate::hot::HotProgram;
use crate::instance::Vulkan;
use crate::kernel::Kernel;
use crate::memory::{Buffer, MemoryUse};
use crate::quantum;
use crate::relay::{Quanta, Relay, RelaySpans, Work};
use crate::start::{StartTimes, Stopwatch};

/// How to set up the kernel.
#[derive(Debug, Clone)]
pub struct KernelConfig {
    /// How many of everything.
    pub geometry: Geometry,
    /// Workers; `None` lets the device decide: as many as are found resident, on software devices the processors but one.
    pub workers: Option<u32>,
    /// Time without outstanding slots after which the relay parks.
    pub park_after: Duration,
    /// Operations compiled into the kernel: their [`operation_bit`](vyre_protocol::control::operation_bit)s.
    pub operations: u32,
    /// A kernel with operations of the user's own in place of the one that the crate brings along.
    pub custom: Option<CustomKernel>,
    /// Fuel of each quantum; less than one action with the dearest tile needs becomes that. `None` steers it by the time that quanta
    /// take.
    pub quantum_fuel: Option<u32>,
    /// Begins, where workers are host threads, with a small kernel, whose compilation takes a fifth of the time: it runs scalar slots, and
    /// others wait until the one with all operations, which is built meanwhile, has taken over. A [`Resident`] that goes away waits for that.
    /// Without scalar operations there is nothing to begin with.
    pub start_small: bool,
    /// Makes each tile leave a record in the debug log, and keeps the [`RelaySpans`].
    pub trace: bool,
}

impl Default for KernelConfig {
    fn default() -> Self {
        const GEOMETRY: Geometry = match Geometry::new(Counts {
            slots: 1024,
            tenants: 16,
            observables: 64,
            resources: 1024,
            log_records: 256,
            io_requests: 64,
        }) {
            Ok(geometry) => geometry,
            Err(_) => panic!("the default counts are within their limits"),
        };
        KernelConfig {
            geometry: GEOMETRY,
            workers: None,
            park_after: Duration::from_millis(50),
            operations: DEFAULT_OPERATIONS,
            custom: None,
            quantum_fuel: None,
            start_small: true,
            trace: false,
        }
    }
}

/// What was opened.
#[derive(Debug, Clone)]
pub struct ResidentInfo {
    /// Name of the device.
    pub name: String,
    /// Driver and version.
    pub driver: String,
    /// Kind of the device.
    pub kind: DeviceKind,
    /// Workers of each quantum.
    pub workers: u32,
    /// Lanes of each worker.
    pub lanes: u32,
    /// Memory types in use.
    pub memory: MemoryPlan,
    /// Whether completions are written by single 64-bit stores.
    pub stores_64_bit: bool,
    /// Whether completions carry the time of a device clock.
    pub device_clock: bool,
    /// Largest single allocation in bytes.
    pub max_allocation: u64,
    /// Alignment of importable host pages in bytes; `None` if there is no import.
    pub import_alignment: Option<u64>,
}

/// One device, prepared to run the kernel. Dropping it stops the relay and waits for the device.
pub struct Resident {
    // Declaration order is drop order: the relay stops before what it uses goes.
    relay: Option<Relay>,
    /// Here while no relay runs.
    quanta: Option<quantum::Quanta>,
    /// Waits for its build.
    builds: Builds,
    newest: Arc<Newest>,
    /// The kernel with all operations has yet to be built.
    small: bool,
    blocks: Blocks,
    info: ResidentInfo,
    times: StartTimes,
    launch: Launch,
    config: KernelConfig,
    vulkan: Vulkan,
    /// Of the device.
    index: usize,
    gpu: Arc<Gpu>,
}

/// The three blocks that hold the regions.
pub(crate) struct Blocks {
    to_device: Buffer,
    to_host: Buffer,
    local: Buffer,
}

impl Blocks {
    pub(crate) fn allocate(gpu: &Arc<Gpu>, geometry: &Geometry) -> Result<Blocks, MemoryError> {
        let block = |direction, usage| Buffer::allocate(gpu, geometry.block_bytes(direction).into(), usage);
        Ok(Blocks {
            to_device: block(Direction::HostToDevice, MemoryUse::HostToDevice)?,
            to_host: block(Direction::DeviceToHost, MemoryUse::DeviceToHost)?,
            local: block(Direction::DeviceOnly, MemoryUse::Local)?,
        })
    }

    fn block(&self, kind: RegionKind) -> &Buffer {
        match kind.direction() {
            Direction::HostToDevice => &self.to_device,
            Direction::DeviceToHost => &self.to_host,
            Direction::DeviceOnly => &self.local,
        }
    }

    /// The host's view of a region; `None` for the device's own.
    pub(crate) fn region(&self, geometry: &Geometry, kind: RegionKind) -> Option<Region> {
        let start = geometry.region_offset(kind) as usize;
        self.block(kind).region()?.slice(start..start + geometry.region_bytes(kind) as usize).ok()
    }

    /// Push constants that name all regions.
    pub(crate) fn launch(&self, geometry: &Geometry, workers: u32) -> Launch {
        let regions = RegionKind::ALL.map(|kind| {
            let address = self.block(kind).address() + u64::from(geometry.region_offset(kind));
            [address as u32, (address >> 32) as u32]
        });
        Launch { regions, quantum: 0, fuel: 0, workers, ticks: 0 }
    }

    /// Puts all regions into their initial state. Nothing may run on them.
    pub(crate) fn reset(&self, geometry: &Geometry, quanta: &mut quantum::Quanta) -> Result<(), VulkanError> {
        for (direction, block) in [(Direction::HostToDevice, &self.to_device), (Direction::DeviceToHost, &self.to_host)]
        {
            if let Some(region) = block.region() {
                initialise(geometry, direction, region);
            }
        }
        let header = RegionHeader::new(geometry, RegionKind::Local);
        let cleared = quanta.clear_local(&self.local, &header)?;
        quanta.wait(cleared, Duration::from_secs(60))?;
        Ok(())
    }

    /// Memory for a [`Ring`](vyre_protocol::ring::Ring).
    pub(crate) fn ring_memory(&self, geometry: &Geometry) -> RingMemory<Region> {
        let region =
            |kind| self.region(geometry, kind).expect("blocks for the host are mapped when they are allocated");
        RingMemory {
            control: region(RegionKind::Control),
            slots: region(RegionKind::Ring),
            completions: region(RegionKind::Completions),
        }
    }
}

/// Workers that a probe launches: more than any device keeps resident.
const PROBE_WORKERS: u32 = 8192;

/// Ticks after which a worker of a probe leaves: a millisecond of a clock that counts nanoseconds.
const PROBE_TICKS: u32 = 1_000_000;

/// Time within which the first worker must have checked the regions. Software devices compile at the first launch.
const LAUNCH_TIMEOUT: Duration = Duration::from_secs(60);

impl Resident {
    pub(crate) fn open(vulkan: &Vulkan, index: usize, config: &KernelConfig) -> Result<Resident, OpenError> {
        let mut watch = Stopwatch::start();
        let gpu = Gpu::open(vulkan, index)?;
        let device = watch.lap();
        let geometry = &config.geometry;
        let small =
            config.start_small && gpu.report.quirks.shares_processors && config.operations & SCALAR_OPERATIONS != 0;
        let kernel = if small { Kernel::scalars(&gpu, config)? } else { Kernel::resident(&gpu, config)? };
        let newest = Arc::new(Newest::new(kernel));
        let pipeline = watch.lap();
        let blocks = Blocks::allocate(&gpu, geometry)?;
        let mut quanta = quantum::Quanta::new(&gpu)?;
        blocks.reset(geometry, &mut quanta)?;
        let memory = watch.lap();
        let report = &gpu.report;
        let workers = match config.workers {
            Some(workers) => workers.max(1),
            None if report.quirks.shares_processors => host_workers(),
            None => probe_workers(&gpu, &newest.get()?, &blocks, geometry, &mut quanta)?,
        };
        let times = StartTimes { device, pipeline, memory, workers: watch.lap(), launch: Duration::ZERO };
        let info = ResidentInfo {
            name: report.name.clone(),
            driver: report.driver.clone(),
            kind: report.kind,
            workers,
            lanes: report.quirks.lanes_with(config.operations),
            memory: report.memory,
            stores_64_bit: report.stores_64_bit,
            device_clock: report.device_clock,
            max_allocation: report.max_allocation,
            import_alignment: report.import_alignment,
        };
        let launch = blocks.launch(geometry, workers);
        Ok(Resident {
            relay: None,
            quanta: Some(quanta),
            builds: Builds::default(),
            newest,
            small,
            blocks,
            info,
            times,
            launch,
            config: config.clone(),
            vulkan: vulkan.clone(),
            index,
            gpu,
        })
    }

    /// What was opened.
    #[must_use]
    pub fn info(&self) -> &ResidentInfo {
        &self.info
    }

    /// How long the steps of opening took, and of the newest launch.
    #[must_use]
    pub fn start_times(&self) -> StartTimes {
        self.times
    }

    /// Memory for a [`Ring`](vyre_protocol::ring::Ring) over this kernel.
    #[must_use]
    pub fn ring_memory(&self) -> RingMemory<Region> {
        self.blocks.ring_memory(&self.config.geometry)
    }

    /// The host's view of a region; `None` for [`RegionKind::Local`].
    #[must_use]
    pub fn region(&self, kind: RegionKind) -> Option<Region> {
        self.blocks.region(&self.config.geometry, kind)
    }

    /// Starts the relay on freshly [reset](Self::reset) regions and waits until the first worker has checked them.
    ///
    /// # Errors
    /// [`OpenError`] if the kernel refuses the regions, does not start, or the device is lost.
    pub fn launch(&mut self) -> Result<(), OpenError> {
        let Some(quanta) = self.quanta.take() else { return Ok(()) };
        let start = Instant::now();
        let relay = Relay::start(Work {
            gpu: Arc::clone(&self.gpu),
            newest: Arc::clone(&self.newest),
            quanta,
            launch: self.launch,
            control: self.ring_memory().control,
            park_after: self.config.park_after,
            fuel: self.config.quantum_fuel,
            trace: self.config.trace,
        })?;
        let relay = self.relay.insert(relay);
        let status = self.blocks.region(&self.config.geometry, RegionKind::Status);
        while start.elapsed() < LAUNCH_TIMEOUT {
            relay.health()?;
            let report = status.as_ref().and_then(|status| LaunchReport::load(status).ok().flatten());
            match report {
                Some(LaunchReport { fault: LaunchFault::None, .. }) => {
                    self.times.launch = start.elapsed();
                    return self.build_whole();
                }
                Some(LaunchReport { fault, region, .. }) => return Err(OpenError::Refused { fault, region }),
                None => std::thread::sleep(Duration::from_micros(200)),
            }
        }
        Err(OpenError::Silent { seconds: LAUNCH_TIMEOUT.as_secs() })
    }

    fn site(&self) -> Site {
        Site {
            gpu: Arc::clone(&self.gpu),
            vulkan: self.vulkan.clone(),
            index: self.index,
            config: self.config.clone(),
            newest: Arc::clone(&self.newest),
        }
    }

    /// Starts to build the kernel with all operations behind a small start.
    fn build_whole(&mut self) -> Result<(), OpenError> {
        if std::mem::take(&mut self.small) {
            self.builds.start_whole(self.site())?;
        }
        Ok(())
    }

    /// Tells how many slots are outstanding, after each publish and each reap. The relay parks only while it is 0.
    pub fn note_outstanding(&self, slots: u64) {
        if let Some(relay) = &self.relay {
            relay.note_outstanding(slots);
        }
    }

    /// Ends the quanta in flight before their time, unless so many of this launch have ended; others follow at once. For a client that has
    /// nothing outstanding and waits for memory that Vulkan lets it read at their end.
    pub fn hurry(&self, quanta: u64) {
        if let Some(relay) = &self.relay {
            relay.hurry(quanta);
        }
    }

    /// Quanta of the newest launch.
    #[must_use]
    pub fn quanta(&self) -> Quanta {
        self.relay.as_ref().map_or_else(Quanta::default, Relay::quanta)
    }

    /// Starts to build a kernel that holds these programs translated, at most [`MAX_HOT_PROGRAMS`](crate::MAX_HOT_PROGRAMS) of them, and no
    /// others, in the background; quanta run it as soon as it is there. `false` while another is being built, that behind a small start included.
    ///
    /// # Errors
    /// [`HotError::NoThread`] if there is no thread for it.
    pub fn build_hot(&mut self, programs: Vec<HotProgram>) -> Result<bool, HotError> {
        self.builds.start_hot(self.site(), programs)
    }

    /// Takes what the newest build has come to; `None` while it is under way, or was taken before. From then on each quantum that is
    /// launched runs the new kernel.
    pub fn take_hot(&mut self) -> Option<Result<HotBuild, HotError>> {
        self.builds.take_hot()
    }

    /// Takes what the relay of the newest launch did since it was taken last; nothing where [`KernelConfig::trace`] is off.
    #[must_use]
    pub fn take_spans(&self) -> RelaySpans {
        self.relay.as_ref().map_or_else(RelaySpans::default, Relay::take_spans)
    }

    /// A switch that makes the relay report a lost device, so that tests can lose one that cannot be lost; `None` before a launch.
    #[doc(hidden)]
    #[must_use]
    pub fn loss_switch(&self) -> Option<Arc<AtomicBool>> {
        self.relay.as_ref().map(Relay::loss_switch)
    }

    /// Whether the device is still there.
    ///
    /// # Errors
    /// [`DeviceLost`] with the reason if it is not.
    pub fn health(&self) -> Result<(), DeviceLost> {
        self.relay.as_ref().map_or(Ok(()), Relay::health)
    }

    /// Makes all workers leave at their next tile boundary and waits for them. Does nothing if no relay runs.
    ///
    /// # Errors
    /// [`DeviceLost`] if the device was lost before.
    pub fn stop(&mut self) -> Result<(), DeviceLost> {
        let Some(relay) = &mut self.relay else { return Ok(()) };
        if let Some(quanta) = relay.stop() {
            self.quanta = Some(quanta);
        }
        relay.health()
    }

    /// Puts the regions into their initial state, so that [`launch`](Self::launch) can start again. Stops the relay first.
    ///
    /// # Errors
    /// [`OpenError`] if the device is lost or a call fails.
    pub fn reset(&mut self) -> Result<(), OpenError> {
        self.stop()?;
        self.relay = None;
        if let Some(quanta) = &mut self.quanta {
            self.blocks.reset(&self.config.geometry, quanta)?;
        }
        Ok(())
    }

    /// Allocates memory for operations to work on. Mapped memory is zeroed, [`MemoryUse::Local`] memory is not.
    ///
    /// # Errors
    /// [`MemoryError`] says why there is none.
    pub fn allocate(&self, bytes: u64, usage: MemoryUse) -> Result<Buffer, MemoryError> {
        Buffer::allocate(&self.gpu, bytes, usage)
    }

    /// Maps the pages of a region into the device (`VK_EXT_external_memory_host`). The buffer keeps the region alive.
    ///
    /// # Errors
    /// [`ImportError`] says why that is not possible.
    pub fn import(&self, region: &Region) -> Result<Buffer, ImportError> {
        Buffer::import(&self.gpu, region)
    }
}

/// Processors but one, which the host needs to publish and reap.
fn host_workers() -> u32 {
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
    processors.saturating_sub(1).max(1)
}

/// Launches more workers than can be resident and reads how many were at once. Nothing tells it portably.
fn probe_workers(
    gpu: &Gpu,
    kernel: &Arc<Kernel>,
    blocks: &Blocks,
    geometry: &Geometry,
    quanta: &mut quantum::Quanta,
) -> Result<u32, OpenError> {
    // Enough that the first workers are still there when the last resident one has come.
    let fuel = kernel.tile_fuel + 1000 * TURN_FUEL;
    let ticks = if gpu.report.ends_by_clock() { PROBE_TICKS } else { 0 };
    let launch = Launch { fuel, ticks, ..blocks.launch(geometry, PROBE_WORKERS) };
    let end = quanta.run(kernel, &launch)?;
    if !quanta.wait(end, LAUNCH_TIMEOUT)? {
        return Err(OpenError::Silent { seconds: LAUNCH_TIMEOUT.as_secs() });
    }
    let status = blocks.region(geometry, RegionKind::Status);
    let peak = status.and_then(|status| Counters::load(&status)).map_or(1, |(_, counters)| counters.resident_peak);
    blocks.reset(geometry, quanta)?;
    Ok(peak.clamp(1, PROBE_WORKERS))
}
