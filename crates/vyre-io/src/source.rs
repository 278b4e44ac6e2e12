//! Opening a source: what it is, and whether to read it past the page cache.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, fstat, open};

use crate::backend::Files;
use crate::cache::cached_fraction;
use crate::error::OpenError;

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A path.
    Path(PathBuf),
    /// Standard input.
    Stdin,
}

impl Source {
    /// The path, or `-`.
    #[must_use]
    pub fn name(&self) -> &Path {
        match self {
            Source::Path(path) => path,
            Source::Stdin => Path::new("-"),
        }
    }
}

impl From<&OsStr> for Source {
    fn from(name: &OsStr) -> Self {
        if name == "-" { Source::Stdin } else { Source::Path(name.into()) }
    }
}

/// Through the page cache, or past it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IoMode {
    /// Asks the page cache: buffered where most of the file is in it, else direct where the file system allows.
    #[default]
    Auto,
    /// `O_DIRECT`, or an error.
    Direct,
    /// Through the page cache.
    Buffered,
}

/// What was opened, and what was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamInfo {
    /// Size when it was opened; `None` where the end is only found by reading.
    pub size: Option<u64>,
    /// Whether it is read past the page cache.
    pub direct: bool,
    /// Why.
    pub reason: String,
}

impl fmt::Display for StreamInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", if self.direct { "direct" } else { "buffered" }, self.reason)
    }
}

/// An opened source.
pub(crate) struct Opened {
    pub(crate) files: Files,
    pub(crate) info: StreamInfo,
    /// Reads name their offset; false for pipes.
    pub(crate) seekable: bool,
}

/// Files up to this size are read through the page cache without asking: asking would cost more than it saves.
const SMALL: u64 = 128 << 10;

/// Fraction in the page cache from which a buffered read is the quicker one.
const MOSTLY: f64 = 0.5;

pub(crate) fn open_source(source: &Source, mode: IoMode) -> Result<Opened, OpenError> {
    let path = source.name();
    let os = |source: io::Error| OpenError::Os { path: path.into(), source };
    let file = match source {
        Source::Stdin => io::stdin().as_fd().try_clone_to_owned().map_err(os)?,
        Source::Path(path) => {
            open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| os(errno.into()))?
        }
    };
    let stat = fstat(&file).map_err(|errno| os(errno.into()))?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind == FileType::Directory {
        return Err(OpenError::Directory { path: path.into() });
    }
    // Files of /proc are regular, of size 0, and yet have bytes; block devices have bytes and no size.
    let size = (kind == FileType::RegularFile && stat.st_size > 0).then_some(stat.st_size as u64);
    let regular = matches!(source, Source::Path(_)) && kind == FileType::RegularFile;
    let (direct, reason) = match (size.filter(|_| regular), mode) {
        (None, _) => (None, "not a file with a size".into()),
        (Some(_), IoMode::Buffered) => (None, "asked for".into()),
        (Some(_), IoMode::Direct) => match open_direct(path, &file) {
            Ok(direct) => (Some(direct), "asked for".into()),
            Err(source) => return Err(OpenError::NoDirect { path: path.into(), source }),
        },
        (Some(size), IoMode::Auto) => decide(path, &file, size),
    };
    let info = StreamInfo { size: size.filter(|_| regular), direct: direct.is_some(), reason };
    let files = Files { buffered: Arc::new(file), direct: direct.map(Arc::new) };
    Ok(Opened { files, info, seekable: regular || kind == FileType::BlockDevice })
}

fn decide(path: &Path, file: &OwnedFd, size: u64) -> (Option<OwnedFd>, String) {
    if size <= SMALL {
        return (None, format!("{size} bytes are few"));
    }
    let (fraction, means) = cached_fraction(file, size);
    let cached = format!("{:.0} % cached by {means}", 100.0 * fraction.min(1.0));
    if fraction >= MOSTLY {
        return (None, cached);
    }
    match open_direct(path, file) {
        Ok(direct) => (Some(direct), cached),
        Err(error) => (None, format!("{cached}, but no O_DIRECT: {error}")),
    }
}

/// Opens the same file again with `O_DIRECT`. A path that leads to another file by now is an error.
fn open_direct(path: &Path, file: &OwnedFd) -> io::Result<OwnedFd> {
    let direct = open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECT, Mode::empty())?;
    let (ours, theirs) = (fstat(file)?, fstat(&direct)?);
    if (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino) {
        Ok(direct)
    } else {
        Err(io::Error::other("the file was replaced while it was opened"))
    }
}
