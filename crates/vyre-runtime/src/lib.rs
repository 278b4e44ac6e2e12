//! One runtime over the resident kernel, on a Vulkan device or on host threads.
//!
//! - [`Runtime`] opens an engine, publishes slots and hands out their completions, and owns the resource table.
//! - [`Client`] is a share of a runtime: many threads publish and wait through clones of it.
//! - [`Runtime::load_program`] loads a VIR0 program, which slots then run.
//! - [`CustomOperations`] are operations of your own, in GLSL, for those who have a compiler.
//! - [`Runtime::dispatch`] runs a [`Mirror`](protocol::mirror::Mirror), host-side copies of the regions, to completion.
//! - [`Staging`] is the way of a file's bytes to the kernel, without a copy by the CPU where the machine allows it.
//! - [`FileHasher`] streams files through both.
//! - [`Trace`] is what happened in a run, for Perfetto.
//! - [`litmus`] tests on the machine at hand what the kernel relies on.
#![forbid(unsafe_code)]

mod client;
mod custom;
mod device;
mod dispatch;
mod engine;
mod error;
mod hash;
mod hot;
pub mod litmus;
mod log;
mod options;
mod passed;
mod program;
mod resource;
mod runtime;
mod staging;
mod trace;
mod tree;
mod wait;

pub use client::{Client, Reserved};
pub use custom::CustomOperations;
pub use device::{DeviceChoice, validation_from_environment};
pub use dispatch::{Dispatch, DispatchError};
pub use engine::{BulkVisibility, EngineInfo, EngineKind, Quanta};
pub use error::{AbortReport, HashError, LossReport, OpenError, ResourceError, StagingError, WaitError};
pub use hash::{FileHash, FileHasher, HashOptions};
pub use hot::ProgramState;
pub use log::{FormatError, LogLine};
pub use options::{HotPolicy, Options, WaitPolicy};
pub use program::{BindError, Bindings, LoadedProgram};
pub use resource::Resource;
pub use runtime::Runtime;
pub use staging::{Staging, StagingTier, TierChoice};
pub use trace::{EngineSpan, ReadEvent, SlotEvent, TileEvent, Trace, TraceClock};
/// The crates of the layers below, so that a client needs only this one.
pub use {vyre_io as io, vyre_mem as mem, vyre_protocol as protocol, vyre_reference as reference, vyre_vk as vk};
