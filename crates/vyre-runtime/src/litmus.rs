//! A litmus test of a live kernel: does each side see what the other wrote, at the moment the protocol says so?
//!
//! Vulkan gives no guarantee for a host write during a dispatch, nor for a host read of bulk results before the dispatch ends.
//! The test publishes COPY slots whose input the host rewrites each time, and compares the output at the completion. A mismatch
//! is looked at again after the quanta in flight have ended, when Vulkan guarantees the device-to-host direction: right then,
//! the result was late; still wrong, the kernel read a stale input.
//!
//! What may fail depends on the memory and on how much is on its way, so there are several [`Probe`]s: results of a few cache
//! lines arrive in time where results of many workers, on their way together, do not.

use std::fmt;
use std::time::{Duration, Instant};

use vyre_mem::{MapError, RangeError, Region};
use vyre_protocol::completion::Status;
use vyre_protocol::geometry::Priority;
use vyre_protocol::operation::{MAX_TILE_BYTES, Operation};
use vyre_protocol::ring::{PublishError, Ticket};
use vyre_protocol::slot::Slot;
use vyre_protocol::words::SharedWords;
use vyre_vk::MemoryUse;

use crate::engine::BulkVisibility;
use crate::error::{ResourceError, WaitError};
use crate::resource::Resource;
use crate::runtime::Runtime;

/// Memory that the host rewrites and the kernel reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Memory of the device that the host maps.
    Mapped,
    /// Host pages that the device imports.
    Imported,
}

/// One experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Where the input lies.
    pub input: Input,
    /// Bytes of each slot.
    pub bytes: u32,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let input = match self.input {
            Input::Mapped => "mapped memory",
            Input::Imported => "imported pages",
        };
        write!(f, "{} bytes from {input}", self.bytes)
    }
}

/// A few cache lines, so that a part may be stale; and many tiles at once, which keep the bus busy behind the completion.
const SIZES: [u32; 2] = [256, 16 * MAX_TILE_BYTES];

/// What a probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LitmusReport {
    /// The experiment.
    pub probe: Probe,
    /// Slots tried.
    pub tries: u64,
    /// Inputs that the kernel read before the host's write: host-to-device fails.
    pub stale_inputs: u64,
    /// Outputs that the host saw only after the quantum's end: device-to-host needs safe mode.
    pub late_outputs: u64,
    /// Slots that did not complete as done.
    pub faults: u64,
}

impl LitmusReport {
    fn failures(&self) -> u64 {
        self.stale_inputs + self.late_outputs + self.faults
    }

    /// Whether the kernel may run live on such memory at all.
    #[must_use]
    pub fn host_to_device(&self) -> bool {
        self.tries > 0 && self.stale_inputs == 0 && self.faults == 0
    }

    /// Whether bulk results may be read at their completion.
    #[must_use]
    pub fn device_to_host(&self) -> bool {
        self.host_to_device() && self.late_outputs == 0
    }
}

/// The test cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum LitmusError {
    /// No memory.
    #[error(transparent)]
    Resource(#[from] ResourceError),
    /// No completion.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// A slot was refused.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// A pattern lies outside its buffer.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// No pages to import.
    #[error("no pages to import: {0}")]
    Pages(#[from] MapError),
}

/// Runs every probe that the engine allows, `tries` slots of the small ones and a 64th of the large ones, with nothing else
/// outstanding.
///
/// # Errors
/// [`LitmusError`] if the test itself cannot go on; what it finds is in the reports.
pub fn run(runtime: &mut Runtime, tries: u64) -> Result<Vec<LitmusReport>, LitmusError> {
    let inputs = match runtime.engine().import_alignment {
        Some(_) => &[Input::Mapped, Input::Imported][..],
        None => &[Input::Mapped],
    };
    let probes = inputs.iter().flat_map(|&input| SIZES.map(|bytes| Probe { input, bytes }));
    let tries = |probe: &Probe| if probe.bytes == SIZES[0] { tries } else { tries.div_ceil(64) };
    probes.map(|probe| run_probe(runtime, probe, tries(&probe), ENOUGH)).collect()
}

/// Whether the device sees what the host writes to imported pages while the kernel runs; ends at the first stale input. Some
/// thousand tries in a few milliseconds: enough for a device whose caches keep host pages, which fails at once.
pub(crate) fn sees_host_pages(runtime: &mut Runtime) -> Result<LitmusReport, LitmusError> {
    run_probe(runtime, Probe { input: Input::Imported, bytes: SIZES[0] }, 4096, 1)
}

fn run_probe(runtime: &mut Runtime, probe: Probe, tries: u64, enough: u64) -> Result<LitmusReport, LitmusError> {
    let delivery = runtime.bulk_visibility();
    // The test wants to see what safe mode hides.
    runtime.set_bulk_visibility(BulkVisibility::Immediate);
    let result = Experiment::new(runtime, probe).and_then(|experiment| experiment.run(runtime, tries, enough));
    runtime.set_bulk_visibility(delivery);
    result
}

/// Failures after which a probe ends.
const ENOUGH: u64 = 32;

/// One probe at work.
struct Experiment {
    probe: Probe,
    /// Slots that are outstanding together.
    batch: u64,
    input: Resource,
    /// The host's way to the input, where it is not the resource's own.
    pages: Option<Region>,
    output: Resource,
    report: LitmusReport,
}

impl Experiment {
    fn new(runtime: &mut Runtime, probe: Probe) -> Result<Experiment, LitmusError> {
        let together = if probe.bytes == SIZES[0] { 64 } else { 4 };
        let batch = u64::from(runtime.free(Priority::Normal)).clamp(1, together);
        let bytes = batch * u64::from(probe.bytes);
        let alignment = runtime.engine().import_alignment.unwrap_or(0) as usize;
        let pages = match probe.input {
            Input::Mapped => None,
            Input::Imported => Some(Region::anonymous(bytes as usize, alignment.max(64 << 10))?),
        };
        let input = match &pages {
            None => runtime.allocate(bytes, MemoryUse::HostToDevice)?,
            Some(pages) => runtime.import(pages)?,
        };
        let output = runtime.allocate(bytes, MemoryUse::DeviceToHost)?;
        let report = LitmusReport { probe, tries: 0, stale_inputs: 0, late_outputs: 0, faults: 0 };
        Ok(Experiment { probe, batch, input, pages, output, report })
    }

    fn run(mut self, runtime: &mut Runtime, tries: u64, enough: u64) -> Result<LitmusReport, LitmusError> {
        let mut result = Ok(());
        while self.report.tries < tries && self.report.failures() < enough && result.is_ok() {
            result = self.run_batch(runtime, self.batch.min(tries - self.report.tries), enough);
        }
        runtime.release(self.input);
        runtime.release(self.output);
        result.map(|()| self.report)
    }

    fn run_batch(&mut self, runtime: &mut Runtime, batch: u64, enough: u64) -> Result<(), LitmusError> {
        let salt = self.report.tries as u32 + 1;
        let bytes = self.probe.bytes;
        let mut slots = Vec::new();
        for place in 0..batch as u32 {
            let offset = place * bytes;
            let pattern = pattern(salt + place, bytes);
            match &self.pages {
                None => self.input.write(offset as usize, &pattern)?,
                Some(pages) => {
                    pages.write_bytes(offset as usize, &pattern)?;
                    pages.publish_fence();
                }
            }
            let (input, output) = (self.input.at(offset), self.output.at(offset));
            let slot = Slot { input, output, ..Slot::new(Operation::Copy) };
            slots.push(slot.tiled(bytes, bytes.min(MAX_TILE_BYTES), 1));
        }
        let first = runtime.publish_all(Priority::Normal, &slots)?.start;
        for place in 0..batch as u32 {
            let ticket = Ticket { priority: Priority::Normal, number: first + u64::from(place) };
            let completion = runtime.wait(ticket, Duration::from_secs(60))?;
            // Looking into a failure waits for a quantum's end, and some are enough to know.
            if self.report.failures() >= enough {
                continue;
            }
            self.report.tries += 1;
            if completion.status == Status::Done {
                self.check(runtime, place * bytes, &pattern(salt + place, bytes))?;
            } else {
                self.report.faults += 1;
            }
        }
        Ok(())
    }

    fn check(&mut self, runtime: &Runtime, offset: u32, expected: &[u8]) -> Result<(), LitmusError> {
        let mut found = vec![0; expected.len()];
        self.output.read(offset as usize, &mut found)?;
        if found != expected {
            await_quantum(runtime)?;
            self.output.read(offset as usize, &mut found)?;
            let late = found == expected;
            *(if late { &mut self.report.late_outputs } else { &mut self.report.stale_inputs }) += 1;
        }
        Ok(())
    }
}

/// Words that are different for each salt and each place.
fn pattern(salt: u32, bytes: u32) -> Vec<u8> {
    let first = salt.wrapping_mul(0x9e37_79b9);
    (0..bytes / 4).flat_map(|i| first.wrapping_add(i).to_le_bytes()).collect()
}

/// Waits until the quanta that are in flight now have ended.
fn await_quantum(runtime: &Runtime) -> Result<(), WaitError> {
    let (launched, start) = (runtime.quanta().launched, Instant::now());
    let timeout = Duration::from_secs(60);
    while runtime.quanta().finished < launched {
        if start.elapsed() > timeout {
            return Err(WaitError::Timeout { ticket: None, timeout, outstanding: runtime.tally().outstanding() });
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    Ok(())
}
