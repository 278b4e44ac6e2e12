//! `vyre bench throughput`: slots per second through the live ring, beside the same kernel submitted and recorded.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::Serialize;
use vyre_runtime::protocol::geometry::{Counts, Geometry, Priority};
use vyre_runtime::protocol::operation::Operation;
use vyre_runtime::protocol::ring::PublishError;
use vyre_runtime::protocol::slot::Slot;
use vyre_runtime::vk::{SubmitFence, Vulkan};
use vyre_runtime::{Options, Runtime};

use crate::bench::{Common, NOP_ONLY, await_park, rival};
use crate::{Failure, exit_code};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Milliseconds of each measurement; each is taken five times.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(10..))]
    milliseconds: u64,
}

/// Tasks per second of one way to run them: median, smallest and largest of the rounds.
#[derive(Serialize)]
struct Rate {
    name: String,
    median: f64,
    min: f64,
    max: f64,
}

#[derive(Serialize)]
struct Throughput {
    engine: String,
    workers: u32,
    rates: Vec<Rate>,
    /// Best of ours over submit + fence, and over the command buffer.
    ratios: Vec<f64>,
}

/// Slots of the ring, all NORMAL.
const SLOTS: u32 = 8192;

/// Slots published at once.
const BATCHES: [usize; 5] = [1, 8, 64, 512, 2048];

/// Dispatches in the rival's command buffer.
const RECORDED: usize = 1000;

/// Rounds in which all take turns; one more before them warms up.
const ROUNDS: usize = 5;

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let counts = Counts { slots: SLOTS, ..Counts::default() };
    let geometry = Geometry::with_offsets(counts, [0, 0, 0, SLOTS, SLOTS, SLOTS])?;
    let park_after = Duration::from_millis(1);
    let options = Options {
        geometry,
        workers: arguments.common.workers,
        park_after,
        operations: NOP_ONLY,
        ..Options::new(counts)?
    };
    let mut runtime = Runtime::open(&arguments.common.device.choice(), &options)?;
    let mut rivals: Vec<(SubmitFence, Vulkan)> = Vec::new();
    for dispatches in [1, RECORDED] {
        rivals.extend(rival(&runtime, geometry, dispatches)?);
    }
    let time = Duration::from_millis(arguments.milliseconds);
    let mut samples = vec![Vec::new(); BATCHES.len() + rivals.len()];
    for round in 0..=ROUNDS {
        let mut found = Vec::new();
        for batch in BATCHES {
            found.push(live(&mut runtime, batch, time)?);
        }
        await_park(&runtime);
        for ((rival, _), tasks) in rivals.iter_mut().zip([1, RECORDED]) {
            found.push(submitted(rival, tasks, time)?);
        }
        if round > 0 {
            samples.iter_mut().zip(found).for_each(|(samples, rate)| samples.push(rate));
        }
    }
    let (engine, workers) = (runtime.engine().to_string(), runtime.engine().workers);
    report(&summary(engine, workers, samples), arguments.common.json)?;
    runtime.exit(Duration::from_secs(10))?;
    let messages =
        runtime.validation_messages() + rivals.iter().map(|(_, vulkan)| vulkan.validation_messages()).sum::<u64>();
    Ok(exit_code(true, messages))
}

/// Slots per second in batches of this size, with the ring kept as full as it gets.
fn live(runtime: &mut Runtime, batch: usize, time: Duration) -> Result<f64, Failure> {
    let slots = vec![Slot::new(Operation::Nop); batch];
    let before = runtime.tally().done;
    let start = Instant::now();
    while start.elapsed() < time {
        match runtime.publish_all(Priority::Normal, &slots) {
            Ok(_) => {}
            Err(PublishError::Occupied { .. }) => std::hint::spin_loop(),
            Err(other) => return Err(other.into()),
        }
        while runtime.reap()?.is_some() {}
    }
    runtime.drain(Duration::from_secs(60))?;
    let rate = (runtime.tally().done - before) as f64 / start.elapsed().as_secs_f64();
    while runtime.reap()?.is_some() {}
    Ok(rate)
}

/// Tasks per second of a rival whose submission holds that many.
fn submitted(rival: &mut SubmitFence, tasks: usize, time: Duration) -> Result<f64, Failure> {
    let start = Instant::now();
    let mut submissions = 0;
    while start.elapsed() < time {
        rival.round_trip()?;
        submissions += 1;
    }
    Ok((submissions * tasks) as f64 / start.elapsed().as_secs_f64())
}

fn summary(engine: String, workers: u32, samples: Vec<Vec<f64>>) -> Throughput {
    let ours = BATCHES.iter().map(|batch| format!("live, batches of {batch}"));
    let names = ours.chain(["submit + fence".into(), format!("{RECORDED} in a command buffer")]);
    let rate = |(name, mut samples): (String, Vec<f64>)| {
        samples.sort_by(f64::total_cmp);
        Rate { name, median: samples[samples.len() / 2], min: samples[0], max: samples[samples.len() - 1] }
    };
    let rates: Vec<Rate> = names.zip(samples).map(rate).collect();
    let best = rates[..BATCHES.len()].iter().map(|rate| rate.median).fold(0.0, f64::max);
    let ratios = rates[BATCHES.len()..].iter().map(|rival| best / rival.median).collect();
    Throughput { engine, workers, rates, ratios }
}

fn report(found: &Throughput, json: bool) -> Result<(), Failure> {
    if json {
        println!("{}", serde_json::to_string(found)?);
        return Ok(());
    }
    println!("{}", found.engine);
    println!("{:<28}{:>12}{:>12}{:>12}", "tasks per second", "median", "min", "max");
    for Rate { name, median, min, max } in &found.rates {
        println!("{name:<28}{median:>12.0}{min:>12.0}{max:>12.0}");
    }
    match found.ratios[..] {
        [submit, recorded] => {
            println!("best of ours: {submit:.1} times submit + fence, {recorded:.1} times the command buffer")
        }
        _ => println!("nothing to submit to on the reference engine"),
    }
    Ok(())
}
