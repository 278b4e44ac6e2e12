//! The threads that play the device.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use vyre_protocol::control::{COMMAND, Command, DOORBELLS, initialise};
use vyre_protocol::geometry::{Direction, Geometry, PARTITIONS};
use vyre_protocol::header::{RegionHeader, RegionKind};
use vyre_protocol::launch::{MAX_TILE_FUEL, SMALLEST_FUEL, TURN_FUEL};
use vyre_protocol::local::HOT;
use vyre_protocol::resource::{Handle, ResourceEntry};
use vyre_protocol::ring::RingMemory;
use vyre_protocol::words::SharedWords;

use crate::bell::{Bell, Crew, Looking, MOST_WORKERS};
use crate::custom::CustomFunction;
use crate::ops::Backing;
use crate::span::Span;
use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering};
use crate::worker::Worker;

/// Fuel of a quantum: some milliseconds of work.
const QUANTUM_FUEL: u32 = 20_000 * TURN_FUEL + MAX_TILE_FUEL;

/// All regions, over three blocks.
pub(crate) struct Regions {
    regions: [Span; RegionKind::COUNT],
    blocks: [Span; 2],
}

impl Regions {
    pub(crate) fn new(geometry: &Geometry) -> Self {
        let directions = [Direction::HostToDevice, Direction::DeviceToHost, Direction::DeviceOnly];
        let blocks = directions.map(|direction| Span::new(geometry.block_bytes(direction) as usize / 4));
        let regions = RegionKind::ALL.map(|kind| {
            let first = geometry.region_offset(kind) as usize / 4;
            blocks[kind.direction() as usize].part(first, geometry.region_bytes(kind) as usize / 4)
        });
        let [to_device, to_host, _] = blocks;
        Regions { regions, blocks: [to_device, to_host] }
    }

    pub(crate) fn get(&self, kind: RegionKind) -> &Span {
        &self.regions[kind as usize]
    }

    /// Whether slots are published that no worker has taken, or passed, yet.
    pub(crate) fn is_published(&self) -> bool {
        let (control, local) = (self.get(RegionKind::Control), self.get(RegionKind::Local));
        (0..PARTITIONS).any(|p| local.load(HOT as usize + p) != control.load(DOORBELLS as usize + p))
    }

    pub(crate) fn reset(&self, geometry: &Geometry) {
        initialise(geometry, Direction::HostToDevice, &self.blocks[0]);
        initialise(geometry, Direction::DeviceToHost, &self.blocks[1]);
        let local = self.get(RegionKind::Local);
        (0..SharedWords::len(local)).for_each(|word| local.store(word, 0));
        RegionHeader::new(geometry, RegionKind::Local).store(local);
        local.publish_fence();
    }
}

/// What the handles stand for.
pub(crate) struct Resources(pub(crate) RwLock<Vec<Option<(u32, Backing)>>>);

impl Resources {
    pub(crate) fn get(&self, handle: Handle) -> Option<Backing> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let entry = table.get(handle.index() as usize)?.as_ref()?;
        (entry.0 == handle.generation()).then(|| entry.1.clone())
    }
}

struct Shared {
    geometry: Geometry,
    regions: Regions,
    resources: Resources,
    crew: Crew,
    completed: Bell,
    stop: AtomicBool,
    launched: AtomicU64,
    finished: AtomicU64,
    spans: Mutex<WorkerSpans>,
}

/// How many quanta there were, over all workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quanta {
    /// Begun.
    pub launched: u64,
    /// Ended.
    pub finished: u64,
}

/// A time of a worker's thread in a traced run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerSpan {
    /// The worker.
    pub worker: u32,
    /// It slept, since there was nothing to do; else this was a quantum.
    pub parked: bool,
    /// When it began.
    pub start: Instant,
    /// When it ended.
    pub end: Instant,
}

/// Spans that nobody has taken yet, in the order of their ends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkerSpans {
    /// The first ones, up to 65,536.
    pub spans: Vec<WorkerSpan>,
    /// How many came behind them.
    pub dropped: u64,
}

/// Most spans that wait to be taken.
const MOST_SPANS: usize = 1 << 16;

impl WorkerSpans {
    fn push(&mut self, span: WorkerSpan) {
        if self.spans.len() < MOST_SPANS { self.spans.push(span) } else { self.dropped += 1 }
    }
}

/// The protocol's device, played by threads. Dropping it stops them.
pub struct Reference {
    shared: Arc<Shared>,
    workers: u32,
    quantum_fuel: u32,
    custom: Arc<[(u32, CustomFunction)]>,
    /// What a traced run counts its clock from.
    epoch: Option<Instant>,
    threads: Vec<JoinHandle<()>>,
}

impl Reference {
    /// An engine with that many workers, at least one and at most 65,535. [`start`](Self::start) starts them.
    #[must_use]
    pub fn new(geometry: Geometry, workers: u32) -> Reference {
        let workers = workers.clamp(1, MOST_WORKERS);
        let regions = Regions::new(&geometry);
        regions.reset(&geometry);
        let table = (0..geometry.counts().resources).map(|_| None).collect();
        let shared = Shared {
            geometry,
            regions,
            resources: Resources(RwLock::new(table)),
            crew: Crew::new(workers),
            completed: Bell::default(),
            stop: AtomicBool::new(false),
            launched: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            spans: Mutex::default(),
        };
        Reference {
            shared: Arc::new(shared),
            workers,
            quantum_fuel: QUANTUM_FUEL,
            custom: Arc::new([]),
            epoch: None,
            threads: Vec::new(),
        }
    }

    /// Sets the fuel of each quantum; less than [`SMALLEST_FUEL`] makes no progress and becomes that.
    #[must_use]
    pub fn with_quantum_fuel(mut self, fuel: u32) -> Reference {
        self.quantum_fuel = fuel.max(SMALLEST_FUEL);
        self
    }

    /// Gives it operations beside the built-in ones, each with its code, from [`USER_OPERATIONS`] on. Slots of other codes fault.
    ///
    /// [`USER_OPERATIONS`]: vyre_protocol::operation::USER_OPERATIONS
    #[must_use]
    pub fn with_custom(mut self, operations: &[(u32, CustomFunction)]) -> Reference {
        self.custom = operations.into();
        self
    }

    /// Makes each tile leave a record in the debug log, and keeps the [`WorkerSpans`]. The clock counts nanoseconds from `epoch`.
    #[must_use]
    pub fn traced(mut self, epoch: Instant) -> Reference {
        self.epoch = Some(epoch);
        self
    }

    /// Takes the spans that have ended since they were taken last; none where the run is not [traced](Self::traced).
    #[must_use]
    pub fn take_spans(&self) -> WorkerSpans {
        std::mem::take(&mut self.shared.spans())
    }

    /// Workers.
    #[must_use]
    pub fn workers(&self) -> u32 {
        self.workers
    }

    /// Memory for a [`Ring`](vyre_protocol::ring::Ring) over this engine.
    #[must_use]
    pub fn ring_memory(&self) -> RingMemory<Span> {
        RingMemory {
            control: self.region(RegionKind::Control),
            slots: self.region(RegionKind::Ring),
            completions: self.region(RegionKind::Completions),
        }
    }

    /// A region.
    #[must_use]
    pub fn region(&self, kind: RegionKind) -> Span {
        self.shared.regions.get(kind).clone()
    }

    /// Gives a handle its meaning. The entry's address is ignored; a generation of 0 frees the index.
    ///
    /// An index beyond the table is ignored, and its handles fault.
    pub fn bind(&self, index: u32, entry: &ResourceEntry, backing: Backing) {
        let mut table = self.shared.resources.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = table.get_mut(index as usize) {
            *place = (entry.generation != 0).then_some((entry.generation, backing));
            entry.store(self.shared.regions.get(RegionKind::Resources), index);
        }
    }

    /// Changes what holds a bound resource's bytes. No outstanding slot may name it.
    pub fn rebind(&self, index: u32, backing: Backing) {
        let mut table = self.shared.resources.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(Some(place)) = table.get_mut(index as usize) {
            place.1 = backing;
        }
    }

    /// Starts the threads on freshly [reset](Self::reset) regions. Does nothing while they run.
    ///
    /// # Errors
    /// The operating system's, if it gives no thread; those that were started are stopped again.
    pub fn start(&mut self) -> std::io::Result<()> {
        if !self.threads.is_empty() {
            return Ok(());
        }
        self.shared.stop.store(false, Ordering::Release);
        for id in 0..self.workers {
            let shared = Arc::clone(&self.shared);
            let (fuel, epoch) = (self.quantum_fuel, self.epoch);
            let (workers, custom) = (self.workers, Arc::clone(&self.custom));
            let thread = std::thread::Builder::new().name(format!("vyre-worker-{id}"));
            match thread.spawn(move || work(&shared, &custom, id, workers, fuel, epoch)) {
                Ok(thread) => self.threads.push(thread),
                Err(error) => {
                    self.stop();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Wakes a worker, unless one is awake and looks for work, and that one wakes others as it needs them; call it after each publish.
    /// Without it they sleep on.
    pub fn wake(&self) {
        self.shared.crew.call();
    }

    /// Sleeps until a slot completes or the time is up. It may return early; look at the ring before and after.
    pub fn sleep_until_completion(&self, timeout: Duration, reason_to_stay_awake: impl Fn() -> bool) {
        self.shared.completed.sleep(timeout, reason_to_stay_awake);
    }

    /// Quanta so far.
    #[must_use]
    pub fn quanta(&self) -> Quanta {
        let finished = self.shared.finished.load(Ordering::Acquire);
        Quanta { launched: self.shared.launched.load(Ordering::Acquire), finished }
    }

    /// Makes all workers leave at their next tile boundary, and joins them.
    pub fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        let control = self.shared.regions.get(RegionKind::Control);
        control.store(COMMAND as usize, Command::Leave.code());
        control.publish_fence();
        self.shared.crew.call_all();
        for thread in self.threads.drain(..) {
            // A worker does not panic; if one did, its message was printed and there is nothing to add.
            let _ = thread.join();
        }
    }

    /// Puts the regions into their initial state, resources included, so that [`start`](Self::start) can start again. Stops
    /// the workers first.
    pub fn reset(&mut self) {
        self.stop();
        self.shared.regions.reset(&self.shared.geometry);
        self.shared.resources.0.write().unwrap_or_else(PoisonError::into_inner).fill(None);
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn spans(&self) -> MutexGuard<'_, WorkerSpans> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something; where the run is traced, it is a span of the worker's.
    fn span<R>(&self, worker: u32, parked: bool, traced: bool, act: impl FnOnce() -> R) -> R {
        let start = traced.then(Instant::now);
        let result = act();
        if let Some(start) = start {
            self.spans().push(WorkerSpan { worker, parked, start, end: Instant::now() });
        }
        result
    }
}

/// A worker's thread: quanta until it is stopped, asleep while there is nothing to do.
fn work(shared: &Shared, custom: &[(u32, CustomFunction)], id: u32, workers: u32, fuel: u32, epoch: Option<Instant>) {
    let traced = epoch.is_some();
    let mut looking = Looking::new(&shared.crew, id);
    while !shared.stop.load(Ordering::Acquire) {
        shared.launched.fetch_add(1, Ordering::AcqRel);
        let mut worker = Worker::new(&shared.regions, &shared.resources, &shared.completed, looking, id, workers);
        (worker.custom, worker.epoch) = (custom, epoch);
        let ran = shared.span(id, false, traced, || worker.run_quantum(fuel));
        looking = worker.looking;
        shared.finished.fetch_add(1, Ordering::AcqRel);
        match ran {
            None => return,
            Some(true) => {}
            Some(false) => shared.span(id, true, traced, || doze(shared, &mut looking)),
        }
    }
}

/// Sleeps until there is something to do.
fn doze(shared: &Shared, looking: &mut Looking<'_>) {
    looking.sleep(|| shared.regions.is_published() || shared.stop.load(Ordering::Relaxed));
}
