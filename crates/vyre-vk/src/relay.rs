//! The relay: a thread that keeps two quanta of the kernel in flight, so that together they never end.
//!
//! A dispatch without end trips watchdogs, and llvmpipe silently cuts its loops; a quantum ends by its fuel. State lives in
//! memory, so a change of quantum is invisible to clients. When nothing was outstanding for a while the relay *parks*: the
//! workers leave, nothing is in flight, and the thread sleeps until [`Relay::note_outstanding`] wakes it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use vyre_mem::Region;
use vyre_protocol::control::{COMMAND, Command};
use vyre_protocol::launch::{Launch, TURN_FUEL};
use vyre_protocol::words::SharedWords;

use crate::builds::Newest;
use crate::device::DeviceQuirks;
use crate::error::{DeviceLost, VulkanError};
use crate::gpu::{Gpu, lock};
use crate::kernel::Kernel;
use crate::parking::Parking;
use crate::quantum;

/// How many quanta there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quanta {
    /// Submitted.
    pub launched: u64,
    /// Ended.
    pub finished: u64,
    /// Times that the relay parked.
    pub parks: u64,
    /// Times that a quantum ran another kernel than the one before it.
    pub switches: u64,
    /// Times that [`Resident::hurry`](crate::Resident::hurry) ended those in flight.
    pub cut_short: u64,
}

/// What a relay did in a traced run, as the host saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelaySpan {
    /// The relay was parked; else this was a quantum.
    pub parked: bool,
    /// When the quantum was submitted, behind the one before it, or when the last one had ended and the relay parked.
    pub start: Instant,
    /// When the host saw that the quantum had ended, or when the relay woke.
    pub end: Instant,
}

/// Spans that nobody has taken yet, in the order of their ends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RelaySpans {
    /// The first ones, up to 65,536.
    pub spans: Vec<RelaySpan>,
    /// How many came behind them.
    pub dropped: u64,
}

/// Most spans that wait to be taken.
const MOST_SPANS: usize = 1 << 16;

impl RelaySpans {
    fn push(&mut self, span: RelaySpan) {
        if self.spans.len() < MOST_SPANS { self.spans.push(span) } else { self.dropped += 1 }
    }
}

/// Quanta in flight: one runs, the next is queued behind it.
const IN_FLIGHT: u64 = 2;

/// Fuel of the first quantum, before anything was measured.
const FIRST_FUEL: u32 = 40_000;

/// Most fuel of a quantum where the driver sets no limit; what one has that ends by the clock.
const MOST_FUEL: u32 = 1 << 26;

/// Ticks of the first quantum, whose unit nobody tells: 0.1 ms if it is a nanosecond, and short enough if it is a hundred.
const FIRST_TICKS: u32 = 100_000;

/// Fewest ticks of any other.
const LEAST_TICKS: u32 = 1_000;

/// And most: what the clock's low word bears.
const MOST_TICKS: u32 = 1 << 30;

/// What the relay's thread and its owner share.
#[derive(Default)]
struct Shared {
    launched: AtomicU64,
    finished: AtomicU64,
    parks: AtomicU64,
    switches: AtomicU64,
    cut_short: AtomicU64,
    parking: Parking,
    stop: AtomicBool,
    /// Whether the workers were told to leave although the relay goes on. Who writes the command word holds it.
    hurried: Mutex<bool>,
    /// Raised by tests: the relay behaves as if the next call had lost the device.
    lose: Arc<AtomicBool>,
    lost: OnceLock<DeviceLost>,
    spans: Mutex<RelaySpans>,
}

impl Shared {
    fn tell_to_leave(&self, control: &Region) {
        let _hurried = lock(&self.hurried);
        command(control, Command::Leave);
    }
}

/// A running relay. Dropping it stops it.
pub(crate) struct Relay {
    shared: Arc<Shared>,
    control: Region,
    thread: Option<JoinHandle<quantum::Quanta>>,
}

/// What a relay runs.
pub(crate) struct Work {
    pub(crate) gpu: Arc<Gpu>,
    pub(crate) newest: Arc<Newest>,
    pub(crate) quanta: quantum::Quanta,
    pub(crate) launch: Launch,
    pub(crate) control: Region,
    pub(crate) park_after: Duration,
    /// Fuel of each quantum, if it is not to be steered by time.
    pub(crate) fuel: Option<u32>,
    /// Keeps the spans.
    pub(crate) trace: bool,
}

impl Relay {
    /// Starts the thread.
    pub(crate) fn start(work: Work) -> Result<Relay, VulkanError> {
        let shared = Arc::new(Shared::default());
        let control = work.control.clone();
        let runner = Runner::new(work, Arc::clone(&shared))?;
        let thread = std::thread::Builder::new().name("vyre-relay".into()).spawn(move || runner.run());
        let thread = thread.map_err(|_| VulkanError::no_thread("starting the relay's thread"))?;
        Ok(Relay { shared, control, thread: Some(thread) })
    }

    /// Tells how many slots are outstanding; wakes a parked relay when there are some.
    pub(crate) fn note_outstanding(&self, slots: u64) {
        self.shared.parking.note(slots);
    }

    pub(crate) fn quanta(&self) -> Quanta {
        let count = |counter: &AtomicU64| counter.load(Ordering::Acquire);
        let finished = count(&self.shared.finished);
        let launched = count(&self.shared.launched);
        let [parks, switches, cut_short] =
            [&self.shared.parks, &self.shared.switches, &self.shared.cut_short].map(count);
        Quanta { launched, finished, parks, switches, cut_short }
    }

    /// Ends the quanta in flight before their time, unless `quanta` have ended; others follow.
    pub(crate) fn hurry(&self, quanta: u64) {
        let mut hurried = lock(&self.shared.hurried);
        if !*hurried && self.shared.finished.load(Ordering::Acquire) < quanta {
            *hurried = true;
            command(&self.control, Command::Leave);
        }
    }

    pub(crate) fn take_spans(&self) -> RelaySpans {
        std::mem::take(&mut lock(&self.shared.spans))
    }

    pub(crate) fn loss_switch(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.shared.lose)
    }

    pub(crate) fn health(&self) -> Result<(), DeviceLost> {
        self.shared.lost.get().map_or(Ok(()), |lost| Err(*lost))
    }

    /// Makes the workers leave and joins the thread; gives the command buffers back.
    pub(crate) fn stop(&mut self) -> Option<quantum::Quanta> {
        let thread = self.thread.take()?;
        self.shared.stop.store(true, Ordering::Release);
        self.shared.tell_to_leave(&self.control);
        self.shared.parking.nudge();
        thread.join().ok()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop();
    }
}

fn command(control: &Region, command: Command) {
    control.store(COMMAND as usize, command.code());
    control.publish_fence();
}

/// A quantum in flight.
struct Flight {
    /// What the timeline reaches at its end.
    value: u64,
    launched: Instant,
}

/// The thread's state.
struct Runner {
    work: Work,
    /// What the newest quantum runs.
    kernel: Arc<Kernel>,
    shared: Arc<Shared>,
    /// Whether quanta end by the device's clock. Fuel counts alike what takes a hundred nanoseconds and what takes two microseconds: a worker
    /// that looks at the host would be alone for most of a quantum, and one that works would leave after a fraction of it.
    timed: bool,
    /// Of the next quantum: ticks if it is timed, else fuel.
    length: u32,
    /// The quanta in flight, oldest first.
    flight: std::collections::VecDeque<Flight>,
    /// When the newest quantum ended.
    last_end: Instant,
    /// Since when nothing was outstanding, and how often something had been by then.
    idle_since: Option<(Instant, u64)>,
}

impl Runner {
    fn new(work: Work, shared: Arc<Shared>) -> Result<Self, VulkanError> {
        let report = &work.gpu.report;
        let limit = report.quirks.fuel_limit.unwrap_or(u32::MAX);
        let kernel = work.newest.get()?;
        let tile = kernel.tile_fuel;
        let timed = work.fuel.is_none() && report.ends_by_clock();
        let length = match work.fuel {
            Some(fuel) => fuel.clamp(tile + 1, limit),
            None if timed => FIRST_TICKS,
            None => fuel_within(&report.quirks, tile, FIRST_FUEL),
        };
        let flight = std::collections::VecDeque::new();
        Ok(Runner { work, kernel, shared, timed, length, flight, last_end: Instant::now(), idle_since: None })
    }

    fn run(mut self) -> quantum::Quanta {
        if let Err(source) = self.turns() {
            let lost = DeviceLost { quanta: self.shared.finished.load(Ordering::Relaxed), source };
            tracing::error!("{lost}");
            // Set once: the thread ends here.
            let _ = self.shared.lost.set(lost);
        }
        self.work.quanta
    }

    fn turns(&mut self) -> Result<(), VulkanError> {
        loop {
            let stop = self.shared.stop.load(Ordering::Acquire);
            if stop {
                return self.land();
            }
            if self.shared.lose.load(Ordering::Relaxed) {
                return Err(VulkanError { call: "a test", result: ash::vk::Result::ERROR_DEVICE_LOST });
            }
            while (self.flight.len() as u64) < IN_FLIGHT {
                self.launch()?;
            }
            self.await_oldest()?;
            if *lock(&self.shared.hurried) {
                self.land()?;
                self.shared.cut_short.fetch_add(1, Ordering::Relaxed);
                self.resume();
                continue;
            }
            self.tune_length();
            if self.is_idle() {
                self.park()?;
            }
        }
    }

    fn launch(&mut self) -> Result<(), VulkanError> {
        let number = self.work.gpu.count_launch();
        // Counted before it can run, and before its kernel is chosen: a client that waits for "all launched by now" must not miss it.
        self.shared.launched.fetch_add(1, Ordering::AcqRel);
        self.take_newest()?;
        let (fuel, ticks) = if self.timed {
            (MOST_FUEL, self.length)
        } else {
            (beside_loops(&self.work.gpu.report.quirks, &self.kernel, self.length), 0)
        };
        let launch = Launch { quantum: number as u32, fuel, ticks, ..self.work.launch };
        let launched = Instant::now();
        let value = self.work.quanta.run(&self.kernel, &launch)?;
        self.flight.push_back(Flight { value, launched });
        Ok(())
    }

    /// A kernel that was built meanwhile takes over here: any worker may run any slot, so quanta of both may overlap.
    fn take_newest(&mut self) -> Result<(), VulkanError> {
        let newest = self.work.newest.get()?;
        if !Arc::ptr_eq(&newest, &self.kernel) {
            self.kernel = newest;
            self.shared.switches.fetch_add(1, Ordering::AcqRel);
        }
        Ok(())
    }

    fn await_oldest(&mut self) -> Result<(), VulkanError> {
        let Some(&Flight { value, launched }) = self.flight.front() else { return Ok(()) };
        while !self.work.quanta.wait(value, Duration::from_secs(1))? {
            tracing::debug!("a quantum has been running for over a second");
        }
        self.flight.pop_front();
        self.note_span(false, launched);
        let finished = self.shared.finished.fetch_add(1, Ordering::AcqRel) + 1;
        let behind = self.shared.launched.load(Ordering::Relaxed) - finished;
        self.work.gpu.sweep(self.work.gpu.launched() - behind);
        Ok(())
    }

    /// Keeps a span that ends now.
    fn note_span(&self, parked: bool, start: Instant) {
        if self.work.trace {
            lock(&self.shared.spans).push(RelaySpan { parked, start, end: Instant::now() });
        }
    }

    /// Steers the length of a quantum towards the device's target. Only a quantum that ended by itself tells anything: after one
    /// that was told to leave, the next would be twice as long, and so on, until no watchdog bears it.
    fn tune_length(&mut self) {
        if self.work.fuel.is_some() {
            return;
        }
        let quirks = &self.work.gpu.report.quirks;
        let took = std::mem::replace(&mut self.last_end, Instant::now()).elapsed();
        let factor = quirks.quantum_target.as_secs_f64() / took.as_secs_f64().max(1e-6);
        let length = (f64::from(self.length) * factor.clamp(0.5, 2.0)) as u32;
        self.length = if self.timed {
            length.clamp(LEAST_TICKS, MOST_TICKS)
        } else {
            fuel_within(quirks, self.kernel.tile_fuel, length)
        };
    }

    fn is_idle(&mut self) -> bool {
        let wakes = self.shared.parking.wakes();
        if self.shared.parking.outstanding() != 0 {
            self.idle_since = None;
            return false;
        }
        match self.idle_since {
            Some((since, before)) if before == wakes => since.elapsed() >= self.work.park_after,
            _ => {
                self.idle_since = Some((Instant::now(), wakes));
                false
            }
        }
    }

    /// Waits for everything in flight; the workers were told to leave.
    fn land(&mut self) -> Result<(), VulkanError> {
        while !self.flight.is_empty() {
            self.await_oldest()?;
        }
        Ok(())
    }

    /// Sleeps until something is outstanding or the relay is stopped.
    fn park(&mut self) -> Result<(), VulkanError> {
        self.shared.tell_to_leave(&self.work.control);
        self.land()?;
        self.shared.parks.fetch_add(1, Ordering::Relaxed);
        let parked = Instant::now();
        self.shared.parking.park(|| self.shared.stop.load(Ordering::Acquire));
        self.note_span(true, parked);
        self.idle_since = None;
        self.resume();
        Ok(())
    }

    /// Lets the workers stay again: all have left, and the time until the next end says nothing of a quantum.
    fn resume(&mut self) {
        self.last_end = Instant::now();
        let mut hurried = lock(&self.shared.hurried);
        *hurried = false;
        // Who stops the relay says so before it tells the workers to leave.
        if !self.shared.stop.load(Ordering::Acquire) {
            command(&self.work.control, Command::Run);
        }
    }
}

/// Fuel that the driver bears and with which a worker can run at least one tile.
fn fuel_within(quirks: &DeviceQuirks, tile: u32, fuel: u32) -> u32 {
    fuel.clamp(tile + 64 * TURN_FUEL, quirks.fuel_limit.unwrap_or(MOST_FUEL))
}

/// Fuel of a quantum whose kernel holds hot programs. A driver that cuts loops counts theirs in each action; what they may have leaves enough
/// for a tile.
fn beside_loops(quirks: &DeviceQuirks, kernel: &Kernel, fuel: u32) -> u32 {
    if quirks.fuel_limit.is_none() || kernel.loops == 0 {
        return fuel;
    }
    let fuel = u64::from(fuel) * u64::from(TURN_FUEL) / u64::from(TURN_FUEL + kernel.loops);
    (fuel as u32).max(kernel.tile_fuel + TURN_FUEL)
}
