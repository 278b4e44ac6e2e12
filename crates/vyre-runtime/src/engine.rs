//! The two engines behind one face.

use std::fmt;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use vyre_mem::Region;
use vyre_protocol::control::operation_bit;
use vyre_protocol::header::RegionKind;
use vyre_protocol::operation::Operation;
use vyre_protocol::ring::RingMemory;
use vyre_protocol::stamped::Record;
use vyre_protocol::words::{Line, SharedWords};
use vyre_reference::{Reference, Span, WorkerSpans};
use vyre_vk::{DeviceKind, DeviceLost, KernelConfig, RelaySpans, Resident, StartTimes, Vulkan};

use crate::device::{Chosen, DeviceChoice, choose};
use crate::error::OpenError;
use crate::options::Options;

/// Shared words of either engine.
#[derive(Debug, Clone)]
pub(crate) enum Words {
    Host(Span),
    Device(Region),
}

impl SharedWords for Words {
    fn len(&self) -> usize {
        match self {
            Words::Host(words) => SharedWords::len(words),
            Words::Device(words) => SharedWords::len(words),
        }
    }
    fn load_acquire(&self, index: usize) -> u32 {
        match self {
            Words::Host(words) => words.load_acquire(index),
            Words::Device(words) => words.load_acquire(index),
        }
    }
    fn load(&self, index: usize) -> u32 {
        match self {
            Words::Host(words) => words.load(index),
            Words::Device(words) => words.load(index),
        }
    }
    fn store(&self, index: usize, value: u32) {
        match self {
            Words::Host(words) => words.store(index, value),
            Words::Device(words) => words.store(index, value),
        }
    }
    #[inline]
    fn store_line(&self, index: usize, line: &Line) {
        match self {
            Words::Host(words) => words.store_line(index, line),
            Words::Device(words) => words.store_line(index, line),
        }
    }
    #[inline]
    fn load_record(&self, index: usize, stamp: u32) -> Option<Record> {
        match self {
            Words::Host(words) => words.load_record(index, stamp),
            Words::Device(words) => words.load_record(index, stamp),
        }
    }
    fn publish_fence(&self) {
        match self {
            Words::Host(words) => words.publish_fence(),
            Words::Device(words) => words.publish_fence(),
        }
    }
}

/// What runs the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// Host threads.
    Reference,
    /// A Vulkan device.
    Vulkan(DeviceKind),
}

/// When bulk results, which operations write to memory before their completion, may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BulkVisibility {
    /// As soon as the completion is there.
    Immediate,
    /// Safe mode: completions with bulk results are delivered when the quanta that were in flight have ended, which is when
    /// Vulkan guarantees that the host sees their writes. If nothing else is outstanding, they are made to end at once.
    AtQuantumEnd,
}

/// The engine that was opened, and why.
#[derive(Debug, Clone)]
pub struct EngineInfo {
    /// Name.
    pub name: String,
    /// Driver and version; empty for the reference engine.
    pub driver: String,
    /// Kind.
    pub kind: EngineKind,
    /// Index of the Vulkan device.
    pub index: Option<usize>,
    /// Workers.
    pub workers: u32,
    /// Why this engine.
    pub why: String,
    /// Largest buffer in bytes that the device allocates.
    pub max_allocation: u64,
    /// Alignment of importable host pages; `None` where nothing is imported.
    pub import_alignment: Option<u64>,
    /// How long the choice took: loading Vulkan, and looking at its devices.
    pub choice: Duration,
    /// How long the steps behind it took.
    pub start: StartTimes,
}

impl fmt::Display for EngineInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let workers = if self.workers == 1 { "worker" } else { "workers" };
        write!(f, "{} with {} {workers} ({})", self.name, self.workers, self.why)
    }
}

/// How many quanta there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quanta {
    /// Launched.
    pub launched: u64,
    /// Ended.
    pub finished: u64,
    /// Times that the engine had nothing in flight and slept; not counted on the reference engine.
    pub parks: u64,
    /// Times that a quantum ran another kernel than the one before it: with other programs translated. 0 on the reference engine.
    pub switches: u64,
    /// Times that quanta ended before their time, since nothing was outstanding but bulk results that are
    /// [read at a quantum's end](BulkVisibility::AtQuantumEnd). 0 on the reference engine.
    pub cut_short: u64,
}

/// What an engine did in a traced run.
pub(crate) struct EngineSpans {
    /// Worker, whether it slept, start, end.
    pub(crate) spans: Vec<(Option<u32>, bool, Instant, Instant)>,
    /// How many were not kept.
    pub(crate) dropped: u64,
}

pub(crate) enum Engine {
    Reference(Reference),
    Vulkan { resident: Box<Resident>, vulkan: Vulkan },
}

/// Processors that this process may use.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Workers of the reference engine if nobody says how many: half of the processors, or four. Others publish, read and copy for io_uring
/// meanwhile; 16 workers on as many processors hash a cached file more slowly than eight.
fn reference_workers() -> u32 {
    let processors = processors() as u32;
    processors.min((processors / 2).max(4))
}

impl Engine {
    /// `epoch`: when the opening began.
    pub(crate) fn open(
        choice: &DeviceChoice,
        options: &Options,
        epoch: Instant,
    ) -> Result<(Engine, EngineInfo), OpenError> {
        let (geometry, trace) = (options.geometry, options.trace_events > 0);
        let chosen = choose(choice, options.validation)?;
        let choice = epoch.elapsed();
        match chosen {
            Chosen::Reference { why } => {
                let mut reference = Reference::new(geometry, options.workers.unwrap_or_else(reference_workers));
                if let Some(fuel) = options.quantum_fuel {
                    reference = reference.with_quantum_fuel(fuel);
                }
                if let Some(custom) = &options.custom {
                    reference = reference.with_custom(&custom.models);
                }
                if trace {
                    reference = reference.traced(epoch);
                }
                reference.start().map_err(OpenError::NoThread)?;
                let info = EngineInfo {
                    name: "reference engine".into(),
                    driver: String::new(),
                    kind: EngineKind::Reference,
                    index: None,
                    workers: reference.workers(),
                    why,
                    max_allocation: u64::MAX,
                    import_alignment: None,
                    choice,
                    start: StartTimes { launch: epoch.elapsed() - choice, ..StartTimes::default() },
                };
                Ok((Engine::Reference(reference), info))
            }
            Chosen::Device { vulkan, index, why } => {
                let software = vulkan.devices()?.get(index).is_some_and(|device| device.kind == DeviceKind::Software);
                // On hardware, staging asks a litmus test of COPY slots whether it can use imported pages.
                let litmus = if software { 0 } else { operation_bit(Operation::Copy.code()) };
                let config = KernelConfig {
                    geometry,
                    workers: options.workers,
                    park_after: options.park_after,
                    operations: options.operations | litmus,
                    custom: options.custom.as_ref().map(|custom| custom.kernel.clone()),
                    quantum_fuel: options.quantum_fuel,
                    start_small: options.start_small,
                    trace,
                };
                let mut resident = vulkan.open(index, &config)?;
                resident.launch()?;
                let found = resident.info().clone();
                let info = EngineInfo {
                    name: found.name,
                    driver: found.driver,
                    kind: EngineKind::Vulkan(found.kind),
                    index: Some(index),
                    workers: found.workers,
                    why,
                    max_allocation: found.max_allocation,
                    import_alignment: found.import_alignment,
                    choice,
                    start: resident.start_times(),
                };
                Ok((Engine::Vulkan { resident: Box::new(resident), vulkan }, info))
            }
        }
    }

    pub(crate) fn ring_memory(&self) -> RingMemory<Words> {
        match self {
            Engine::Reference(reference) => {
                let RingMemory { control, slots, completions } = reference.ring_memory();
                let [control, slots, completions] = [control, slots, completions].map(Words::Host);
                RingMemory { control, slots, completions }
            }
            Engine::Vulkan { resident, .. } => {
                let RingMemory { control, slots, completions } = resident.ring_memory();
                let [control, slots, completions] = [control, slots, completions].map(Words::Device);
                RingMemory { control, slots, completions }
            }
        }
    }

    /// A region that the host sees.
    pub(crate) fn region(&self, kind: RegionKind) -> Option<Words> {
        match self {
            Engine::Reference(reference) => Some(Words::Host(reference.region(kind))),
            Engine::Vulkan { resident, .. } => resident.region(kind).map(Words::Device),
        }
    }

    /// Tells the engine how much is outstanding, so that it wakes, or may sleep.
    pub(crate) fn note_outstanding(&self, slots: u64) {
        match self {
            Engine::Reference(reference) if slots > 0 => reference.wake(),
            Engine::Reference(_) => {}
            Engine::Vulkan { resident, .. } => resident.note_outstanding(slots),
        }
    }

    /// Gives the processor away for a short while, less if a completion comes.
    pub(crate) fn nap(&self, time: Duration, awake: impl Fn() -> bool) {
        match self {
            Engine::Reference(reference) => reference.sleep_until_completion(time, awake),
            Engine::Vulkan { .. } => std::thread::sleep(time.min(Duration::from_micros(50))),
        }
    }

    /// Ends the quanta in flight before their time, unless so many have ended.
    pub(crate) fn hurry(&self, quanta: u64) {
        if let Engine::Vulkan { resident, .. } = self {
            resident.hurry(quanta);
        }
    }

    pub(crate) fn quanta(&self) -> Quanta {
        match self {
            Engine::Reference(reference) => {
                let quanta = reference.quanta();
                Quanta { launched: quanta.launched, finished: quanta.finished, ..Quanta::default() }
            }
            Engine::Vulkan { resident, .. } => {
                let vyre_vk::Quanta { launched, finished, parks, switches, cut_short } = resident.quanta();
                Quanta { launched, finished, parks, switches, cut_short }
            }
        }
    }

    /// Takes what it did since that was taken last; nothing where the run is not traced.
    pub(crate) fn take_spans(&self) -> EngineSpans {
        match self {
            Engine::Reference(reference) => {
                let WorkerSpans { spans, dropped } = reference.take_spans();
                let spans =
                    spans.into_iter().map(|span| (Some(span.worker), span.parked, span.start, span.end)).collect();
                EngineSpans { spans, dropped }
            }
            Engine::Vulkan { resident, .. } => {
                let RelaySpans { spans, dropped } = resident.take_spans();
                let spans = spans.into_iter().map(|span| (None, span.parked, span.start, span.end)).collect();
                EngineSpans { spans, dropped }
            }
        }
    }

    pub(crate) fn loss_switch(&self) -> Option<Arc<AtomicBool>> {
        match self {
            Engine::Reference(_) => None,
            Engine::Vulkan { resident, .. } => resident.loss_switch(),
        }
    }

    pub(crate) fn health(&self) -> Result<(), DeviceLost> {
        match self {
            Engine::Reference(_) => Ok(()),
            Engine::Vulkan { resident, .. } => resident.health(),
        }
    }

    pub(crate) fn stop(&mut self) -> Result<(), DeviceLost> {
        match self {
            Engine::Reference(reference) => {
                reference.stop();
                Ok(())
            }
            Engine::Vulkan { resident, .. } => resident.stop(),
        }
    }

    /// Starts again with all regions as new; what was registered is gone from the table.
    pub(crate) fn relaunch(&mut self) -> Result<(), OpenError> {
        match self {
            Engine::Reference(reference) => {
                reference.reset();
                reference.start().map_err(OpenError::NoThread)
            }
            Engine::Vulkan { resident, .. } => {
                resident.reset()?;
                Ok(resident.launch()?)
            }
        }
    }
}
