//! `vyre bench preemption`: how long urgent work waits for long work to come to the end of a tile.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;
use vyre_runtime::protocol::geometry::{Counts, Priority};
use vyre_runtime::protocol::operation::{MAX_TILE_BYTES, Operation, Reduction};
use vyre_runtime::protocol::slot::Slot;
use vyre_runtime::vk::MemoryUse;
use vyre_runtime::{Options, Runtime};

use crate::bench::Common;
use crate::percentiles::Percentiles;
use crate::{Failure, exit_code};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// CRITICAL slots of each of the two kinds.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(100..))]
    samples: u32,
}

#[derive(Serialize)]
struct Preemption {
    engine: String,
    workers: u32,
    /// With nothing else to do.
    idle_ns: Percentiles,
    /// While all workers reduce memory for LOW slots.
    beside_low_ns: Percentiles,
    /// Time of a worker for a tile of them.
    low_tile_ns: f64,
    /// By how much the medians differ, in such tiles.
    wait_in_tiles: f64,
}

/// Tiles of a LOW slot.
const TILES: u32 = 10_000;

/// LOW slots that are outstanding at once, so that there is always one.
const LOW_SLOTS: usize = 8;

struct Bench {
    runtime: Runtime,
    low: Slot,
    /// LOW slots that have completed.
    finished: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    // REDUCE, since its completions need not wait for a quantum's end.
    let operations = 1 << Operation::Nop.code() | 1 << Operation::Reduce.code();
    let options = Options { workers: arguments.common.workers, operations, ..Options::new(Counts::default())? };
    let mut runtime = Runtime::open(&arguments.common.device.choice(), &options)?;
    let memory = runtime.allocate((TILES * MAX_TILE_BYTES).into(), MemoryUse::Local)?;
    let results = runtime.allocate((TILES * 8).into(), MemoryUse::DeviceToHost)?;
    let low = Slot { input: memory.at(0), output: results.at(0), ..Slot::new(Operation::Reduce) };
    let low = low.with_args(&[Reduction::Sum.code(), 1])?.tiled(TILES * MAX_TILE_BYTES, MAX_TILE_BYTES, 1);
    let mut bench = Bench { runtime, low, finished: 0 };
    let idle = bench.round_trips(arguments.samples, false)?;
    let beside = bench.round_trips(arguments.samples, true)?;
    let low_tile_ns = bench.time_of_tile()?;
    let mut runtime = bench.runtime;
    runtime.drain(Duration::from_secs(60))?;
    let (idle_ns, beside_low_ns) = (Percentiles::of(&idle), Percentiles::of(&beside));
    let wait_in_tiles = (beside_low_ns.p50 as f64 - idle_ns.p50 as f64) / low_tile_ns;
    let (engine, workers) = (runtime.engine().to_string(), runtime.engine().workers);
    report(&Preemption { engine, workers, idle_ns, beside_low_ns, low_tile_ns, wait_in_tiles }, arguments.common.json)?;
    runtime.exit(Duration::from_secs(10))?;
    Ok(exit_code(true, runtime.validation_messages()))
}

impl Bench {
    /// Round trips of CRITICAL slots in nanoseconds.
    fn round_trips(&mut self, samples: u32, beside_low: bool) -> Result<Histogram<u64>, Failure> {
        let mut histogram = Histogram::new(3)?;
        if beside_low {
            self.runtime.publish_all(Priority::Low, &[self.low; LOW_SLOTS])?;
        }
        // The first ones warm up.
        for sample in 0..samples + samples / 10 {
            let start = Instant::now();
            let ticket = self.runtime.publish(Priority::Critical, &Slot::new(Operation::Nop))?;
            while self.reap(beside_low)? != Some(ticket.priority) {
                if start.elapsed() > Duration::from_secs(60) {
                    return Err("a CRITICAL slot did not complete within 60 s; see `vyre doctor`".into());
                }
                std::hint::spin_loop();
            }
            if sample >= samples / 10 {
                histogram.record(start.elapsed().as_nanos() as u64)?;
            }
        }
        Ok(histogram)
    }

    /// Takes a completion; a LOW slot that has ended is followed by the next.
    fn reap(&mut self, beside_low: bool) -> Result<Option<Priority>, Failure> {
        let priority = self.runtime.reap()?.map(|completion| completion.ticket.priority);
        if priority == Some(Priority::Low) {
            self.finished += 1;
            if beside_low {
                self.runtime.publish(Priority::Low, &self.low)?;
            }
        }
        Ok(priority)
    }

    /// Time that a worker takes for a tile of LOW work, with nothing else to do, in nanoseconds.
    fn time_of_tile(&mut self) -> Result<f64, Failure> {
        // From one end of a slot to the end of another, some seconds at most.
        while self.reap(true)?.is_none() {}
        let (start, before) = (Instant::now(), self.finished);
        while self.finished < before + 2 || (start.elapsed() < Duration::from_secs(2) && self.finished < before + 50) {
            self.reap(true)?;
        }
        let slots = (self.finished - before) as f64;
        let workers = f64::from(self.runtime.engine().workers);
        Ok(start.elapsed().as_nanos() as f64 / (slots * f64::from(TILES)) * workers)
    }
}

fn report(found: &Preemption, json: bool) -> Result<(), Failure> {
    if json {
        println!("{}", serde_json::to_string(found)?);
        return Ok(());
    }
    println!("{}", found.engine);
    println!("{}", Percentiles::HEADING);
    found.idle_ns.print("idle");
    found.beside_low_ns.print("beside LOW work");
    let (tile, workers, wait) = (found.low_tile_ns / 1000.0, found.workers, found.wait_in_tiles);
    println!(
        "a tile of LOW work takes {tile:.1} us on each of {workers} workers; the medians differ by {wait:.2} tiles"
    );
    Ok(())
}
