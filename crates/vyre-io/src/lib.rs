//! File streams into registered buffers that a GPU may also map.
//!
//! A [`Pool`] cuts a [`Region`](vyre_mem::Region) into blocks. A [`Reader`] fills them from one source after another, in
//! order, with many reads in flight, and hands each out as an owned [`Block`]: while the caller holds it, no read targets it;
//! dropping it returns it to the pool. Two backends do the reading: io_uring with registered buffers and files, and threads
//! with `preadv2` where io_uring is forbidden. Which one is active, and why not the better one, is always reported.
//!
//! The crate knows nothing of Vulkan: its buffers are pages that somebody else may also map, for reading.
//!
//! # Safety
//!
//! Unsafe code is in five files: `uring.rs` and `threads.rs` let the kernel write to pool memory, `pool.rs` lends a block
//! that nobody writes as a slice, `cache.rs` makes a system call that has no wrapper, and `rival.rs` maps a file.

mod backend;
mod cache;
mod error;
mod memlock;
mod plan;
mod pool;
mod reader;
mod rival;
mod source;
mod threads;
mod uring;

pub use backend::{BackendKind, BackendReport};
pub use error::{OpenError, ReadError, ReaderError};
pub use memlock::{MemlockError, memlock_preflight};
pub use pool::{Block, LentBlock, Pool, PoolError};
pub use reader::{BackendChoice, Counters, Filled, Next, ReadSpan, ReadSpans, Reader};
pub use rival::copy_mapped;
pub use source::{IoMode, Source, StreamInfo};
