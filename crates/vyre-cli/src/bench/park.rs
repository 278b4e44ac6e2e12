//! `vyre bench park`: what a parked engine costs the host, and how long the slot that wakes it takes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use vyre_runtime::protocol::geometry::{Counts, Geometry};
use vyre_runtime::{EngineKind, Options, Runtime};

use super::all::Effort;
use super::latency::{round_trip, warm_up};
use super::report::{Axis, Goal, Plot, Ratio, Report, Row, Table};
use super::samples::{COLUMNS, SPREAD, Samples, spread};
use super::{Common, NOP, NOP_ONLY, await_park, cpu_time, rival, whole_kernel};
use crate::Failure;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Seconds over which each CPU time is taken.
    #[arg(long, default_value = SECONDS, value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// Times that a parked engine is woken.
    #[arg(long, default_value_t = PARKS, value_parser = clap::value_parser!(u32).range(ROUNDS as i64..))]
    pub(crate) parks: u32,
}

impl Arguments {
    /// Those of `vyre bench all`.
    pub(crate) fn of_effort(common: Common, effort: Effort) -> Arguments {
        let seconds = Duration::from_millis(effort.pick(10_000, 300));
        Arguments { common, seconds, parks: effort.pick(PARKS, 20) }
    }
}

/// What a user does not say.
const SECONDS: &str = "10";
const PARKS: u32 = 200;

/// Rounds of each measurement.
const ROUNDS: u32 = 10;

/// How soon an engine parks that is to park, and one that is not.
const SOON: Duration = Duration::from_millis(1);
const NEVER: Duration = Duration::from_hours(24);

/// How long a parked engine is left alone, so that all of its threads have fallen asleep.
const REST: Duration = Duration::from_millis(5);

/// What a parked engine may take, in percent of a processor: what two digits show as 0.00.
const NOTHING: f64 = 0.005;

fn seconds(text: &str) -> Result<Duration, String> {
    let time = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let fits = |time: &Duration| (Duration::from_millis(100)..=Duration::from_hours(1)).contains(time);
    time.filter(fits).ok_or_else(|| "not a number of seconds from 0.1 to 3600".into())
}

/// CPU time over the rounds, in percent of a processor, by what the engine did meanwhile.
struct Loads {
    asleep: Vec<f64>,
    live: Vec<f64>,
    parked: Vec<f64>,
}

/// Round trips by the way that they took.
struct Trips {
    woken: Samples,
    live: Samples,
    submitted: Samples,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(Report, u64), Failure> {
    let asleep = load(arguments.seconds);
    let (live, messages) = load_live(arguments)?;
    let mut runtime = open(arguments, SOON)?;
    warm_up(&mut runtime, &[NOP])?;
    rest(&runtime);
    let before = threads();
    let parked = load(arguments.seconds);
    let mut notes = super::reference_note(&runtime);
    notes.extend(who_ran(&before, &threads()));
    let (trips, theirs) = wake(&mut runtime, arguments.parks)?;
    let report = report(&runtime, arguments, &Loads { asleep, live, parked }, &trips, notes);
    runtime.exit(Duration::from_secs(10))?;
    Ok((report, messages + theirs + runtime.validation_messages()))
}

fn open(arguments: &Arguments, park_after: Duration) -> Result<Runtime, Failure> {
    let workers = arguments.common.workers;
    let options = Options { workers, park_after, operations: NOP_ONLY, ..whole_kernel(Counts::default())? };
    Ok(Runtime::open(&arguments.common.device.choice(), &options)?)
}

/// Percent of a processor that this process takes while this thread sleeps, round by round.
fn load(time: Duration) -> Vec<f64> {
    let round = |_| {
        let (start, cpu) = (Instant::now(), cpu_time());
        std::thread::sleep(time / ROUNDS);
        (cpu_time() - cpu).as_secs_f64() / start.elapsed().as_secs_f64() * 100.0
    };
    (0..ROUNDS).map(round).collect()
}

/// The load of an engine that never parks, and messages of the validation layer. The reference engine's workers sleep whenever they
/// find nothing, so there is no such load.
fn load_live(arguments: &Arguments) -> Result<(Vec<f64>, u64), Failure> {
    let mut runtime = open(arguments, NEVER)?;
    warm_up(&mut runtime, &[NOP])?;
    let reference = runtime.engine().kind == EngineKind::Reference;
    let load = if reference { Vec::new() } else { load(arguments.seconds) };
    runtime.exit(Duration::from_secs(10))?;
    Ok((load, runtime.validation_messages()))
}

fn rest(runtime: &Runtime) {
    await_park(runtime);
    std::thread::sleep(REST);
}

/// Round trips that wake the engine, beside others, and messages of the rival's validation layer.
fn wake(runtime: &mut Runtime, parks: u32) -> Result<(Trips, u64), Failure> {
    let mut rival = rival(runtime, Geometry::new(Counts::default())?, 1)?;
    let mut trips = Trips { woken: Samples::new()?, live: Samples::new()?, submitted: Samples::new()? };
    for _ in 0..ROUNDS {
        let (mut woken, mut live, mut submitted) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..parks / ROUNDS {
            rest(runtime);
            woken.push(round_trip(runtime, &[NOP])?);
            warm_up(runtime, &[NOP])?;
            live.push(round_trip(runtime, &[NOP])?);
            if let Some((rival, _)) = &mut rival {
                await_park(runtime);
                submitted.push(rival.round_trip()?);
            }
        }
        trips.woken.add_round(woken)?;
        trips.live.add_round(live)?;
        trips.submitted.add_round(submitted)?;
    }
    Ok((trips, rival.map_or(0, |(_, vulkan)| vulkan.validation_messages())))
}

/// Name, nanoseconds on a processor, and times put there, of each thread of this process; none where the system does not tell.
fn threads() -> BTreeMap<String, (String, u64, u64)> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let thread = |task: std::fs::DirEntry| {
        let read = |file| std::fs::read_to_string(task.path().join(file)).ok();
        let numbers = read("schedstat")?;
        let mut numbers = numbers.split_whitespace().map(|number| number.parse().ok());
        let (time, times) = (numbers.next()??, numbers.nth(1)??);
        Some((task.file_name().to_string_lossy().into_owned(), (read("comm")?.trim().to_owned(), time, times)))
    };
    tasks.filter_map(thread).collect()
}

/// The threads that ran between two looks, in a sentence.
fn who_ran(
    before: &BTreeMap<String, (String, u64, u64)>,
    after: &BTreeMap<String, (String, u64, u64)>,
) -> Option<String> {
    let main = std::process::id().to_string();
    let ran = after.iter().filter_map(|(id, (name, time, times))| {
        let (_, earlier, often) = before.get(id)?;
        let (time, times) = (time - earlier, times - often);
        let measures = if *id == main { " (which measures)" } else { "" };
        (times > 0).then(|| format!("{name}{measures} {times} times, {:.0} us together", time as f64 / 1e3))
    });
    let ran: Vec<_> = ran.collect();
    (!ran.is_empty()).then(|| format!("threads that ran while it was parked: {}", ran.join("; ")))
}

fn report(runtime: &Runtime, arguments: &Arguments, loads: &Loads, trips: &Trips, notes: Vec<String>) -> Report {
    let Loads { asleep, live, parked } = loads;
    let loads = [("asleep, nothing opened", asleep), ("parked", parked), ("live, nothing to do", live)];
    let loads = loads.iter().filter(|(_, load)| !load.is_empty());
    let ways = [("parked before", &trips.woken), ("live before", &trips.live), ("submit + fence", &trips.submitted)];
    let ways = &ways[..if runtime.engine().kind == EngineKind::Reference { 2 } else { 3 }];
    let over = |what, other: &Samples| {
        let rounds = trips.woken.medians().iter().zip(other.medians()).map(|(woken, other)| woken / other).collect();
        let ratio = Ratio::of_rounds(what, rounds, None)?;
        Some(Ratio { value: trips.woken.median() / other.median(), ..ratio })
    };
    let rivals =
        ways.iter().skip(2).filter_map(|(_, submitted)| over("parked before over submit + fence, p50", submitted));
    let mean = parked.iter().sum::<f64>() / parked.len() as f64;
    let nothing = Ratio::of_rounds("parked, percent of a processor", parked.clone(), Some(Goal::AtMost(NOTHING)));
    let nothing = nothing.map(|ratio| Ratio { value: mean, ..ratio });
    Report {
        bench: "park",
        engine: runtime.engine().to_string(),
        workers: runtime.engine().workers,
        tables: vec![
            Table {
                title: format!("CPU time of all threads, in tenths of {} s", arguments.seconds.as_secs_f64()),
                unit: "% of a processor",
                columns: SPREAD.map(Into::into).into(),
                rows: loads.map(|(name, load)| Row { name: (*name).into(), values: spread(load) }).collect(),
            },
            Table {
                title: "round trip of a NOP".into(),
                unit: "us",
                columns: COLUMNS.map(Into::into).into(),
                rows: ways.iter().map(|(name, samples)| samples.row(*name)).collect(),
            },
        ],
        ratios: nothing
            .into_iter()
            .chain(over("parked before over live before, p50", &trips.live))
            .chain(rivals)
            .collect(),
        plots: vec![Plot {
            title: "Round trip of a NOP: share of slots that took longer".into(),
            x: Axis { label: "microseconds", log: true },
            y: Axis { label: "share of slots", log: true },
            curves: ways.iter().map(|(name, samples)| samples.tail(*name)).collect(),
        }],
        timelines: Vec::new(),
        notes,
    }
}
