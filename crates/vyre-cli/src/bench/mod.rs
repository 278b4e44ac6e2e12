//! `vyre bench`: the ring beside what one would use instead, in one run. Each bench gives a [`Report`]; how it is shown is decided here.

mod all;
mod html;
mod latency;
mod machine;
mod ops;
mod park;
mod preemption;
mod report;
mod residency;
mod samples;
mod scale;
mod start;
mod stream;
mod svg;
mod throughput;
mod timeline;
mod vir0;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use vyre_runtime::protocol::geometry::{Counts, Geometry, GeometryError};
use vyre_runtime::protocol::operation::Operation;
use vyre_runtime::protocol::slot::Slot;
use vyre_runtime::vk::{KernelConfig, SubmitFence, Vulkan};
use vyre_runtime::{EngineKind, Options, Runtime};

use crate::{DeviceArgument, Failure, exit_code, print};
use all::Effort;
use machine::Machine;
use report::{Report, Run};
pub(crate) use start::{Once, run_once};

/// Runs a bench, and gives what it found and how many messages the validation layer had.
type Bench = fn(Common, Effort) -> Result<(Report, u64), Failure>;

/// Makes a subcommand of each bench, and the list that `vyre bench all` goes through. A bench is a module with `Arguments`, which
/// `of_effort` makes where a user gives none, and `run`.
macro_rules! benches {
    ($($(#[$help:meta])* $command:ident, $module:ident;)+) => {
        #[derive(clap::Subcommand)]
        pub(crate) enum Command {
            $($(#[$help])* $command($module::Arguments),)+
            /// All of these, one after another; those that fail are named, and the exit code is 1.
            All(all::Arguments),
        }

        /// All benches by name.
        const BENCHES: &[(&str, Bench)] = &[
            $((stringify!($module), |common, effort| $module::run(&$module::Arguments::of_effort(common, effort))),)+
        ];

        pub(crate) fn run(command: &Command) -> Result<ExitCode, Failure> {
            match command {
                $(Command::$command(arguments) => show_one($module::run(arguments)?, &arguments.common),)+
                Command::All(arguments) => show_all(all::run(arguments)?, &arguments.common),
            }
        }
    };
}

benches! {
    /// Round trip of a NOP slot: the live ring against submit + fence of the same kernel.
    Latency, latency;
    /// NOP slots per second from one producer, by the size of its batches, against the same kernel submitted and recorded.
    Throughput, throughput;
    /// What it costs to keep workers resident: round trip and rate of NOPs with one, more and all of them.
    Residency, residency;
    /// How cost grows with slots, tiles, workers, tenants, producers and resources: flat where it should be.
    Scale, scale;
    /// Bulk operations, beside a plain dispatch of the same code, Vulkan's own commands and a host thread.
    Ops, ops;
    /// VIR0 programs in the interpreter, beside the same as hand-written compute shaders.
    Vir0, vir0;
    /// A file into the resident kernel, beside fio, a read and a mapped loop, and b3sum.
    Stream, stream;
    /// Round trip of a CRITICAL slot, idle and beside slots of 10,000 tiles in the LOW partition.
    Preemption, preemption;
    /// What a parked engine costs the host, and how long it takes to wake.
    Park, park;
    /// From nothing to the first completion, in fresh processes, with warm and with cold caches.
    Start, start;
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
    /// Write a page with tables and plots as well; it needs no other file and no network.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

/// Bytes of a GiB.
pub(crate) const GIB: f64 = (1_u64 << 30) as f64;

/// A kernel with this one operation: what is measured is the ring.
pub(crate) const NOP_ONLY: u32 = 1 << Operation::Nop.code();

/// The slot that costs nothing but its way.
pub(crate) const NOP: Slot = Slot::new(Operation::Nop);

/// Options of an engine that is not opened before it runs all operations: what is measured does not share the processors with a compiler.
pub(crate) fn whole_kernel(counts: Counts) -> Result<Options, GeometryError> {
    Ok(Options { start_small: false, ..Options::new(counts)? })
}

/// Options of an engine whose slots are all NORMAL, and which parks soon behind its turn.
pub(crate) fn options(counts: Counts, workers: Option<u32>, operations: u32) -> Result<Options, Failure> {
    let slots = counts.slots;
    let geometry = Geometry::with_offsets(counts, [0, 0, 0, slots, slots, slots])?;
    Ok(Options { geometry, workers, park_after: Duration::from_millis(1), operations, ..whole_kernel(counts)? })
}

/// `first`, `factor` times that, and so on, and in the end `last`.
pub(crate) fn steps(first: u32, factor: u32, last: u32) -> impl Iterator<Item = u32> {
    let rising = std::iter::successors(Some(first), move |size| size.checked_mul(factor));
    rising.take_while(move |size| *size < last).chain([last])
}

fn show_one((report, messages): (Report, u64), common: &Common) -> Result<ExitCode, Failure> {
    if common.json {
        print(serde_json::to_string(&report)? + "\n")?;
    } else {
        print(&report)?;
    }
    if let Some(path) = &common.html {
        write_page(path, &Run { machine: Machine::of(common)?, reports: vec![report], broken: Vec::new() })?;
    }
    Ok(exit_code(true, messages))
}

fn show_all((run, messages): (Run, u64), common: &Common) -> Result<ExitCode, Failure> {
    if common.json {
        print(serde_json::to_string(&run)? + "\n")?;
    }
    if let Some(path) = &common.html {
        write_page(path, &run)?;
    }
    Ok(exit_code(run.broken.is_empty(), messages))
}

fn write_page(path: &Path, run: &Run) -> Result<(), Failure> {
    let written = std::fs::write(path, html::page(run));
    Ok(written.map_err(|error| format!("{} cannot be written: {error}", path.display()))?)
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

/// CPU time of all threads of this process so far.
pub(crate) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
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
