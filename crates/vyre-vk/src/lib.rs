//! Vulkan for vyre: choose a device, place memory by the single-writer rule, keep one compute kernel resident.
//!
//! - [`Vulkan`] is the loader and an instance, found at run time: a machine without Vulkan builds and runs.
//! - [`DeviceReport`] says of each device whether it is fit, and what would be chosen on it.
//! - [`Resident`] is one device with the kernel's regions and the *relay*: a chain of bounded quanta, two in flight, that
//!   together look like one kernel that never ends.
//! - [`CustomKernel`] is a kernel with operations of the user's own, from files.
//! - [`Buffer`] is memory that operations may work on.
//!
//! The host's side of the ring is not here: hand [`Resident::ring_memory`] to
//! [`vyre_protocol::ring::Ring`].
//!
//! # Safety
//!
//! Every file that calls Vulkan says why it may in its own header. Nothing in this crate lends mapped memory as a slice.

mod builds;
mod custom;
mod device;
mod echo;
mod error;
mod gpu;
mod handwritten;
mod hot;
mod instance;
mod kernel;
mod memory;
mod parking;
mod plain;
mod quantum;
mod relay;
mod resident;
mod rival;
mod start;
mod subnormal;

pub use builds::{HotBuild, HotError};
pub use custom::{CustomError, CustomKernel};
pub use device::{DeviceKind, DeviceQuirks, DeviceReport, MemoryPlan};
pub use echo::Echo;
pub use error::{DeviceLost, ImportError, LoadError, MemoryError, OpenError, VulkanError};
pub use handwritten::{HandWork, HandWritten};
pub use hot::{HotProgram, MAX_HOT_PROGRAMS, Untranslatable};
pub use instance::Vulkan;
pub use memory::{Buffer, MemoryUse};
pub use plain::{Bulk, Parts, PlainDevice, PlainError, Recorded};
pub use relay::{Quanta, RelaySpan, RelaySpans};
pub use resident::{KernelConfig, Resident, ResidentInfo};
pub use rival::SubmitFence;
pub use start::StartTimes;
