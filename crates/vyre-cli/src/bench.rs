//! `vyre bench`: the ring beside what one would use instead, in one run.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;
use vyre_runtime::protocol::geometry::{Counts, Geometry, Priority};
use vyre_runtime::protocol::operation::Operation;
use vyre_runtime::protocol::slot::Slot;
use vyre_runtime::vk::{KernelConfig, SubmitFence, Vulkan};
use vyre_runtime::{EngineKind, Options, Runtime};

use crate::percentiles::Percentiles;
use crate::{DeviceArgument, Failure, exit_code, preemption, throughput};

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Round trip of a NOP slot: the live ring against submit + fence of the same kernel.
    Latency(LatencyArguments),
    /// NOP slots per second from one producer, by the size of its batches, against the same kernel submitted and recorded.
    Throughput(throughput::Arguments),
    /// Round trip of a CRITICAL slot, idle and beside slots of 10,000 tiles in the LOW partition.
    Preemption(preemption::Arguments),
}

/// What all benches take.
#[derive(clap::Args)]
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

#[derive(clap::Args)]
pub(crate) struct LatencyArguments {
    #[command(flatten)]
    common: Common,
    /// Round trips of each of the two.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(100..))]
    samples: u32,
}

#[derive(Serialize)]
struct Latency {
    engine: String,
    workers: u32,
    live_ns: Percentiles,
    submit_fence_ns: Option<Percentiles>,
    /// Submit + fence over live, medians of all samples.
    ratio_p50: Option<f64>,
    /// The same ratio in each round: smallest and largest.
    ratio_spread: Option<(f64, f64)>,
}

/// Both sides run a kernel with this one operation.
pub(crate) const NOP_ONLY: u32 = 1 << Operation::Nop.code();

/// Rounds in which the two take turns.
const ROUNDS: u32 = 20;

pub(crate) fn run(command: &Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Latency(arguments) => latency(arguments),
        Command::Throughput(arguments) => throughput::run(arguments),
        Command::Preemption(arguments) => preemption::run(arguments),
    }
}

fn latency(arguments: &LatencyArguments) -> Result<ExitCode, Failure> {
    let park_after = Duration::from_millis(1);
    let workers = arguments.common.workers;
    let options = Options { workers, park_after, operations: NOP_ONLY, ..Options::new(Counts::default())? };
    let mut runtime = Runtime::open(&arguments.common.device.choice(), &options)?;
    let mut rival = rival(&runtime, Geometry::new(Counts::default())?, 1)?;
    let (mut live, mut submitted) = (Histogram::new(3)?, Histogram::new(3)?);
    let mut ratios = Vec::new();
    for round in 0..=ROUNDS {
        let mut ours = Histogram::<u64>::new(3)?;
        for _ in 0..arguments.samples / ROUNDS {
            ours.record(live_round_trip(&mut runtime)?.as_nanos() as u64)?;
        }
        let mut theirs = Histogram::<u64>::new(3)?;
        if let Some((rival, _)) = &mut rival {
            await_park(&runtime);
            for _ in 0..arguments.samples / ROUNDS {
                theirs.record(rival.round_trip()?.as_nanos() as u64)?;
            }
        }
        // The first round warms both up.
        if round > 0 {
            live.add(&ours)?;
            submitted.add(&theirs)?;
            ratios.push(theirs.value_at_quantile(0.5) as f64 / ours.value_at_quantile(0.5) as f64);
        }
    }
    let spread = ratios.iter().fold((f64::MAX, 0.0_f64), |(low, high), &ratio| (low.min(ratio), high.max(ratio)));
    let measured = rival.is_some();
    let (live, theirs) = (Percentiles::of(&live), Percentiles::of(&submitted));
    let latency = Latency {
        engine: runtime.engine().to_string(),
        workers: runtime.engine().workers,
        ratio_p50: measured.then(|| theirs.p50 as f64 / live.p50 as f64),
        ratio_spread: measured.then_some(spread),
        live_ns: live,
        submit_fence_ns: measured.then_some(theirs),
    };
    report(&latency, arguments.common.json)?;
    runtime.exit(Duration::from_secs(10))?;
    let messages = runtime.validation_messages() + rival.map_or(0, |(_, vulkan)| vulkan.validation_messages());
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

/// Publish to reaped.
fn live_round_trip(runtime: &mut Runtime) -> Result<Duration, Failure> {
    let start = Instant::now();
    runtime.publish(Priority::Normal, &Slot::new(Operation::Nop))?;
    loop {
        if runtime.reap()?.is_some() {
            return Ok(start.elapsed());
        }
        if start.elapsed() > Duration::from_secs(60) {
            return Err("a NOP did not complete within 60 s; see `vyre doctor`".into());
        }
        std::hint::spin_loop();
    }
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

fn report(latency: &Latency, json: bool) -> Result<(), Failure> {
    if json {
        println!("{}", serde_json::to_string(latency)?);
        return Ok(());
    }
    println!("{}", latency.engine);
    println!("{}", Percentiles::HEADING);
    latency.live_ns.print("live ring");
    match (&latency.submit_fence_ns, latency.ratio_p50, latency.ratio_spread) {
        (Some(theirs), Some(ratio), Some((low, high))) => {
            theirs.print("submit + fence");
            println!("ratio of the p50s: {ratio:.1} (rounds: {low:.1} to {high:.1})");
        }
        _ => println!("submit + fence: nothing to submit to on the reference engine"),
    }
    Ok(())
}
