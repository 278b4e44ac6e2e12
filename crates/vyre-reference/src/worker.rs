//! A worker's quantum: the counterpart of `resident.comp` and `report.glsl`.

use std::time::Instant;

use vyre_protocol::ABI_VERSION;
use vyre_protocol::control::{COMMAND, Command, DOORBELLS, LAPS, POLLED_WORDS, PRIORITY_OFFSETS, SNAPSHOT_REQUEST};
use vyre_protocol::fault::LaunchFault;
use vyre_protocol::geometry::{Counts, PARTITIONS, ring_records};
use vyre_protocol::header::{HEADER_BYTES, MAGIC, RegionKind};
use vyre_protocol::launch::{MAX_TILE_FUEL, TURN_FUEL};
use vyre_protocol::local::{
    COMPLETION_TAIL, COUNTERS, HOT, HOT_LEASE, HOT_SNAPSHOT_SERVED, LAUNCH_REPORTED, RESIDENT, SNAPSHOT_STAMP,
};
use vyre_protocol::stamped;
use vyre_protocol::status::{self, LAUNCH, LAUNCH_STAMP, LaunchReport};
use vyre_protocol::words::SharedWords;

use crate::bell::{Bell, Looking};
use crate::claim::Choice;
use crate::custom::CustomFunction;
use crate::engine::{Regions, Resources};
use crate::run::Ran;
use crate::span::Span;
use crate::sync::{Ordering, spin_loop, yield_now};

/// One quantum of one worker.
pub(crate) struct Worker<'a> {
    pub(crate) regions: &'a Regions,
    pub(crate) resources: &'a Resources,
    pub(crate) completed: &'a Bell,
    pub(crate) looking: Looking<'a>,
    /// Operations of the user's own, by their codes.
    pub(crate) custom: &'a [(u32, CustomFunction)],
    pub(crate) local: &'a Span,
    pub(crate) id: u32,
    pub(crate) workers: u32,
    /// What a traced run counts its clock from; `None` in others.
    pub(crate) epoch: Option<Instant>,
    pub(crate) fuel: u32,
    pub(crate) slots: u32,
    pub(crate) tenants: u32,
    pub(crate) observables: u32,
    pub(crate) resource_count: u32,
    pub(crate) log_records: u32,
    /// First slot, length and laps of each partition, read once a quantum.
    pub(crate) partitions: [(u32, u32, u32); PARTITIONS],
    /// The polled line and the line that goes with it, as they were at the end of the last turn.
    pub(crate) polled: [u32; POLLED_WORDS as usize],
    pub(crate) hot: [u32; POLLED_WORDS as usize],
    /// Claims in a row while a lower partition had work.
    pub(crate) above: u32,
    /// Partitions that gave nothing although they have work, since the last success.
    pub(crate) blocked: u32,
    /// Holds the poll lease.
    pub(crate) leased: bool,
    pub(crate) scratch: Vec<u8>,
    /// Slots of the run at hand; empty between two.
    pub(crate) ran: Vec<Ran>,
    /// Turns since the last poll.
    busy: u32,
    turns: u32,
    idle_turns: u32,
    /// Idle turns since the last tile.
    idle_streak: u32,
    tiles: u32,
}

/// Idle turns in a row that spin; those behind them yield.
const SPINS: u32 = 64;

/// Idle turns in a row that end a quantum, so that a thread with nothing to do sleeps soon.
const IDLE_TURNS: u32 = 192;

/// The same while others look for work as well: one is enough, and the processors are for those who publish, read and copy.
const IDLE_TURNS_IN_COMPANY: u32 = 8;

/// A busy worker looks at the host at least this often, for more urgent work and for LEAVE.
const BUSY_TURNS_PER_POLL: u32 = 16;

/// Bytes of a tile that count as one busy turn more.
const BYTES_PER_BUSY_TURN: u32 = 64;

/// Words of a header that carry counts.
const HEADER_COUNTS: usize = 4;

impl<'a> Worker<'a> {
    pub(crate) fn new(
        regions: &'a Regions,
        resources: &'a Resources,
        completed: &'a Bell,
        looking: Looking<'a>,
        id: u32,
        workers: u32,
    ) -> Self {
        let count = |i: usize| regions.get(RegionKind::Control).load(HEADER_COUNTS + i);
        Worker {
            regions,
            resources,
            completed,
            looking,
            custom: &[],
            local: regions.get(RegionKind::Local),
            id,
            workers,
            epoch: None,
            fuel: 0,
            slots: count(0),
            tenants: count(1),
            observables: count(2),
            resource_count: count(3),
            log_records: ring_records(count(4)),
            partitions: std::array::from_fn(|priority| {
                let word = |first: u32, i: usize| regions.get(RegionKind::Control).load(first as usize + i);
                let first = word(PRIORITY_OFFSETS, priority);
                (first, word(PRIORITY_OFFSETS, priority + 1).wrapping_sub(first), word(LAPS, priority))
            }),
            polled: [0; POLLED_WORDS as usize],
            hot: [0; POLLED_WORDS as usize],
            above: 0,
            blocked: 0,
            leased: false,
            scratch: Vec::new(),
            ran: Vec::new(),
            busy: 0,
            turns: 0,
            idle_turns: 0,
            idle_streak: 0,
            tiles: 0,
        }
    }

    pub(crate) fn region(&self, kind: RegionKind) -> &'a Span {
        self.regions.get(kind)
    }

    /// Runs until the fuel is used up or the host says so. Returns whether it ran a tile; `None` if the launch was refused.
    pub(crate) fn run_quantum(&mut self, fuel: u32) -> Option<bool> {
        self.fuel = fuel;
        if !self.check_launch() {
            return None;
        }
        self.enter();
        while self.turn() {}
        self.leave();
        Some(self.tiles > 0)
    }

    /// Enters, takes a few turns, and leaves, as in a quantum.
    #[cfg(all(loom, test))]
    pub(crate) fn run_turns(&mut self, fuel: u32, turns: u32) {
        self.fuel = fuel * turns;
        self.enter();
        for _ in 0..turns {
            self.turn();
        }
        self.leave();
    }

    fn header_fault(&self, kind: RegionKind) -> LaunchFault {
        let region = self.region(kind);
        let counts = std::array::from_fn(|i| self.region(RegionKind::Control).load(HEADER_COUNTS + i));
        let own: [u32; Counts::WORDS] = std::array::from_fn(|i| region.load(HEADER_COUNTS + i));
        let shape = kind.shape();
        let count = counts[shape.count];
        let elements = if shape.rounded { ring_records(count) } else { count };
        let size = HEADER_BYTES + shape.fixed_bytes + elements * shape.element_bytes;
        if region.load(0) != MAGIC {
            LaunchFault::Magic
        } else if region.load(1) != ABI_VERSION {
            LaunchFault::Version
        } else if region.load(2) != kind as u32 {
            LaunchFault::Kind
        } else if region.load(3) != size {
            LaunchFault::Size
        } else if own != counts {
            LaunchFault::Geometry
        } else {
            LaunchFault::None
        }
    }

    fn check_launch(&self) -> bool {
        let faults = RegionKind::ALL.into_iter().map(|kind| (kind, self.header_fault(kind)));
        let fault = faults.into_iter().find(|(_, fault)| *fault != LaunchFault::None);
        let (kind, fault) = fault.unwrap_or((RegionKind::Control, LaunchFault::None));
        if self.local.swap(LAUNCH_REPORTED, 0, 1) {
            let report = LaunchReport { fault, region: kind as u32, lanes: 1, workers: self.workers };
            let status = self.region(RegionKind::Status);
            stamped::store(status, LAUNCH as usize, LAUNCH_STAMP, &report.to_record());
        }
        fault == LaunchFault::None
    }

    fn enter(&mut self) {
        self.look(true);
        let resident = self.local.add(RESIDENT, 1, Ordering::Relaxed) + 1;
        self.local.max(COUNTERS + 7, resident);
    }

    /// One turn, by what was seen at the end of the last; whether there is another.
    fn turn(&mut self) -> bool {
        self.turns += 1;
        if self.leased {
            self.return_lease();
        }
        if self.idle_streak >= self.longest_idle()
            || self.fuel < MAX_TILE_FUEL
            || self.polled[(COMMAND - DOORBELLS) as usize] == Command::Leave.code()
        {
            return false;
        }
        self.fuel -= TURN_FUEL;
        let taken = self.act();
        self.tiles += taken;
        if taken != 0 {
            self.busy += 1;
            self.idle_streak = 0;
        } else {
            self.busy = BUSY_TURNS_PER_POLL;
            self.idle_turns += 1;
            self.idle_streak += 1;
            self.looking.found_nothing();
            // The host that would publish more may need this very processor.
            if self.idle_streak < SPINS { spin_loop() } else { yield_now() }
        }
        if self.busy >= BUSY_TURNS_PER_POLL {
            self.busy = 0;
            self.leased = self.take_lease();
        }
        self.look(self.leased);
        true
    }

    /// Idle turns in a row that end the quantum.
    fn longest_idle(&self) -> u32 {
        if self.looking.has_company() { IDLE_TURNS_IN_COMPANY } else { IDLE_TURNS }
    }

    /// Claims by what the last look has seen, and runs what it gets: a run of scalar slots, or one tile of another slot. Gives how many.
    pub(crate) fn act(&mut self) -> u32 {
        let Some(choice) = self.choose() else { return 0 };
        let mut taken = self.run_scalars(choice);
        if taken == 0 {
            taken = u32::from(self.run_tile(choice));
        }
        self.count_claimed(choice, taken);
        taken
    }

    fn run_tile(&mut self, choice: Choice) -> bool {
        let Some(claim) = self.take_tile(choice.priority) else { return false };
        self.looking.found(|| self.regions.is_published());
        let (slot, result) = self.execute(claim);
        // After a long tile it looks at the host at once: what is more urgent waits for one tile only.
        self.busy += slot.length / claim.tiles / BYTES_PER_BUSY_TURN;
        if self.epoch.is_some() {
            self.trace_tile(claim, &slot);
        }
        self.finish_tile(claim, &slot, result);
        true
    }

    fn return_lease(&mut self) {
        let request = self.polled[(SNAPSHOT_REQUEST - DOORBELLS) as usize];
        let asked = request != self.hot[HOT_SNAPSHOT_SERVED as usize];
        if asked {
            self.local.store((HOT + HOT_SNAPSHOT_SERVED) as usize, request);
        }
        self.leased = false;
        self.local.store_release(HOT + HOT_LEASE, 0);
        if asked {
            self.publish_counters();
        }
    }

    fn leave(&mut self) {
        for (i, count) in [self.tiles, self.turns, self.idle_turns].into_iter().enumerate() {
            self.local.add(COUNTERS + 3 + i as u32, count, Ordering::Relaxed);
        }
        self.local.add(RESIDENT, u32::MAX, Ordering::Relaxed);
        // Threads do not end their quanta together, so each end counts, and the lease keeps snapshots from mixing.
        self.local.add(COUNTERS + 6, 1, Ordering::Relaxed);
        self.look(false);
        if self.take_lease() {
            self.publish_counters();
            self.local.store_release(HOT + HOT_LEASE, 0);
        }
    }

    fn publish_counters(&self) {
        let stamp = self.local.add(SNAPSHOT_STAMP, 1, Ordering::Relaxed) + 1;
        // Read first, so that no snapshot has more completed slots than claimed ones.
        let completed = self.local.load_acquire(COMPLETION_TAIL as usize);
        let mut record = std::array::from_fn(|i| self.local.load(COUNTERS as usize + i));
        record[1] = completed;
        stamped::store(self.region(RegionKind::Status), status::COUNTERS as usize, stamp, &record);
    }
}
