//! `vyre bench`: the ring beside what one would use instead, in one run. Each bench gives a [`Report`](report::Report); how it is shown is decided here.

mod latency;
mod ops;
mod preemption;
mod report;
mod samples;
mod stream;
mod throughput;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use vyre_runtime::protocol::geometry::Geometry;
use vyre_runtime::protocol::operation::Operation;
use vyre_runtime::vk::{KernelConfig, SubmitFence, Vulkan};
use vyre_runtime::{EngineKind, Runtime};

use crate::{DeviceArgument, Failure, exit_code};

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Round trip of a NOP slot: the live ring against submit + fence of the same kernel.
    Latency(latency::Arguments),
    /// NOP slots per second from one producer, by the size of its batches, against the same kernel submitted and recorded.
    Throughput(throughput::Arguments),
    /// Bulk operations, beside a plain dispatch of the same code, Vulkan's own commands and a host thread.
    Ops(ops::Arguments),
    /// A file into the resident kernel, beside fio, a read and a mapped loop, and b3sum.
    Stream(stream::Arguments),
    /// Round trip of a CRITICAL slot, idle and beside slots of 10,000 tiles in the LOW partition.
    Preemption(preemption::Arguments),
}

/// What all benches take.
#[derive(clap::Args, Clone)]
pub(crate) struct Common {
    #[command(flatten)]
    pub(crate) device: DeviceArgument,
    /// Workers of the live kernel; the engine's own choice if left out.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) workers: Option<u32>,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Bytes of a GiB.
pub(crate) const GIB: f64 = (1_u64 << 30) as f64;

/// A kernel with this one operation: what is measured is the ring.
pub(crate) const NOP_ONLY: u32 = 1 << Operation::Nop.code();

pub(crate) fn run(command: &Command) -> Result<ExitCode, Failure> {
    let ((report, messages), common) = match command {
        Command::Latency(arguments) => (latency::run(arguments)?, &arguments.common),
        Command::Throughput(arguments) => (throughput::run(arguments)?, &arguments.common),
        Command::Ops(arguments) => (ops::run(arguments)?, &arguments.common),
        Command::Stream(arguments) => (stream::run(arguments)?, &arguments.common),
        Command::Preemption(arguments) => (preemption::run(arguments)?, &arguments.common),
    };
    if common.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        report.print();
    }
    Ok(exit_code(true, messages))
}

/// The same kernel on a device object of its own; none on the reference engine, where there is nothing to submit to.
pub(crate) fn rival(
    runtime: &Runtime,
    geometry: Geometry,
    dispatches: usize,
) -> Result<Option<(SubmitFence, Vulkan)>, Failure> {
    let Some(index) = runtime.engine().index else { return Ok(None) };
    let vulkan = Vulkan::load(vyre_runtime::validation_from_environment())?;
    let config = KernelConfig { geometry, operations: NOP_ONLY, ..KernelConfig::default() };
    Ok(Some((SubmitFence::new(&vulkan, index, &config, dispatches)?, vulkan)))
}

/// Bytes that do not repeat, and others for each seed; `len` is a multiple of eight.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    // The state must not be 0.
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ seed << 1;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u64::to_le_bytes(state)
    };
    std::iter::repeat_with(next).take(len / 8).flatten().collect()
}

/// Lets the relay park, so that the rival has the processors for itself.
pub(crate) fn await_park(runtime: &Runtime) {
    let start = Instant::now();
    let parked = || {
        let quanta = runtime.quanta();
        quanta.launched == quanta.finished
    };
    while runtime.engine().kind != EngineKind::Reference && !parked() && start.elapsed() < Duration::from_secs(1) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Why a report has no rival of Vulkan's, where it has none.
pub(crate) fn reference_note(runtime: &Runtime) -> Vec<String> {
    let reference = runtime.engine().kind == EngineKind::Reference;
    reference.then(|| "nothing to submit to on the reference engine".into()).into_iter().collect()
}
