//! `vyre bench scale`: how cost grows with the number of everything, and that it does not where it should not.

mod growth;
mod side;

use std::time::{Duration, Instant};

use vyre_runtime::protocol::geometry::{Counts, Priority, limits};
use vyre_runtime::protocol::operation::Operation;
use vyre_runtime::protocol::ring::Ticket;
use vyre_runtime::protocol::slot::{MAX_TILES, Slot};
use vyre_runtime::{Client, Runtime};

use super::all::Effort;
use super::latency::{round_trip, warm_up};
use super::report::Report;
use super::residency::open_each;
use super::{Common, NOP, NOP_ONLY, await_park, options, steps};
use crate::Failure;
use growth::{Cost, Dimension, Growth, MICROSECONDS};
use side::{BURST, Side, microseconds};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Leave out sizes above this one.
    #[arg(long, default_value_t = LARGEST, value_parser = clap::value_parser!(u32).range(64..))]
    pub(crate) largest: u32,
    /// Round trips of each measurement; each is taken five times.
    #[arg(long, default_value_t = SAMPLES, value_parser = clap::value_parser!(u32).range(10..))]
    pub(crate) samples: u32,
}

impl Arguments {
    /// Those of `vyre bench all`.
    pub(crate) fn of_effort(common: Common, effort: Effort) -> Arguments {
        Arguments { common, largest: effort.pick(LARGEST, 1024), samples: effort.pick(SAMPLES, 100) }
    }
}

/// What a user does not say.
const LARGEST: u32 = limits::SLOTS;
const SAMPLES: u32 = 1000;

/// Steps from one size to the next, and the largest where the ABI allows more.
const SMALLEST_RING: u32 = 64;
const RING_STEP: u32 = 4;
const MOST_TILES: u32 = 100_000;
const TENANT_STEP: u32 = 16;
const MOST_PRODUCERS: u32 = 8;
const MOST_RESOURCES: u32 = 100_000;

const SLOTS: Dimension = Dimension {
    what: "slots of the ring",
    unit: MICROSECONDS,
    costs: &[
        Cost::flat("round trip, p50"),
        Cost::shown("round trip, p99"),
        Cost::flat("publish"),
        Cost::flat("reap"),
        Cost::flat("ask what is free"),
    ],
};
const TILES: Dimension = Dimension {
    what: "tiles published together",
    unit: MICROSECONDS,
    costs: &[Cost::shown("all tiles"), Cost::flat_from("one tile", 10_000)],
};
const WORKERS: Dimension = Dimension {
    what: "resident workers",
    unit: MICROSECONDS,
    costs: &[Cost::flat("round trip, p50"), Cost::shown("round trip, p99")],
};
const TENANTS: Dimension = Dimension {
    what: "tenants",
    unit: MICROSECONDS,
    costs: &[
        Cost::flat("round trip, p50"),
        Cost::shown("round trip, p99"),
        Cost::flat("publish"),
        Cost::flat("revoke and register"),
    ],
};
const PRODUCERS: Dimension =
    Dimension { what: "producers", unit: ["1/s", "slots per second"], costs: &[Cost::rate("slots")] };
const RESOURCES: Dimension = Dimension {
    what: "resources",
    unit: MICROSECONDS,
    costs: &[Cost::flat("round trip, p50"), Cost::shown("round trip, p99"), Cost::flat("allocate and register")],
};

struct Bench<'a> {
    arguments: &'a Arguments,
    /// The engine's own choice, or the user's, so that only the first engine has to find it.
    workers: u32,
    /// Of the validation layer.
    messages: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(Report, u64), Failure> {
    let mut bench = Bench { arguments, workers: 0, messages: 0 };
    let (workers, engine) = bench.workers()?;
    let growths = [bench.slots()?, bench.tiles()?, workers, bench.tenants()?, bench.producers()?, bench.resources()?];
    let report = Report {
        bench: "scale",
        engine,
        workers: bench.workers,
        tables: growths.iter().map(Growth::table).collect(),
        ratios: growths.iter().flat_map(Growth::ratios).collect(),
        plots: growths.iter().map(Growth::plot).collect(),
        timelines: Vec::new(),
        notes: notes(),
    };
    Ok((report, bench.messages))
}

fn notes() -> Vec<String> {
    vec![
        "flat where a ratio is shown: slots, tenants and resources are found by index, so that neither side searches; what grows \
         there are misses of the caches, since a ring of 2^20 slots does not fit"
            .into(),
        format!("publish and reap: of a slot, in bursts of {BURST}; tenants: the last {BURST}, each with a cap"),
        format!(
            "tiles: NOPs; a slot has at most {MAX_TILES}, so that more are split over several; one tile costs the same once the \
             round trip is spread over thousands"
        ),
        format!("producers: threads, each of which publishes {BURST} slots and waits for all of them; they share one lock"),
        "resources: a word each, in the device's own memory; the round trip is a LOAD_U32 of the last".into(),
    ]
}

impl Bench<'_> {
    fn open(&self, counts: Counts, operations: u32) -> Result<Runtime, Failure> {
        let options = options(counts, Some(self.workers), operations)?;
        Ok(Runtime::open(&self.arguments.common.device.choice(), &options)?)
    }

    fn close(&mut self, mut runtime: Runtime) -> Result<(), Failure> {
        runtime.exit(Duration::from_secs(60))?;
        self.messages += runtime.validation_messages();
        Ok(())
    }

    /// Sizes up to this one or the user's largest.
    fn sizes(&self, first: u32, factor: u32, last: u32) -> Vec<u32> {
        steps(first, factor, last.min(self.arguments.largest)).collect()
    }

    /// Measures engines in turns, each of which runs alone, and closes them.
    fn take_turns(
        &mut self,
        dimension: &'static Dimension,
        sizes: Vec<u32>,
        mut sides: Vec<Side>,
        turn: impl Fn(&mut Side) -> Result<Vec<f64>, Failure>,
    ) -> Result<Growth, Failure> {
        let growth = Growth::measure(dimension, sizes, |size| {
            let costs = turn(&mut sides[size])?;
            await_park(&sides[size].runtime);
            Ok(costs)
        })?;
        for side in sides {
            self.close(side.runtime)?;
        }
        Ok(growth)
    }

    /// Also gives the engine, which it is the first to open.
    fn workers(&mut self) -> Result<(Growth, String), Failure> {
        let runtimes = open_each(&self.arguments.common)?;
        let sizes: Vec<_> = runtimes.iter().map(|runtime| runtime.engine().workers).collect();
        let engine = runtimes[runtimes.len() - 1].engine();
        let name = engine.to_string();
        self.workers = engine.workers;
        let sides = runtimes.into_iter().map(|runtime| Side::new(runtime, NOP)).collect();
        let samples = self.arguments.samples;
        Ok((self.take_turns(&WORKERS, sizes, sides, |side| Ok(side.round_trips(samples)?.into()))?, name))
    }

    fn slots(&mut self) -> Result<Growth, Failure> {
        let sizes = self.sizes(SMALLEST_RING, RING_STEP, limits::SLOTS);
        let open = |slots: &u32| self.open(Counts { slots: *slots, ..Counts::default() }, NOP_ONLY);
        let sides = sizes.iter().map(|slots| Ok(Side::new(open(slots)?, NOP))).collect::<Result<_, Failure>>()?;
        let samples = self.arguments.samples;
        self.take_turns(&SLOTS, sizes, sides, |side| {
            let [p50, p99] = side.round_trips(samples)?;
            let [publish, reap] = side.bursts()?;
            Ok(vec![p50, p99, publish, reap, side.asking()])
        })
    }

    /// All on one engine, which only this uses now.
    fn tiles(&mut self) -> Result<Growth, Failure> {
        let sizes = self.sizes(1, 10, MOST_TILES);
        let mut runtime = self.open(Counts::default(), NOP_ONLY)?;
        let growth = Growth::measure(&TILES, sizes.clone(), |size| {
            let tiles = sizes[size];
            let all = tiles_together(&mut runtime, tiles)?;
            Ok(vec![all, all / f64::from(tiles)])
        })?;
        self.close(runtime)?;
        Ok(growth)
    }

    fn tenants(&mut self) -> Result<Growth, Failure> {
        let sizes = self.sizes(1, TENANT_STEP, limits::TENANTS);
        let mut sides = Vec::new();
        for tenants in &sizes {
            let mut side = Side::new(self.open(Counts { tenants: *tenants, ..Counts::default() }, NOP_ONLY)?, NOP);
            side.register_tenants()?;
            sides.push(side);
        }
        let samples = self.arguments.samples;
        self.take_turns(&TENANTS, sizes, sides, |side| {
            let [p50, p99] = side.round_trips(samples)?;
            let [publish, _] = side.bursts()?;
            Ok(vec![p50, p99, publish, side.renew_tenant()?])
        })
    }

    fn producers(&mut self) -> Result<Growth, Failure> {
        let sizes: Vec<_> = steps(1, 2, MOST_PRODUCERS).collect();
        let client = Client::new(self.open(Counts::default(), NOP_ONLY)?);
        let bursts = self.arguments.samples.div_ceil(BURST as u32);
        let growth =
            Growth::measure(&PRODUCERS, sizes.clone(), |size| Ok(vec![produce(&client, sizes[size], bursts)?]))?;
        client.with(|runtime| runtime.exit(Duration::from_secs(60)))?;
        self.messages += client.with(|runtime| runtime.validation_messages());
        Ok(growth)
    }

    fn resources(&mut self) -> Result<Growth, Failure> {
        let sizes = self.sizes(1, 10, MOST_RESOURCES);
        let mut sides = Vec::new();
        for resources in &sizes {
            let counts = Counts { resources: *resources, ..Counts::default() };
            let mut side = Side::new(self.open(counts, 1 << Operation::LoadU32.code())?, NOP);
            side.register_resources(*resources as usize)?;
            sides.push(side);
        }
        let samples = self.arguments.samples;
        self.take_turns(&RESOURCES, sizes, sides, |side| {
            let register = side.renew_resources()?;
            let [p50, p99] = side.round_trips(samples)?;
            Ok(vec![p50, p99, register])
        })
    }
}

/// Microseconds that tiles take which are published together.
fn tiles_together(runtime: &mut Runtime, tiles: u32) -> Result<f64, Failure> {
    let tiles_left = (0..tiles).step_by(MAX_TILES as usize).map(|first| tiles - first);
    let slots: Vec<_> = tiles_left.map(|left| Slot { tiles: left.min(MAX_TILES), ..NOP }).collect();
    warm_up(runtime, &[NOP])?;
    Ok(microseconds(round_trip(runtime, &slots)?))
}

/// Slots per second of so many threads, each of which publishes that many bursts.
fn produce(client: &Client, producers: u32, bursts: u32) -> Result<f64, Failure> {
    let start = Instant::now();
    let outcome: Result<(), String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..producers).map(|_| scope.spawn(|| one_producer(client, bursts))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a producer panicked".to_owned())?)
    });
    outcome?;
    Ok(f64::from(producers * bursts * BURST as u32) / start.elapsed().as_secs_f64())
}

fn one_producer(client: &Client, bursts: u32) -> Result<(), String> {
    for _ in 0..bursts {
        let numbers = client.publish_all(Priority::Normal, &[NOP; BURST]).map_err(|error| error.to_string())?;
        let tickets: Vec<_> = numbers.map(|number| Ticket { priority: Priority::Normal, number }).collect();
        client.wait_all(&tickets, Duration::from_secs(60)).map_err(|error| error.to_string())?;
    }
    Ok(())
}
