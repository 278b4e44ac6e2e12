//! The ring protocol executed by host threads.
//!
//! Two uses: the oracle that every device is tested against, and the engine of machines without a Vulkan device. Its functions
//! stand beside the GLSL that they mirror: `claim.rs` beside `claim.glsl`, `execute.rs` beside `execute.glsl`, `ops.rs`, `packed.rs` and `exec.rs` beside `op_*.glsl`, `arithmetic.rs` beside `vir0_alu.glsl`, `custom.rs` beside `custom.glsl`,
//! `log.rs` beside `log.glsl`, `finish.rs` beside `finish.glsl`, `run.rs` beside `run.glsl`, `worker.rs` beside `resident.comp` and `report.glsl`. Where the kernel spreads work over
//! lanes, a worker here does it in one thread.
#![forbid(unsafe_code)]

mod arithmetic;
mod bell;
mod claim;
mod custom;
mod engine;
mod exec;
mod execute;
mod finish;
mod log;
#[cfg(all(loom, test))]
mod model;
mod ops;
mod packed;
mod run;
mod span;
mod sync;
mod worker;

pub use custom::{CustomFunction, CustomTile, OperandBytes};
pub use engine::{Quanta, Reference, WorkerSpan, WorkerSpans};
pub use execute::Refusal;
pub use ops::{Backing, SharedBytes};
pub use span::Span;
