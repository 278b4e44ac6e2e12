//! The host's side of the tenants: who may publish what, and how much.
//!
//! The host refuses what a tenant may not do when it is published; the device checks state, operations and resources again when
//! it claims. Counts and limits are the host's alone, which is the only one that publishes.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use crate::control::{Tenant, TenantState, operation_bit};
use crate::slot::Slot;
use crate::words::SharedWords;

/// What a tenant may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantConfig {
    /// What it may run: the [`operation_bit`]s.
    pub operations: u32,
    /// Most slots outstanding at once; `None` = as many as the ring has.
    pub cap: Option<u32>,
    /// Token bucket on published slots; `None` = no limit.
    pub rate: Option<Rate>,
}

/// A token bucket: each slot takes a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Tokens that come a second.
    pub per_second: u32,
    /// Most tokens that wait, which is what there is at first.
    pub burst: u32,
}

impl Default for TenantConfig {
    fn default() -> Self {
        TenantConfig { operations: u32::MAX, cap: None, rate: None }
    }
}

/// What becomes of a revoked tenant's outstanding slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// They run.
    Complete,
    /// Those that no worker has begun fault as of an unknown tenant.
    Cancel,
}

/// A tenant's slots so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TenantUsage {
    /// Published and not finished.
    pub outstanding: u64,
    /// Published.
    pub published: u64,
    /// Done.
    pub done: u64,
    /// Faulted.
    pub faulted: u64,
}

/// Why a tenant is refused. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TenantError {
    /// Nobody is registered under this number.
    #[error("tenant {tenant} is not registered; register it first")]
    Unknown {
        /// The tenant.
        tenant: u32,
    },
    /// The tenant was revoked.
    #[error("tenant {tenant} was revoked; register a new one")]
    Revoked {
        /// The tenant.
        tenant: u32,
    },
    /// The operation is not one of the tenant's.
    #[error("tenant {tenant} may not use operation {operation:#x}; register it with that operation's bit")]
    Denied {
        /// The tenant.
        tenant: u32,
        /// The operation code.
        operation: u32,
    },
    /// The cap is reached.
    #[error("tenant {tenant} has {outstanding} slots outstanding, its cap is {cap}; reap completions first")]
    OverCap {
        /// The tenant.
        tenant: u32,
        /// Its outstanding slots.
        outstanding: u64,
        /// Its cap.
        cap: u32,
    },
    /// The bucket is empty.
    #[error("tenant {tenant} has published faster than its {per_second} slots a second; publish again later")]
    OverRate {
        /// The tenant.
        tenant: u32,
        /// Tokens that come a second.
        per_second: u32,
    },
    /// All numbers are taken, or still have slots outstanding.
    #[error("all {count} tenants are registered; revoke one, or open with more tenants")]
    NoneFree {
        /// Tenants of the geometry.
        count: u32,
    },
    /// A cap, a rate or a burst of 0 lets nothing run.
    #[error("a {what} of 0 lets the tenant publish nothing; leave it out for no limit")]
    Zero {
        /// Which.
        what: &'static str,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    Active,
    Revoked,
}

#[derive(Debug, Clone)]
struct Entry {
    state: State,
    generation: u32,
    config: TenantConfig,
    usage: TenantUsage,
    /// Tokens in the bucket, in billionths, and when they were counted.
    tokens: u64,
    counted: Duration,
}

const TOKEN: u64 = 1_000_000_000;

/// All tenants of a ring. Tenant 0 is there from the start, with every operation and no limit.
#[derive(Debug)]
pub(crate) struct Tenants {
    entries: Vec<Entry>,
    /// Numbers that nobody has, the next one last.
    free: Vec<u32>,
}

impl Tenants {
    pub(crate) fn new(count: u32) -> Self {
        let free = Entry {
            state: State::Free,
            generation: 0,
            config: TenantConfig::default(),
            usage: TenantUsage::default(),
            tokens: 0,
            counted: Duration::ZERO,
        };
        let mut entries = vec![free; count as usize];
        if let Some(first) = entries.first_mut() {
            (first.state, first.generation) = (State::Active, 1);
        }
        Tenants { entries, free: (1..count).rev().collect() }
    }

    pub(crate) fn register(
        &mut self,
        control: &impl SharedWords,
        config: TenantConfig,
        now: Duration,
    ) -> Result<u32, TenantError> {
        let zero = |what, value: Option<u32>| if value == Some(0) { Err(TenantError::Zero { what }) } else { Ok(()) };
        zero("cap", config.cap)?;
        zero("rate", config.rate.map(|rate| rate.per_second))?;
        zero("burst", config.rate.map(|rate| rate.burst))?;
        let count = self.entries.len() as u32;
        let index = self.free.pop().ok_or(TenantError::NoneFree { count })?;
        let entry = &mut self.entries[index as usize];
        let generation = entry.generation.wrapping_add(1);
        let tokens = config.rate.map_or(0, |rate| u64::from(rate.burst) * TOKEN);
        *entry =
            Entry { state: State::Active, generation, config, usage: TenantUsage::default(), tokens, counted: now };
        entry.store(control, index, TenantState::Active);
        Ok(index)
    }

    pub(crate) fn revoke(
        &mut self,
        control: &impl SharedWords,
        tenant: u32,
        how: Revocation,
    ) -> Result<(), TenantError> {
        self.active(tenant)?;
        let entry = &mut self.entries[tenant as usize];
        entry.state = State::Revoked;
        if how == Revocation::Cancel {
            entry.store(control, tenant, TenantState::Revoked);
        }
        self.free_if_quiet(control, tenant);
        Ok(())
    }

    fn active(&self, tenant: u32) -> Result<&Entry, TenantError> {
        let entry = self.entries.get(tenant as usize).ok_or(TenantError::Unknown { tenant })?;
        match entry.state {
            State::Active => Ok(entry),
            State::Revoked => Err(TenantError::Revoked { tenant }),
            State::Free => Err(TenantError::Unknown { tenant }),
        }
    }

    /// Whether the slot's tenant may publish it. `batch` counts the slots of each limited tenant that were admitted to the same batch.
    #[inline]
    pub(crate) fn admit(&self, slot: &Slot, batch: &mut BTreeMap<u32, u64>, now: Duration) -> Result<(), TenantError> {
        let tenant = slot.tenant;
        let entry = self.active(tenant)?;
        let TenantConfig { operations, cap, rate } = entry.config;
        // A tenant that may do all is not asked for each operation of its slots.
        if operations != u32::MAX
            && let Some(operation) = slot.operations().find(|code| operations & operation_bit(*code) == 0)
        {
            return Err(TenantError::Denied { tenant, operation });
        }
        if cap.is_none() && rate.is_none() {
            return Ok(());
        }
        let before = batch.entry(tenant).or_insert(0);
        if let Some(cap) = cap {
            let outstanding = entry.usage.outstanding + *before;
            if outstanding >= u64::from(cap) {
                return Err(TenantError::OverCap { tenant, outstanding, cap });
            }
        }
        if let Some(rate) = rate
            && entry.tokens_at(rate, now) < (*before + 1) * TOKEN
        {
            return Err(TenantError::OverRate { tenant, per_second: rate.per_second });
        }
        *before += 1;
        Ok(())
    }

    /// Counts slots that were admitted together.
    pub(crate) fn published(&mut self, tenant: u32, slots: u64, now: Duration) {
        if let Some(entry) = self.entries.get_mut(tenant as usize) {
            entry.usage.published += slots;
            entry.usage.outstanding += slots;
            if let Some(rate) = entry.config.rate {
                entry.tokens = entry.tokens_at(rate, now).saturating_sub(slots * TOKEN);
                entry.counted = now;
            }
        }
    }

    /// Counts a slot that is outstanding no more: done, faulted, or cancelled with the whole ring.
    #[inline]
    pub(crate) fn finished(&mut self, control: &impl SharedWords, tenant: u32, done: u64, faulted: u64) {
        if let Some(entry) = self.entries.get_mut(tenant as usize) {
            entry.usage.outstanding = entry.usage.outstanding.saturating_sub(1);
            entry.usage.done += done;
            entry.usage.faulted += faulted;
            if entry.state == State::Revoked {
                self.free_if_quiet(control, tenant);
            }
        }
    }

    /// A revoked tenant's number is used again only when nothing of it is outstanding.
    fn free_if_quiet(&mut self, control: &impl SharedWords, tenant: u32) {
        if let Some(entry) = self.entries.get_mut(tenant as usize)
            && entry.state == State::Revoked
            && entry.usage.outstanding == 0
        {
            entry.state = State::Free;
            entry.store(control, tenant, TenantState::Free);
            self.free.push(tenant);
        }
    }

    pub(crate) fn usage(&self, tenant: u32) -> Result<TenantUsage, TenantError> {
        let entry = self.entries.get(tenant as usize).filter(|entry| entry.generation > 0);
        entry.map(|entry| entry.usage).ok_or(TenantError::Unknown { tenant })
    }
}

impl Entry {
    fn tokens_at(&self, rate: Rate, now: Duration) -> u64 {
        let nanoseconds = now.saturating_sub(self.counted).as_nanos().min(u64::MAX.into()) as u64;
        let come = nanoseconds.saturating_mul(rate.per_second.into());
        self.tokens.saturating_add(come).min(u64::from(rate.burst) * TOKEN)
    }

    fn store(&self, control: &impl SharedWords, index: u32, state: TenantState) {
        let TenantConfig { operations, cap, rate } = self.config;
        let (rate, burst) = rate.map_or((0, 0), |rate| (rate.per_second, rate.burst));
        let generation = self.generation;
        Tenant { state, operations, generation, cap: cap.unwrap_or(0), rate, burst }.store(control, index);
    }
}
