//! `vyre bench start`: from nothing to the first completion, and to the first of an operation that a small start leaves out, in a fresh
//! process each time.
//!
//! The bench runs this binary again, with the hidden command [`Once`], and reads the lines that it prints when these slots have
//! completed. Vyre's pipeline cache and the driver's own cache lie in folders of the bench, so a user's caches are neither used nor changed.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use vyre_runtime::protocol::geometry::{Counts, Priority};
use vyre_runtime::protocol::operation::{DEFAULT_OPERATIONS, Operation};
use vyre_runtime::protocol::slot::Slot;
use vyre_runtime::vk::StartTimes;
use vyre_runtime::{EngineKind, Options, Runtime};

use super::all::Effort;
use super::latency::round_trip;
use super::report::{Goal, Ratio, Report, Row, Table};
use super::samples::{SPREAD, spread};
use super::{Common, NOP, NOP_ONLY};
use crate::{DeviceArgument, Failure, VALIDATION_FAILED, exit_code};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Starts of each kind.
    #[arg(long, default_value_t = STARTS, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) starts: u32,
}

impl Arguments {
    /// Those of `vyre bench all`.
    pub(crate) fn of_effort(common: Common, effort: Effort) -> Arguments {
        Arguments { common, starts: effort.pick(STARTS, 1) }
    }
}

/// Starts of each kind, where a user does not say.
const STARTS: u32 = 10;

/// What a start may take with warm caches and with cold ones, in milliseconds.
const WARM_LIMIT: f64 = 100.0;
const COMPILE_LIMIT: f64 = 3000.0;

/// One start, in a process of its own.
#[derive(clap::Args)]
pub(crate) struct Once {
    #[command(flatten)]
    device: DeviceArgument,
    #[arg(long)]
    workers: Option<u32>,
    /// What the kernel holds, a bit for each operation code.
    #[arg(long)]
    operations: u32,
}

/// What a process says of its start.
#[derive(Serialize, Deserialize)]
struct Started {
    engine: String,
    workers: u32,
    /// Whether the engine compiles anything, so that a cache may be warm or cold.
    compiles: bool,
    /// Milliseconds of each step.
    steps: Vec<(String, f64)>,
}

/// Starts of one kind.
struct Way {
    operations: u32,
    warm: bool,
    name: &'static str,
    /// Steps of each start, with the total and the time to all operations behind them.
    starts: Vec<Vec<(String, f64)>>,
}

fn milliseconds(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e6
}

/// Runs whatever else the kernel has, and whether it has it: it faults if not.
const FENCE: Slot = Slot::new(Operation::Fence);

/// Starts, runs a NOP, prints what that took, and prints a line more when all operations are there.
pub(crate) fn run_once(arguments: &Once) -> Result<ExitCode, Failure> {
    let (workers, operations) = (arguments.workers, arguments.operations);
    let options = Options { workers, operations, ..Options::new(Counts::default())? };
    let mut runtime = Runtime::open(&arguments.device.choice(), &options)?;
    let first = round_trip(&mut runtime, &[NOP])?;
    let engine = runtime.engine();
    let StartTimes { device, pipeline, memory, workers, launch } = engine.start;
    let steps = [
        ("choice", engine.choice),
        ("device", device),
        ("pipeline", pipeline),
        ("memory", memory),
        ("workers", workers),
        ("launch", launch),
        ("first NOP", first),
    ];
    let steps = steps.into_iter().filter(|(_, time)| !time.is_zero());
    let started = Started {
        engine: engine.to_string(),
        workers: engine.workers,
        compiles: engine.kind != EngineKind::Reference,
        steps: steps.map(|(name, time)| (name.into(), milliseconds(time))).collect(),
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(&started)?)?;
    out.flush()?;
    let fence = runtime.publish(Priority::Normal, &FENCE)?;
    runtime.wait(fence, Duration::from_secs(600))?;
    writeln!(out)?;
    out.flush()?;
    runtime.exit(Duration::from_secs(10))?;
    Ok(exit_code(true, runtime.validation_messages()))
}

/// Starts a process with its caches below `caches`. Gives what it says, with what it does not see of itself and the total, and whether
/// the validation layer had something to say.
fn start(common: &Common, operations: u32, caches: &Path) -> Result<(Started, bool), Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["start-once", "--device", &common.device.device]);
    command.args(["--operations", &operations.to_string()]);
    if let Some(workers) = common.workers {
        command.args(["--workers", &workers.to_string()]);
    }
    // Ours, Mesa's and NVIDIA's.
    for variable in ["XDG_CACHE_HOME", "MESA_SHADER_CACHE_DIR", "__GL_SHADER_DISK_CACHE_PATH"] {
        command.env(variable, caches);
    }
    let start = Instant::now();
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut lines = child.stdout.take().map(BufReader::new);
    let mut read_line = || {
        let mut line = String::new();
        lines.as_mut().map_or(Ok(0), |lines| lines.read_line(&mut line))?;
        Ok::<_, std::io::Error>((line, milliseconds(start.elapsed())))
    };
    let (line, total) = read_line()?;
    let (_, whole) = read_line()?;
    let status = child.wait()?;
    let messages = status.code() == Some(VALIDATION_FAILED.into());
    if !status.success() && !messages {
        return Err(format!("a fresh process did not start the engine ({status})").into());
    }
    let mut started: Started = serde_json::from_str(&line)?;
    let seen: f64 = started.steps.iter().map(|(_, time)| time).sum();
    started.steps.insert(0, ("process".into(), total - seen));
    started.steps.extend([(TOTAL.into(), total), (WHOLE.into(), whole)]);
    Ok((started, messages))
}

/// From nothing to the first completion.
const TOTAL: &str = "total";
/// From nothing to the first of an operation that a small start leaves out.
const WHOLE: &str = "all operations";

pub(crate) fn run(arguments: &Arguments) -> Result<(Report, u64), Failure> {
    let common = &arguments.common;
    let warm = TempDir::new()?;
    let (first, mut messages) = start(common, NOP_ONLY, warm.path()).map(|(first, bad)| (first, u64::from(bad)))?;
    let way = |operations, warm, name| Way { operations, warm, name, starts: Vec::new() };
    let mut ways = vec![
        way(NOP_ONLY, true, "NOP alone, warm caches"),
        way(NOP_ONLY, false, "NOP alone, cold caches"),
        way(DEFAULT_OPERATIONS, true, "default operations, warm caches"),
        way(DEFAULT_OPERATIONS, false, "default operations, cold caches"),
    ];
    if !first.compiles {
        ways = vec![way(DEFAULT_OPERATIONS, true, "host threads")];
    }
    // The round before the others fills the caches that are to be warm.
    for round in 0..=arguments.starts {
        for way in ways.iter_mut().filter(|way| round > 0 || way.warm) {
            let cold = TempDir::new()?;
            let caches = if way.warm { warm.path() } else { cold.path() };
            let (started, bad) = start(common, way.operations, caches)?;
            messages += u64::from(bad);
            if round > 0 {
                way.starts.push(started.steps);
            }
        }
    }
    let report = Report {
        bench: "start",
        engine: first.engine,
        workers: first.workers,
        tables: ways.iter().map(Way::table).collect(),
        ratios: ways.iter().flat_map(Way::goals).collect(),
        plots: Vec::new(),
        timelines: Vec::new(),
        notes: vec!["each start is a process of its own; \"process\" is what it does not see of itself".into()],
    };
    Ok((report, messages))
}

impl Way {
    fn table(&self) -> Table {
        let steps = self.starts.first().into_iter().flatten();
        let row = |(place, (name, _)): (usize, &(String, f64))| {
            let times: Vec<_> = self.starts.iter().map(|steps| steps[place].1).collect();
            Row { name: name.clone(), values: spread(&times) }
        };
        Table {
            title: format!("{}: from nothing to the first completion", self.name),
            unit: "ms",
            columns: SPREAD.map(Into::into).into(),
            rows: steps.enumerate().map(row).collect(),
        }
    }

    /// Times over their limits.
    fn goals(&self) -> Vec<Ratio> {
        let limits = if self.warm {
            &[(TOTAL, WARM_LIMIT, "100 ms"), (WHOLE, WARM_LIMIT, "100 ms")]
        } else {
            &[(TOTAL, COMPILE_LIMIT, "3 s"), (WHOLE, COMPILE_LIMIT, "3 s")]
        };
        let goal = |(step, limit, what): &(&str, f64, &str)| {
            let time =
                |start: &Vec<(String, f64)>| start.iter().find(|(name, _)| name == step).map(|(_, time)| time / limit);
            let rounds = self.starts.iter().filter_map(time).collect();
            Ratio::of_rounds(format!("{}: {step} over {what}", self.name), rounds, Some(Goal::AtMost(1.0)))
        };
        limits.iter().filter_map(goal).collect()
    }
}
