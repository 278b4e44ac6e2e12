//! What a backend does: reads into blocks of the pool, any number in flight, completions in any order.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// How reads are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendKind {
    /// io_uring with registered buffers and files.
    IoUring,
    /// Threads with `preadv2` (tier 4).
    Threads,
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BackendKind::IoUring => "io_uring",
            BackendKind::Threads => "threads",
        })
    }
}

/// The active backend, and why it is not the better one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendReport {
    /// Active backend.
    pub kind: BackendKind,
    /// Why io_uring is not used; `None` where it is.
    pub reason: Option<String>,
}

impl fmt::Display for BackendReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Some(reason) => write!(f, "{} ({reason})", self.kind),
            None => write!(f, "{}", self.kind),
        }
    }
}

/// The open descriptors of a source.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    /// Reads through the page cache, or from a pipe.
    pub(crate) buffered: Arc<OwnedFd>,
    /// Reads past the page cache.
    pub(crate) direct: Option<Arc<OwnedFd>>,
}

/// One read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    /// Block that it fills.
    pub(crate) block: u32,
    /// Where in the block it begins to write.
    pub(crate) start: u32,
    /// Most bytes.
    pub(crate) len: u32,
    /// Offset in the file; `None` reads where the descriptor stands.
    pub(crate) offset: Option<u64>,
    /// Past the page cache.
    pub(crate) direct: bool,
}

/// A read that has ended: its block, and bytes or error.
pub(crate) type Ended = (u32, io::Result<u32>);

/// A way to read. At most one request targets a block at a time.
pub(crate) trait Backend: Send {
    /// Makes the descriptors known. No read may be in flight.
    fn set_files(&mut self, files: &Files) -> io::Result<()>;

    /// Queues a read.
    fn push(&mut self, request: Request) -> io::Result<()>;

    /// Starts queued reads, waits for at most `wait` until one has ended, and gives one that has.
    fn next(&mut self, wait: Duration) -> io::Result<Option<Ended>>;

    /// Asks all reads in flight to end soon; they still come out of [`next`](Self::next).
    fn cancel(&mut self);
}
