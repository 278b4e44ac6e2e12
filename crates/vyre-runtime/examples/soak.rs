//! Random slots of all operations, priorities and tenants for a long time, good and bad ones, with parks, revocations and aborts in
//! between; everything that must hold is checked. `cargo xtask soak` runs it. A seed gives the same slots again.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use clap::Parser;
use vyre_runtime::protocol::completion::Status;
use vyre_runtime::protocol::fault::Fault;
use vyre_runtime::protocol::geometry::{Counts, Priority};
use vyre_runtime::protocol::operation::{MAX_TILE_BYTES, MAX_TILE_CHUNKS, Operation};
use vyre_runtime::protocol::packed::Inner;
use vyre_runtime::protocol::ring::{Completion, PublishError, Ticket};
use vyre_runtime::protocol::slot::{Operand, Slot};
use vyre_runtime::protocol::tenants::{Revocation, TenantConfig, TenantError};
use vyre_runtime::vk::MemoryUse;
use vyre_runtime::{DeviceChoice, Options, Resource, Runtime};

/// Runs random slots and checks what must hold.
#[derive(Parser)]
struct Arguments {
    /// Engine: reference, an index, or a part of a device's name.
    #[arg(long, default_value = "reference")]
    device: DeviceChoice,
    /// Slots to run.
    #[arg(long, default_value_t = 1_000_000)]
    slots: u64,
    /// Seed of the slots.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Workers; the engine's own choice if left out.
    #[arg(long)]
    workers: Option<u32>,
    /// Slots between two aborts.
    #[arg(long, default_value_t = 200_000)]
    epoch: u64,
}

type Failure = Box<dyn std::error::Error>;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % u64::from(end)) as u32
    }
    fn one_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }
}

/// What must become of a slot.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fate {
    Done,
    /// It adds to the counter.
    Added(u32),
    Fault(Fault),
}

/// Memory that slots work on: bytes to read, words to write, and the counter that the additions share.
struct Memory {
    input: Resource,
    work: Resource,
    counter: Resource,
}

const BYTES: u32 = 64 << 10;

impl Memory {
    fn new(runtime: &mut Runtime, random: &mut Random) -> Result<Memory, Failure> {
        let input = runtime.allocate(BYTES.into(), MemoryUse::HostToDevice)?;
        let bytes: Vec<u8> = (0..BYTES / 4).flat_map(|_| random.below(u32::MAX).to_le_bytes()).collect();
        input.write(0, &bytes)?;
        let work = runtime.allocate(BYTES.into(), MemoryUse::Local)?;
        let counter = runtime.allocate(4, MemoryUse::Local)?;
        Ok(Memory { input, work, counter })
    }

    fn word(&self, operation: Operation, place: Operand) -> Slot {
        Slot { input: place, output: place, ..Slot::new(operation) }.tiled(4, 4, 1)
    }

    /// A random slot, and what must become of it.
    fn slot(&self, random: &mut Random) -> (Slot, Fate) {
        let length = 4 * random.below(1000);
        let span = 4 * (1 + random.below(MAX_TILE_BYTES / 4));
        let (from, to) = (4 * random.below(8000), 8 * random.below(4000));
        let (input, output) = (self.input.at(from), self.work.at(to));
        let bytes = |operation| Slot { input, output, ..Slot::new(operation) }.tiled(length, span, 1);
        let stamp = 1 + random.below(1000);
        let amount = random.below(u32::MAX);
        let args = |slot: Slot, args: [u32; 6]| (Slot { args, ..slot }, Fate::Done);
        let code = 0x1000 + random.below(0xf000);
        match random.below(17) {
            0 => (Slot { tiles: 1 + random.below(20), ..Slot::new(Operation::Nop) }, Fate::Done),
            1 => args(bytes(Operation::Fill), [amount, 0, 0, 0, 0, 0]),
            2 => (bytes(Operation::Copy), Fate::Done),
            3 if length == 0 => {
                let slot = Slot { input, output, ..Slot::new(Operation::Blake3) }.tiled(0, 1, 1024);
                (Slot { args: [0, 0, 0, stamp, 0, 0], ..slot }, Fate::Fault(Fault::BadArgument))
            }
            3 => {
                let slot = Slot { input, output, ..Slot::new(Operation::Blake3) };
                args(slot.tiled(length, 1 << random.below(7).min(MAX_TILE_CHUNKS), 1024), [0, 0, 0, stamp, 0, 0])
            }
            4 => args(self.word(Operation::StoreU32, output), [amount, 0, 0, 0, 0, 0]),
            5 => (self.word(Operation::LoadU32, input), Fate::Done),
            6 => args(self.word(Operation::CompareSwap, output), [amount, stamp, 0, 0, 0, 0]),
            7 => {
                args(bytes(Operation::Reduce).tiled(length, span.max(64), 1), [1 + random.below(8), stamp, 0, 0, 0, 0])
            }
            8 => args(
                bytes(Operation::Histogram),
                [random.below(2), amount, random.below(32), 1 + random.below(256), 0, 0],
            ),
            9 => (Slot::new(Operation::Fence), Fate::Done),
            10 => (Slot { tiles: 1 + random.below(4), ..Slot::with_code(code) }, Fate::Fault(Fault::UnknownOperation)),
            11 => self.bad_slot(random),
            12 => args(Slot::new(Operation::Printf), [random.below(3), random.below(5), amount, stamp, 0, 0]),
            13 => {
                let place = Operand::observable(random.below(Counts::default().observables));
                args(self.word(Operation::StoreU32, place), [amount, 0, 0, 0, 0, 0])
            }
            14 => {
                let inner = [
                    Inner::StoreU32 { offset: 0, value: amount },
                    Inner::LoadU32 { offset: 8 },
                    Inner::CompareSwap { offset: 4, expected: amount, value: stamp },
                ];
                (Slot::packed(input, output, &inner).unwrap_or(Slot::new(Operation::Nop)), Fate::Done)
            }
            15 => {
                let inner = [Inner::AtomicAdd { offset: 0, value: amount }, Inner::Nop];
                let slot = Slot::packed(input, self.counter.at(0), &inner).unwrap_or(Slot::new(Operation::Nop));
                (slot, Fate::Added(amount))
            }
            _ => {
                let slot = self.word(Operation::AtomicAdd, self.counter.at(0));
                (Slot { args: [amount, 0, 0, 0, 0, 0], ..slot }, Fate::Added(amount))
            }
        }
    }

    fn bad_slot(&self, random: &mut Random) -> (Slot, Fate) {
        let fill = Slot { output: self.work.at(0), ..Slot::new(Operation::Fill) }.tiled(256, 64, 1);
        let handle = fill.output.handle;
        let (slot, fault) = match random.below(6) {
            0 => (Slot { output: Operand { handle: handle + (7 << 20), offset: 0 }, ..fill }, Fault::BadHandle),
            1 => (Slot { output: self.work.at(BYTES - 252), ..fill }, Fault::OutOfRange),
            2 => (Slot { output: self.work.at(2), ..fill }, Fault::Misaligned),
            3 => (Slot { tile_span: 0, ..fill }, Fault::BadArgument),
            4 => (self.word(Operation::AtomicAdd, self.input.at(0)), Fault::AccessDenied),
            _ => (Slot { tiles: 2, ..self.word(Operation::LoadU32, self.input.at(0)) }, Fault::BadArgument),
        };
        (slot, Fate::Fault(fault))
    }
}

#[derive(Default)]
struct Totals {
    published: u64,
    done: u64,
    faulted: u64,
    cancelled: u64,
    refused: u64,
    registered: u64,
    revoked: u64,
    aborts: u64,
    parks: u64,
    quanta: u64,
    lines: u64,
    dropped: u64,
}

/// A tenant's number, and which registration it is: numbers are used again.
#[derive(Clone, Copy, Debug)]
struct Tenant {
    number: u32,
    registration: u64,
    cap: Option<u32>,
}

/// One launch of the kernel, from an empty ring to its end.
struct Epoch<'a> {
    runtime: &'a mut Runtime,
    random: &'a mut Random,
    totals: &'a mut Totals,
    memory: Memory,
    tenants: Vec<Tenant>,
    fates: HashMap<Ticket, (Fate, Tenant)>,
    /// Registrations whose slots may end with an unknown-tenant fault.
    cancelled: HashSet<u64>,
    counter: u32,
}

impl Epoch<'_> {
    fn publish(&mut self) -> Result<(), Failure> {
        let priority = Priority::ALL[self.random.below(5) as usize];
        let count = if self.random.one_in(4) { 1 + self.random.below(16) } else { 1 };
        let tenant = self.tenants[self.random.below(self.tenants.len() as u32) as usize];
        let count = count.min(tenant.cap.unwrap_or(u32::MAX));
        let slots: Vec<(Slot, Fate)> = (0..count).map(|_| self.memory.slot(self.random)).collect();
        let wire: Vec<Slot> = slots.iter().map(|(slot, _)| Slot { tenant: tenant.number, ..*slot }).collect();
        // The same slots again until there is room, so that the seed alone decides what is run.
        let start = Instant::now();
        let tickets = loop {
            match self.runtime.publish_all(priority, &wire) {
                Ok(tickets) => break tickets,
                Err(
                    PublishError::Occupied { .. } | PublishError::Tenant { source: TenantError::OverCap { .. }, .. },
                ) if start.elapsed() < Duration::from_secs(60) => self.totals.refused += 1,
                Err(error) => return Err(error.into()),
            }
            self.reap()?;
            self.runtime.pause(start.elapsed(), Duration::from_millis(1));
        };
        let named = tickets.map(|number| Ticket { priority, number });
        self.fates.extend(named.zip(slots.iter().map(|(_, fate)| (*fate, tenant))));
        Ok(())
    }

    fn take(&mut self, completion: &Completion) -> Result<(), Failure> {
        let (fate, tenant) = self.fates.remove(&completion.ticket).ok_or("a completion of no known ticket")?;
        let found = match completion.status {
            Status::Done => Fault::None,
            Status::Faulted => completion.fault,
        };
        let expected = if let Fate::Fault(fault) = fate { fault } else { Fault::None };
        if found == Fault::UnknownTenant && self.cancelled.contains(&tenant.registration) {
            return Ok(());
        }
        if found != expected {
            return Err(format!("{completion:?} of {tenant:?}: expected {fate:?}").into());
        }
        if let Fate::Added(amount) = fate {
            self.counter = self.counter.wrapping_add(amount);
        }
        Ok(())
    }

    fn reap(&mut self) -> Result<(), Failure> {
        while let Some(completion) = self.runtime.reap()? {
            self.take(&completion)?;
        }
        Ok(())
    }

    fn change_tenants(&mut self) -> Result<(), Failure> {
        if self.tenants.len() > 1 && self.random.one_in(2) {
            let tenant = self.tenants.remove(1 + self.random.below(self.tenants.len() as u32 - 1) as usize);
            let how = if self.random.one_in(2) { Revocation::Cancel } else { Revocation::Complete };
            self.runtime.revoke_tenant(tenant.number, how)?;
            if how == Revocation::Cancel {
                self.cancelled.insert(tenant.registration);
            }
            self.totals.revoked += 1;
            // Its number is free again then, whatever the timing.
            self.runtime.quiesce(tenant.number, Duration::from_secs(60))?;
        }
        let cap = if self.random.one_in(2) { Some(1 + self.random.below(20)) } else { None };
        match self.runtime.register_tenant(TenantConfig { cap, ..TenantConfig::default() }) {
            Ok(number) => {
                self.totals.registered += 1;
                self.tenants.push(Tenant { number, registration: self.totals.registered, cap });
            }
            Err(TenantError::NoneFree { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Runs until as many slots were published; ends with everything complete, or aborted in mid-work.
    fn run(&mut self, slots: u64, abort: bool) -> Result<(), Failure> {
        while self.runtime.tally().published < slots {
            self.publish()?;
            if self.random.one_in(500) {
                self.change_tenants()?;
            }
            if self.random.one_in(20_000) {
                // Long enough for a park.
                self.runtime.drain(Duration::from_secs(60))?;
                std::thread::sleep(Duration::from_millis(10));
            }
            if self.random.one_in(8) {
                self.reap()?;
            }
            if self.random.one_in(64) {
                self.totals.lines += std::iter::from_fn(|| self.runtime.read_log()).count() as u64;
            }
        }
        if abort {
            self.runtime.abort();
        } else {
            self.runtime.drain(Duration::from_secs(120))?;
            self.reap()?;
            let load = self.memory.word(Operation::LoadU32, self.memory.counter.at(0));
            let ticket = self.runtime.publish(Priority::Normal, &load)?;
            let found = self.runtime.wait(ticket, Duration::from_secs(60))?.results[0];
            if found != self.counter {
                return Err(format!("the counter is {found:#x}, the additions make {:#x}", self.counter).into());
            }
            self.runtime.exit(Duration::from_secs(60))?;
        }
        let (tally, quanta) = (self.runtime.tally(), self.runtime.quanta());
        if tally.published != tally.done + tally.faulted + tally.cancelled {
            return Err(format!("published is not done + faulted + cancelled: {tally:?}").into());
        }
        self.totals.published += tally.published;
        self.totals.done += tally.done;
        self.totals.faulted += tally.faulted;
        self.totals.cancelled += tally.cancelled;
        self.totals.parks += quanta.parks;
        self.totals.quanta += quanta.launched;
        self.totals.aborts += u64::from(abort);
        self.totals.lines += std::iter::from_fn(|| self.runtime.read_log()).count() as u64;
        self.totals.dropped += self.runtime.log_dropped();
        Ok(())
    }
}

/// Resident memory of this process in MiB.
fn resident_mib() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    (pages * 4096) >> 20
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let counts = Counts { slots: 320, tenants: 8, ..Counts::default() };
    let park_after = Duration::from_millis(2);
    let options = Options { workers: arguments.workers, park_after, ..Options::new(counts)? };
    let mut runtime = Runtime::open(&arguments.device, &options)?;
    println!("{}, seed {}", runtime.engine(), arguments.seed);
    let mut random = Random(arguments.seed);
    let mut totals = Totals::default();
    let (start, mut early) = (Instant::now(), 0);
    while totals.published < arguments.slots {
        let memory = Memory::new(&mut runtime, &mut random)?;
        let slots = arguments.epoch.min(arguments.slots - totals.published);
        let abort = totals.published + slots < arguments.slots && random.one_in(2);
        let mut epoch = Epoch {
            runtime: &mut runtime,
            random: &mut random,
            totals: &mut totals,
            memory,
            tenants: vec![Tenant { number: 0, registration: 0, cap: None }],
            fates: HashMap::new(),
            cancelled: HashSet::new(),
            counter: 0,
        };
        // The counter's memory is not zeroed.
        let clear = epoch.memory.word(Operation::StoreU32, epoch.memory.counter.at(0));
        let ticket = epoch.runtime.publish(Priority::Normal, &clear)?;
        epoch.runtime.wait(ticket, Duration::from_secs(60))?;
        epoch.run(slots, abort)?;
        let so_far = totals.published;
        eprintln!("{so_far} slots after {:.0} s", start.elapsed().as_secs_f64());
        runtime.relaunch()?;
        if early == 0 || totals.published < arguments.slots / 4 {
            early = resident_mib();
        }
    }
    let messages = runtime.validation_messages();
    let Totals {
        published,
        done,
        faulted,
        cancelled,
        refused,
        registered,
        revoked,
        aborts,
        parks,
        quanta,
        lines,
        dropped,
    } = totals;
    let rate = published as f64 / start.elapsed().as_secs_f64();
    println!("{published} published = {done} done + {faulted} faulted + {cancelled} cancelled; {rate:.0} slots/s");
    println!("{refused} refused, {revoked} of {registered} tenants revoked, {aborts} aborts");
    println!("{parks} parks, {quanta} quanta; {lines} lines printed and read, {dropped} more overwritten");
    println!("memory: {early} MiB after a quarter, {} MiB at the end; {messages} validation messages", resident_mib());
    if messages > 0 || resident_mib() > early + 64 {
        return Err("validation messages, or memory that grew by more than 64 MiB".into());
    }
    Ok(())
}
