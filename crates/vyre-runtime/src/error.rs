//! Typed errors, one for each operation.

use std::time::Duration;

use vyre_protocol::fault::Fault;
use vyre_protocol::ring::{Completion, PublishError, ReapError, Ticket};
use vyre_protocol::tenants::TenantError;
use vyre_vk::DeviceLost;

/// No engine can be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Vulkan was asked for and cannot be used.
    #[error(transparent)]
    Load(#[from] vyre_vk::LoadError),
    /// Vulkan failed while devices were listed.
    #[error(transparent)]
    Vulkan(#[from] vyre_vk::VulkanError),
    /// No device has this name.
    #[error("no Vulkan device is called '{wanted}'; there are: {devices}")]
    NoSuchName {
        /// The name asked for.
        wanted: String,
        /// What there is.
        devices: String,
    },
    /// Several devices have this name.
    #[error("several Vulkan devices are called '{wanted}': {devices}; give the index")]
    Ambiguous {
        /// The name asked for.
        wanted: String,
        /// The devices that fit.
        devices: String,
    },
    /// The device cannot be opened.
    #[error(transparent)]
    Device(#[from] vyre_vk::OpenError),
    /// The operating system gives no thread for the reference engine.
    #[error("no thread for a worker: {0}; raise the process limit (ulimit -u)")]
    NoThread(std::io::Error),
}

/// A resource cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ResourceError {
    /// The table is full.
    #[error("all {count} entries of the resource table are taken; release some, or open with more resources")]
    TableFull {
        /// Entries of the table.
        count: u32,
    },
    /// The length is 0 or beyond 32 bits.
    #[error("a resource of {bytes} bytes is not possible; allowed are 1 to 4294967292")]
    Size {
        /// Bytes asked for.
        bytes: u64,
    },
    /// The device gives no memory.
    #[error(transparent)]
    Memory(#[from] vyre_vk::MemoryError),
    /// The device does not take these pages.
    #[error(transparent)]
    Import(#[from] vyre_vk::ImportError),
    /// The reference engine takes lent blocks instead.
    #[error("the reference engine maps no pages")]
    NoImport,
    /// The kernel was compiled without EXEC.
    #[error("this kernel runs no programs; open the runtime with `operations: u32::MAX`, or with EXEC among them")]
    NoPrograms,
    /// The host cannot write the memory.
    #[error(transparent)]
    Range(#[from] vyre_mem::RangeError),
}

/// A completion did not come.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// The time is up.
    #[error("{ticket:?} did not complete within {timeout:?}; {outstanding} slots are outstanding")]
    Timeout {
        /// The ticket waited for; the oldest outstanding when all are.
        ticket: Option<Ticket>,
        /// The time given.
        timeout: Duration,
        /// Slots that are outstanding.
        outstanding: u64,
    },
    /// An observable did not become what was waited for.
    #[error("observable {index} was {last:#x} at the last look, after {timeout:?}")]
    Observable {
        /// The observable.
        index: u32,
        /// Its last value.
        last: u32,
        /// The time given.
        timeout: Duration,
    },
    /// There is no such observable.
    #[error("there is no observable {index}, the ring has {count}; open with more")]
    NoObservable {
        /// The index asked for.
        index: u32,
        /// Observables of the geometry.
        count: u32,
    },
    /// The device is gone.
    #[error(transparent)]
    Lost(#[from] DeviceLost),
    /// The tenant is not known.
    #[error(transparent)]
    Tenant(#[from] TenantError),
    /// The device wrote nonsense.
    #[error(transparent)]
    Reap(#[from] ReapError),
}

/// What an abort left undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbortReport {
    /// Tickets that were outstanding: they did not run, or not to their end.
    pub cancelled: Vec<Ticket>,
    /// Why the device was lost, if it was; then the cancelled tickets' effects are unknown.
    pub lost: Option<DeviceLost>,
}

/// What a lost device left behind. The tickets are those of the old ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LossReport {
    /// Why the device was lost; `None` if it was there after all.
    pub lost: Option<DeviceLost>,
    /// Slots that had completed, done or faulted, and were not yet taken.
    pub completed: Vec<Completion>,
    /// Slots that may have run, in part or in whole, or not at all.
    pub unknown: Vec<Ticket>,
}

/// A staging path cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum StagingError {
    /// The demanded tier is not possible here.
    #[error("staging tier '{tier}' is not possible: {reason}")]
    Tier {
        /// Name of the tier.
        tier: &'static str,
        /// Why.
        reason: String,
    },
    /// A litmus test found that the device does not see what the host writes to imported pages while the kernel runs.
    #[error("the device reads stale host pages while the kernel runs ({stale} of {tries} tries)")]
    StalePages {
        /// Tries with a stale input.
        stale: u64,
        /// Tries.
        tries: u64,
    },
    /// That litmus test could not be run.
    #[error(transparent)]
    Litmus(#[from] crate::litmus::LitmusError),
    /// No memory for the blocks.
    #[error(transparent)]
    Map(#[from] vyre_mem::MapError),
    /// The blocks' shape is impossible.
    #[error(transparent)]
    Pool(#[from] vyre_io::PoolError),
    /// No backend reads.
    #[error(transparent)]
    Reader(#[from] vyre_io::ReaderError),
    /// No resource.
    #[error(transparent)]
    Resource(#[from] ResourceError),
}

/// A file could not be hashed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] vyre_io::OpenError),
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] vyre_io::ReadError),
    /// A slot was refused.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// A completion did not come.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// The device was lost and does not open again.
    #[error("the device was lost and does not open again: {0}")]
    Rebuild(#[from] OpenError),
    /// Staging on the device that was opened again is not possible.
    #[error("the device was lost and opened again: {0}")]
    Restage(#[from] StagingError),
    /// The kernel refused a slot.
    #[error("the kernel refused a block: {fault:?} ({word:#x}); this is a defect of vyre, please report it")]
    Fault {
        /// Why.
        fault: Fault,
        /// The offending value.
        word: u32,
    },
    /// A result lies outside its buffer.
    #[error(transparent)]
    Range(#[from] vyre_mem::RangeError),
    /// The caller's flag was raised.
    #[error("interrupted")]
    Interrupted,
}
