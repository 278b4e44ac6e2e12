//! An engine of one size, and what is measured on it.

use std::hint::black_box;
use std::time::{Duration, Instant};

use vyre_runtime::protocol::geometry::Priority;
use vyre_runtime::protocol::operation::Operation;
use vyre_runtime::protocol::slot::Slot;
use vyre_runtime::protocol::tenants::{Revocation, TenantConfig, TenantError};
use vyre_runtime::vk::MemoryUse;
use vyre_runtime::{Resource, Runtime};

use crate::Failure;
use crate::bench::latency::{round_trip, warm_up};

/// Slots published at once; every ring takes them.
pub(super) const BURST: usize = 32;

/// Bursts of each turn.
const BURSTS: usize = 10;

/// Time in which the slots of a burst complete; where it is too short, it is doubled.
const SETTLE: Duration = Duration::from_millis(1);

/// Bytes of a resource: a word.
const RESOURCE_BYTES: u32 = 4;

/// A tenant whose slots are counted, and none is refused.
const CAPPED: TenantConfig = TenantConfig { operations: u32::MAX, cap: Some(u32::MAX), rate: None };

/// Calls that are timed together, each too short for the clock.
const CALLS: u32 = 16;

pub(super) struct Side {
    pub(super) runtime: Runtime,
    /// What is published: all in a burst, the last one for a round trip.
    pub(super) slots: [Slot; BURST],
    /// What the slots may name.
    pub(super) resources: Vec<Resource>,
    /// Tenants beside the one that is always there.
    pub(super) tenants: Vec<u32>,
}

impl Side {
    pub(super) fn new(runtime: Runtime, slot: Slot) -> Side {
        Side { runtime, slots: [slot; BURST], resources: Vec::new(), tenants: Vec::new() }
    }

    /// p50 and p99 of round trips, in microseconds.
    pub(super) fn round_trips(&mut self, samples: u32) -> Result<[f64; 2], Failure> {
        let last = &self.slots[BURST - 1..];
        warm_up(&mut self.runtime, last)?;
        let trips = (0..samples).map(|_| round_trip(&mut self.runtime, last));
        let mut trips = trips.collect::<Result<Vec<_>, _>>()?;
        trips.sort();
        Ok([50, 99].map(|percent| microseconds(trips[trips.len() * percent / 100])))
    }

    /// What a slot of a burst costs to publish and, when all have completed, to reap, in microseconds.
    pub(super) fn bursts(&mut self) -> Result<[f64; 2], Failure> {
        let mut costs = [Vec::new(), Vec::new()];
        let mut settle = SETTLE;
        while costs[1].len() < BURSTS {
            let start = Instant::now();
            self.runtime.publish_all(Priority::Normal, &self.slots)?;
            costs[0].push(start.elapsed() / BURST as u32);
            std::thread::sleep(settle);
            let start = Instant::now();
            let mut reaped = 0;
            while self.runtime.reap()?.is_some() {
                reaped += 1;
            }
            if reaped == BURST as u32 {
                costs[1].push(start.elapsed() / reaped);
                continue;
            }
            settle *= 2;
            self.runtime.drain(Duration::from_secs(60))?;
            while self.runtime.reap()?.is_some() {}
        }
        Ok(costs.map(|mut costs| {
            costs.sort();
            microseconds(costs[costs.len() / 2])
        }))
    }

    /// Registers all tenants that there can be, and lets the last ones publish.
    pub(super) fn register_tenants(&mut self) -> Result<(), Failure> {
        self.tenants = vec![0];
        loop {
            match self.runtime.register_tenant(CAPPED) {
                Ok(tenant) => self.tenants.push(tenant),
                Err(TenantError::NoneFree { .. }) => break,
                Err(other) => return Err(other.into()),
            }
        }
        let last = self.tenants.iter().rev().cycle();
        self.slots.iter_mut().rev().zip(last).for_each(|(slot, tenant)| slot.tenant = *tenant);
        Ok(())
    }

    /// What it costs to revoke the last tenant and register another, in microseconds.
    pub(super) fn renew_tenant(&mut self) -> Result<f64, Failure> {
        let last = self.tenants[self.tenants.len() - 1];
        let start = Instant::now();
        for _ in 0..CALLS {
            self.runtime.revoke_tenant(last, Revocation::Cancel)?;
            let next = self.runtime.register_tenant(CAPPED)?;
            debug_assert_eq!(next, last, "the only number that is free");
        }
        Ok(microseconds(start.elapsed()) / f64::from(CALLS))
    }

    /// Registers resources, and lets the slots load from the last.
    pub(super) fn register_resources(&mut self, count: usize) -> Result<(), Failure> {
        for _ in 0..count {
            self.resources.push(self.runtime.allocate(RESOURCE_BYTES.into(), MemoryUse::Local)?);
        }
        if let Some(last) = self.resources.last() {
            self.slots = [Slot { input: last.at(0), length: RESOURCE_BYTES, ..Slot::new(Operation::LoadU32) }; BURST];
        }
        Ok(())
    }

    /// What it costs to register a resource, memory and all, beside those that are there, in microseconds.
    pub(super) fn renew_resources(&mut self) -> Result<f64, Failure> {
        let count = self.resources.len().min(CALLS as usize);
        for _ in 0..count {
            // From the end, so that the last entry is the last to be taken again.
            self.resources.pop().into_iter().for_each(|resource| self.runtime.release(resource));
        }
        let start = Instant::now();
        self.register_resources(count)?;
        Ok(microseconds(start.elapsed()) / count as f64)
    }

    /// What it costs to ask how many slots are free, in microseconds.
    pub(super) fn asking(&self) -> f64 {
        let start = Instant::now();
        for _ in 0..CALLS {
            black_box(self.runtime.free(black_box(Priority::Normal)));
        }
        microseconds(start.elapsed()) / f64::from(CALLS)
    }
}

pub(super) fn microseconds(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}
