//! `vyre bench preemption`: how long urgent work waits for long work to come to the end of a tile.

use std::time::{Duration, Instant};

use vyre_runtime::protocol::geometry::{Counts, Priority};
use vyre_runtime::protocol::operation::{Operation, Reduction};
use vyre_runtime::protocol::slot::Slot;
use vyre_runtime::vk::MemoryUse;
use vyre_runtime::{Options, Runtime};

use super::all::Effort;
use super::report::{Axis, Goal, Plot, Ratio, Report, Table};
use super::samples::{COLUMNS, Samples};
use super::{Common, whole_kernel};
use crate::Failure;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    /// CRITICAL slots of each of the two kinds.
    #[arg(long, default_value_t = SAMPLES, value_parser = clap::value_parser!(u32).range(100..))]
    pub(crate) samples: u32,
}

impl Arguments {
    /// Those of `vyre bench all`.
    pub(crate) fn of_effort(common: Common, effort: Effort) -> Arguments {
        Arguments { common, samples: effort.pick(SAMPLES, 300) }
    }
}

/// CRITICAL slots of each of the two kinds, where a user does not say.
const SAMPLES: u32 = 2_000;

/// Tiles of a LOW slot.
const TILES: u32 = 10_000;

/// LOW slots that are outstanding at once, so that there is always one.
const LOW_SLOTS: usize = 8;

/// Bytes of one of its tiles.
const TILE_BYTES: u32 = 16 << 10;

struct Bench {
    runtime: Runtime,
    low: Slot,
    /// LOW slots that have completed.
    finished: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(Report, u64), Failure> {
    // REDUCE, since its completions need not wait for a quantum's end.
    let operations = 1 << Operation::Nop.code() | 1 << Operation::Reduce.code();
    let options = Options { workers: arguments.common.workers, operations, ..whole_kernel(Counts::default())? };
    let mut runtime = Runtime::open(&arguments.common.device.choice(), &options)?;
    let memory = runtime.allocate((TILES * TILE_BYTES).into(), MemoryUse::Local)?;
    let results = runtime.allocate((TILES * 8).into(), MemoryUse::DeviceToHost)?;
    let low = Slot { input: memory.at(0), output: results.at(0), ..Slot::new(Operation::Reduce) };
    let low = low.with_args(&[Reduction::Sum.code(), 1])?.tiled(TILES * TILE_BYTES, TILE_BYTES, 1);
    let mut bench = Bench { runtime, low, finished: 0 };
    let idle = bench.round_trips(arguments.samples, false)?;
    let beside = bench.round_trips(arguments.samples, true)?;
    let tile = bench.time_of_tile()?;
    let mut runtime = bench.runtime;
    runtime.drain(Duration::from_secs(60))?;
    let ways = [("idle", &idle), ("beside LOW work", &beside)];
    let wait = (beside.median() - idle.median()) / tile;
    let report = Report {
        bench: "preemption",
        engine: runtime.engine().to_string(),
        workers: runtime.engine().workers,
        tables: vec![Table {
            title: "round trip of a CRITICAL NOP".into(),
            unit: "us",
            columns: COLUMNS.map(Into::into).into(),
            rows: ways.map(|(name, samples)| samples.row(name)).into(),
        }],
        ratios: vec![Ratio {
            what: "the medians differ by so many tiles of LOW work".into(),
            value: wait,
            spread: (wait, wait),
            goal: Some(Goal::AtMost(1.0)),
        }],
        plots: vec![Plot {
            title: "Round trip of a CRITICAL NOP: share of slots that took longer".into(),
            x: Axis { label: "microseconds", log: true },
            y: Axis { label: "share of slots", log: true },
            curves: ways.map(|(name, samples)| samples.tail(name)).into(),
        }],
        timelines: Vec::new(),
        notes: vec![format!("a tile of LOW work takes a worker {:.1} us", tile / 1e3)],
    };
    runtime.exit(Duration::from_secs(10))?;
    let messages = runtime.validation_messages();
    Ok((report, messages))
}

impl Bench {
    /// Round trips of CRITICAL slots.
    fn round_trips(&mut self, samples: u32, beside_low: bool) -> Result<Samples, Failure> {
        let mut durations = Vec::new();
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
                durations.push(start.elapsed());
            }
        }
        let mut all = Samples::new()?;
        all.add_round(durations)?;
        Ok(all)
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
