//! Typed errors, one for each operation.

use std::io;
use std::path::PathBuf;

/// A reader cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    /// io_uring was demanded and is not to be had.
    #[error("io_uring cannot be used: {reason}")]
    NoUring {
        /// Why.
        reason: String,
    },
    /// The operating system gives no thread.
    #[error("no thread for reading: {0}; raise the process limit (ulimit -u)")]
    NoThread(io::Error),
}

/// A source cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is a directory.
    #[error("{}: is a directory; name the files in it", path.display())]
    Directory {
        /// The source.
        path: PathBuf,
    },
    /// The operating system refuses.
    #[error("{}: {}", path.display(), reason(source))]
    Os {
        /// The source.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Direct reads were demanded, and the file system does not do them.
    #[error("{}: the file system does not allow O_DIRECT ({source}); use --io auto or buffered", path.display())]
    NoDirect {
        /// The source.
        path: PathBuf,
        /// What opening with O_DIRECT said.
        source: io::Error,
    },
}

/// A stream ends before its source does.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A read failed.
    #[error("{}: reading at byte {offset} failed: {}", path.display(), reason(source))]
    Os {
        /// The source.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file became shorter while it was read.
    #[error("{}: was {expected} bytes when opened, and ends at byte {found} now; read it again when nobody writes it", path.display())]
    Truncated {
        /// The source.
        path: PathBuf,
        /// Size when it was opened.
        expected: u64,
        /// Where it ended.
        found: u64,
    },
    /// The backend itself failed.
    #[error("waiting for reads failed: {0}; the machine is out of resources")]
    Backend(io::Error),
}

/// The text of an error without its number, as shells print it.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
