//! `vyre trace`: a run as a file that ui.perfetto.dev opens.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use vyre_runtime::protocol::geometry::{Counts, Priority, limits};
use vyre_runtime::protocol::operation::{Operation, Reduction};
use vyre_runtime::protocol::slot::Slot;
use vyre_runtime::vk::MemoryUse;
use vyre_runtime::{EngineKind, FileHasher, HashOptions, Options, Runtime, Trace};

use crate::bench::{await_park, whole_kernel};
use crate::{DeviceArgument, Failure, exit_code, hash, interrupt};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The file to write, JSON in the Trace Event Format.
    out: PathBuf,
    /// Overwrite the file if it is there.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    device: DeviceArgument,
    /// Workers of the engine; its own choice if left out.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    workers: Option<u32>,
    /// Most events to keep; those behind them are counted.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    events: u32,
    #[command(subcommand)]
    workload: Option<Workload>,
}

#[derive(clap::Subcommand)]
enum Workload {
    /// Hash files, as `vyre hash` does.
    Hash {
        /// Files; `-` for standard input.
        #[arg(required = true)]
        files: Vec<OsString>,
    },
}

/// Rounds of the built-in mix.
const ROUNDS: u32 = 4;

/// Bytes that a slot of the mix works on.
const MIX_BYTES: u32 = 1 << 20;

/// And of a tile.
const TILE_BYTES: u32 = 16 << 10;

/// Time without work after which the engine parks in the mix, and how long it then stays parked.
const PARK_AFTER: Duration = Duration::from_millis(10);
const GAP: Duration = Duration::from_millis(50);

/// NOPs that compare the clocks, before and after what is traced.
const ROUND_TRIPS: u32 = 64;

/// How long slots may take: the mix together, and a NOP with nothing else to do.
const PATIENCE: Duration = Duration::from_secs(60);
const SHORTLY: Duration = Duration::from_secs(5);

fn mask(operations: &[Operation]) -> u32 {
    operations.iter().fold(0, |mask, operation| mask | 1 << operation.code())
}

impl Arguments {
    fn open(&self, operations: &[Operation], park_after: Option<Duration>) -> Result<Runtime, Failure> {
        let counts = Counts { log_records: limits::LOG_RECORDS, ..Counts::default() };
        let mut options = Options {
            workers: self.workers,
            operations: mask(operations),
            trace_events: self.events as usize,
            ..whole_kernel(counts)?
        };
        options.park_after = park_after.unwrap_or(options.park_after);
        let runtime = Runtime::open(&self.device.choice(), &options)?;
        eprintln!("vyre: running on {}", runtime.engine());
        Ok(runtime)
    }

    /// Creates the file, before any work is done for it.
    fn create(&self) -> Result<File, Failure> {
        let file = File::options().write(true).create(true).truncate(true).create_new(!self.force).open(&self.out);
        file.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => {
                format!("{} is there already; give another name, or --force", self.out.display()).into()
            }
            _ => format!("{}: {error}", self.out.display()).into(),
        })
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let interrupted = interrupt::flag()?;
    let (well, messages, trace, file) = match &arguments.workload {
        None => trace_mix(arguments)?,
        Some(Workload::Hash { files }) => trace_hashes(arguments, files, &interrupted)?,
    };
    trace.write_chrome(BufWriter::new(file)).map_err(|error| format!("{}: {error}", arguments.out.display()))?;
    report(&arguments.out, &trace);
    Ok(exit_code(well && !interrupted.load(Ordering::Relaxed), messages))
}

/// Whether all went well, messages of the validation layer, the trace, and the file for it.
type Traced = (bool, u64, Trace, File);

/// Runs NOPs one by one. The quickest of them, at the beginning and at the end of a run, bound a device's clock more closely than slots
/// that wait for each other.
fn compare_clocks(runtime: &mut Runtime) -> Result<(), Failure> {
    if runtime.engine().kind != EngineKind::Reference {
        for _ in 0..ROUND_TRIPS {
            let ticket = runtime.publish(Priority::Normal, &Slot::new(Operation::Nop))?;
            runtime.wait(ticket, SHORTLY)?;
        }
    }
    Ok(())
}

fn trace_hashes(arguments: &Arguments, files: &[OsString], interrupted: &AtomicBool) -> Result<Traced, Failure> {
    let runtime = arguments.open(&[Operation::Nop, Operation::Blake3], None)?;
    let file = arguments.create()?;
    let mut hasher = FileHasher::new(runtime, HashOptions::default())?;
    compare_clocks(hasher.runtime_mut())?;
    let well = hash::print_hashes(files, false, &mut hasher, interrupted, &mut Vec::new())?;
    // A kernel that does not answer any more is not worth a second minute, but its trace is worth a look.
    let compared = compare_clocks(hasher.runtime_mut());
    let ended = hasher.runtime_mut().exit(SHORTLY);
    let well = well && compared.is_ok() && ended.is_ok();
    let messages = hasher.runtime().validation_messages();
    Ok((well, messages, hasher.take_trace().ok_or("nothing was traced")?, file))
}

/// Rounds of slots in all partitions, and time to park between them.
fn trace_mix(arguments: &Arguments) -> Result<Traced, Failure> {
    let operations = [Operation::Nop, Operation::Fill, Operation::Copy, Operation::Reduce, Operation::Fence];
    let mut runtime = arguments.open(&operations, Some(PARK_AFTER))?;
    let file = arguments.create()?;
    let [source, target] = [0; 2].map(|_| runtime.allocate(MIX_BYTES.into(), MemoryUse::Local));
    let (source, target) = (source?, target?);
    let sums = runtime.allocate((MIX_BYTES / TILE_BYTES * 8).into(), MemoryUse::DeviceToHost)?;
    let nop = Slot::new(Operation::Nop);
    let fill = Slot { output: source.at(0), ..Slot::new(Operation::Fill) };
    let copy = Slot { input: source.at(0), output: target.at(0), ..Slot::new(Operation::Copy) };
    let reduce = Slot { input: target.at(0), output: sums.at(0), ..Slot::new(Operation::Reduce) };
    let reduce = reduce.with_args(&[Reduction::Sum.code(), 1])?;
    let [fill, copy, reduce] = [fill, copy, reduce].map(|slot| slot.tiled(MIX_BYTES, TILE_BYTES, 1));
    compare_clocks(&mut runtime)?;
    for _ in 0..ROUNDS {
        for priority in Priority::ALL {
            runtime.publish_batch(priority, &[nop, nop, fill, copy, reduce])?;
        }
        runtime.drain(PATIENCE)?;
        await_park(&runtime);
        std::thread::sleep(GAP);
    }
    compare_clocks(&mut runtime)?;
    runtime.exit(PATIENCE)?;
    let messages = runtime.validation_messages();
    let well = runtime.tally().faulted == 0;
    Ok((well, messages, runtime.take_trace().ok_or("nothing was traced")?, file))
}

fn report(out: &Path, trace: &Trace) {
    let Trace { tiles, slots, engine_spans, reads, dropped, overwritten, clock, .. } = trace;
    let parks = engine_spans.iter().filter(|span| span.parked).count();
    eprintln!(
        "vyre: {}: {} events ({} slots, {} tiles, {} quanta, {parks} parks, {} reads), {dropped} dropped, {overwritten} overwritten; {clock}",
        out.display(),
        trace.events(),
        slots.len(),
        tiles.len(),
        engine_spans.len() - parks,
        reads.len(),
    );
}
