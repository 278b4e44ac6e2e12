//! `vyre bench stream`: a file's bytes into the resident kernel, beside what one would read and hash it with instead.

mod grid;
mod input;
mod programs;
mod reducer;
mod ways;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use vyre_runtime::protocol::geometry::Counts;
use vyre_runtime::protocol::operation::Operation;
use vyre_runtime::vk::DeviceKind;
use vyre_runtime::{EngineKind, Options, Runtime};

use super::all::Effort;
use super::report::{Goal, Ratio, Report, Row, Table};
use super::samples::{SPREAD, spread};
use super::{Common, GIB, cpu_time, whole_kernel};
use crate::Failure;
use input::{Cache, Input};
use ways::{Comparison, Way};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    /// File to read; if left out, one is made in the temporary folder, and removed at the end.
    pub(crate) file: Option<PathBuf>,
    /// MiB of the file that is made.
    #[arg(long, default_value_t = MIB, conflicts_with = "file", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) mib: u32,
}

/// MiB of the file, where a user does not say.
const MIB: u32 = 256;

impl Arguments {
    /// Those of `vyre bench all`.
    pub(crate) fn of_effort(common: Common, effort: Effort) -> Arguments {
        Arguments { common, file: None, mib: effort.pick(MIB, 4) }
    }
}

/// Rounds in which all take turns.
const ROUNDS: usize = 3;

/// What one run found.
#[derive(Clone, Copy)]
struct Sample {
    /// GiB/s.
    rate: f64,
    /// Nanoseconds of CPU time a byte.
    cpu: f64,
}

impl Sample {
    /// Of a run within this process, whose threads' CPU time counts.
    fn take(bytes: u64, run: impl FnOnce() -> Result<(), Failure>) -> Result<Sample, Failure> {
        let (start, cpu) = (Instant::now(), cpu_time());
        run()?;
        let (time, cpu) = (start.elapsed(), cpu_time().saturating_sub(cpu));
        Ok(Sample { rate: bytes as f64 / GIB / time.as_secs_f64(), cpu: cpu.as_nanos() as f64 / bytes as f64 })
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<(Report, u64), Failure> {
    let input = Input::open(arguments.file.as_deref(), arguments.mib)?;
    let operations = 1 << Operation::Blake3.code() | 1 << Operation::Reduce.code();
    let options = Options { workers: arguments.common.workers, operations, ..whole_kernel(Counts::default())? };
    let runtime = Runtime::open(&arguments.common.device.choice(), &options)?;
    let (comparison, runtime) = ways::compare(runtime, &input)?;
    let (grid, mut runtime) = grid::sweep(runtime, &input)?;
    let (mut tables, mut ratios) = comparison_tables(&comparison, &runtime);
    ratios.extend(comparison.bounced);
    let mut notes = vec![
        format!("the file: {}, {} MiB", input.path.display(), input.bytes >> 20),
        "fio counts the CPU time of its own thread in whole milliseconds; ours is that of all threads, io_uring's too"
            .into(),
    ];
    notes.extend(comparison.notes);
    tables.push(grid.table());
    match commands(&input)? {
        Ok((table, ratio)) => {
            tables.push(table);
            ratios.extend(ratio);
        }
        Err(reason) => notes.push(reason),
    }
    let plots = vec![grid.plot()];
    let more: Vec<_> = grid.notes.into_iter().filter(|note| !notes.contains(note)).collect();
    notes.extend(more);
    let report = Report {
        bench: "stream",
        engine: runtime.engine().to_string(),
        workers: runtime.engine().workers,
        tables,
        ratios,
        plots,
        timelines: Vec::new(),
        notes,
    };
    runtime.exit(Duration::from_secs(10))?;
    let messages = runtime.validation_messages();
    Ok((report, messages))
}

/// Rates and CPU times of the ways to stream, and what they come to against fio.
fn comparison_tables(comparison: &Comparison, runtime: &Runtime) -> (Vec<Table>, Vec<Ratio>) {
    let Comparison { block_size, depth, .. } = *comparison;
    let ways = || Way::ALL.into_iter().filter(|way| !comparison.of(Cache::Uncached, *way).is_empty());
    let of =
        |cache, way, figure: fn(&Sample) -> f64| -> Vec<f64> { comparison.of(cache, way).iter().map(figure).collect() };
    let mut tables = Vec::new();
    for cache in Cache::ALL {
        let row = |way: Way| Row { name: way.name().into(), values: spread(&of(cache, way, |sample| sample.rate)) };
        let title = format!("blocks of {} KiB, {depth} in flight, {}", block_size >> 10, cache.name());
        let columns = SPREAD.map(Into::into).into();
        tables.push(Table { title, unit: "GiB/s", columns, rows: ways().map(row).collect() });
    }
    let cpu = |way: Way| {
        let values = Cache::ALL.map(|cache| spread(&of(cache, way, |sample| sample.cpu))[0]);
        Row { name: way.name().into(), values: values.into() }
    };
    let columns = Cache::ALL.map(|cache| cache.name().into()).into();
    let rows = ways().map(cpu).collect();
    tables.push(Table { title: "CPU time of a byte, medians".into(), unit: "ns", columns, rows });
    let gpu = !matches!(runtime.engine().kind, EngineKind::Reference | EngineKind::Vulkan(DeviceKind::Software));
    let (rate, cpu) = (Goal::AtLeast(0.98), Goal::AtMost(1.3));
    // Where workers are host threads, their work is CPU time too, and REDUCE is no cheaper than BLAKE3: there the reader alone tells
    // what the reading costs.
    let on_gpu = |goal| gpu.then_some(goal);
    let mut ratios = Vec::new();
    for (way, rate, cpu) in [
        (Way::Hash, Some(rate), on_gpu(cpu)),
        (Way::Reduce, on_gpu(rate), on_gpu(cpu)),
        (Way::Reader, Some(rate), Some(cpu)),
    ] {
        let over_fio = |figure| {
            let rounds = of(Cache::Uncached, way, figure).into_iter().zip(of(Cache::Uncached, Way::Fio, figure));
            rounds.map(|(ours, fio)| ours / fio).collect()
        };
        let what = format!("{} over fio, uncached", way.name());
        ratios.extend(Ratio::of_rounds(what.clone(), over_fio(|sample| sample.rate), rate));
        ratios.extend(Ratio::of_rounds(format!("{what}, CPU time"), over_fio(|sample| sample.cpu), cpu));
    }
    (tables, ratios)
}

/// Hashing by command: a table and its ratios, or why there is none.
fn commands(input: &Input) -> Result<Result<(Table, Vec<Ratio>), String>, Failure> {
    let threads = std::thread::available_parallelism()?.get();
    let (mut rows, mut ratios) = (Vec::new(), Vec::new());
    for (cache, goal) in Cache::ALL.into_iter().zip([0.95, 0.7]) {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            match programs::hash_commands(input, cache, threads)? {
                Ok([our, their]) => {
                    ours.push(our);
                    theirs.push(their);
                }
                Err(reason) => return Ok(Err(reason)),
            }
        }
        let name = cache.name();
        rows.push(Row { name: format!("vyre hash, {name}"), values: spread(&ours) });
        rows.push(Row { name: format!("b3sum, {name}"), values: spread(&theirs) });
        let rounds = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
        let what = format!("vyre hash over b3sum, {name}");
        ratios.extend(Ratio::of_rounds(what, rounds, Some(Goal::AtLeast(goal))));
    }
    let title = format!("commands that hash it on the host, {threads} threads");
    Ok(Ok((Table { title, unit: "GiB/s", columns: SPREAD.map(Into::into).into(), rows }, ratios)))
}
