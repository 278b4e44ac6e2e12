//! A litmus test of a live kernel: does each side see what the other wrote, at the moment the protocol says so?
//!
//! Vulkan gives no guarantee for a host write during a dispatch, nor for a host read of bulk results before the dispatch ends.
//! The test publishes COPY slots whose input the host rewrites each time, and compares the output at the completion. A mismatch
//! is looked at again after the quanta in flight have ended, when Vulkan guarantees the device-to-host direction: right then,
//! the result was late; still wrong, the kernel read a stale input.

use std::time::{Duration, Instant};

use vyre_protocol::completion::Status;
use vyre_protocol::geometry::Priority;
use vyre_protocol::operation::Operation;
use vyre_protocol::ring::Ticket;
use vyre_protocol::slot::Slot;
use vyre_vk::MemoryUse;

use crate::engine::BulkVisibility;
use crate::error::{ResourceError, WaitError};
use crate::resource::Resource;
use crate::runtime::Runtime;

/// What the test found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LitmusReport {
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
    /// Whether the kernel may run live on this device at all.
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
    Publish(#[from] vyre_protocol::ring::PublishError),
    /// A pattern lies outside its buffer.
    #[error(transparent)]
    Range(#[from] vyre_mem::RangeError),
}

/// Bytes of a pattern: several cache lines, so that a part of it may be stale.
const PATTERN: usize = 256;

/// Runs `tries` slots through the kernel, a batch at a time, with nothing else outstanding.
///
/// # Errors
/// [`LitmusError`] if the test itself cannot go on; what it finds is in the report.
pub fn run(runtime: &mut Runtime, tries: u64) -> Result<LitmusReport, LitmusError> {
    let batch = u64::from(runtime.free(Priority::Normal)).clamp(1, 64);
    let input = runtime.allocate(batch * PATTERN as u64, MemoryUse::HostToDevice)?;
    let output = runtime.allocate(batch * PATTERN as u64, MemoryUse::DeviceToHost)?;
    let delivery = runtime.bulk_visibility();
    // The test wants to see what safe mode hides.
    runtime.set_bulk_visibility(BulkVisibility::Immediate);
    let mut report = LitmusReport::default();
    let mut result = Ok(());
    while report.tries < tries && result.is_ok() {
        result = run_batch(runtime, &input, &output, batch.min(tries - report.tries), &mut report);
    }
    runtime.set_bulk_visibility(delivery);
    runtime.release(input);
    runtime.release(output);
    result.map(|()| report)
}

fn run_batch(
    runtime: &mut Runtime,
    input: &Resource,
    output: &Resource,
    batch: u64,
    report: &mut LitmusReport,
) -> Result<(), LitmusError> {
    let salt = report.tries as u32 + 1;
    let mut slots = Vec::new();
    for place in 0..batch as u32 {
        let offset = place * PATTERN as u32;
        input.write(offset as usize, &pattern(salt + place))?;
        let slot = Slot { input: input.at(offset), output: output.at(offset), ..Slot::new(Operation::Copy) };
        slots.push(slot.tiled(PATTERN as u32, PATTERN as u32, 1));
    }
    let first = runtime.publish_all(Priority::Normal, &slots)?.start;
    for place in 0..batch as usize {
        let ticket = Ticket { priority: Priority::Normal, number: first + place as u64 };
        let completion = runtime.wait(ticket, Duration::from_secs(60))?;
        report.tries += 1;
        if completion.status != Status::Done {
            report.faults += 1;
            continue;
        }
        let expected = pattern(salt + place as u32);
        let mut found = [0; PATTERN];
        output.read(place * PATTERN, &mut found)?;
        if found != expected {
            await_quantum(runtime)?;
            output.read(place * PATTERN, &mut found)?;
            let late = found == expected;
            *(if late { &mut report.late_outputs } else { &mut report.stale_inputs }) += 1;
        }
    }
    Ok(())
}

/// Words that are different for each salt and each place.
fn pattern(salt: u32) -> [u8; PATTERN] {
    let mut bytes = [0; PATTERN];
    for (i, word) in bytes.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        *word = salt.wrapping_mul(0x9e37_79b9).wrapping_add(i as u32).to_le_bytes();
    }
    bytes
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
