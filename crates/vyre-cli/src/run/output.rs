//! Where results go. A file appears under its name when all of it is there, and not before.

use std::fs::{File, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::Failure;

pub(super) enum Output {
    /// Nobody wants them.
    Nowhere,
    Stdout,
    /// A pipe or a device, which cannot be replaced.
    Special(File, PathBuf),
    /// A new file in the folder of the one that it becomes.
    Beside {
        file: NamedTempFile,
        path: PathBuf,
        force: bool,
    },
}

impl Output {
    /// Makes sure that there is a place for the results before any work is done for them.
    pub(super) fn create(path: Option<&Path>, force: bool) -> Result<Output, Failure> {
        let Some(path) = path else { return Ok(Output::Nowhere) };
        if path == "-" {
            return Ok(Output::Stdout);
        }
        match path.metadata() {
            Ok(found) if !found.is_file() => {
                let file = File::options().write(true).open(path).map_err(|error| named(path, &error))?;
                return Ok(Output::Special(file, path.into()));
            }
            Ok(_) if !force => return Err(exists(path)),
            _ => {}
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // As for any new file, the umask takes away from these.
        let file =
            tempfile::Builder::new().prefix(".vyre-").permissions(Permissions::from_mode(0o666)).tempfile_in(folder);
        let file = file.map_err(|error| named(folder, &error))?;
        Ok(Output::Beside { file, path: path.into(), force })
    }

    /// Writes the next bytes; `false` if nobody reads any more.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<bool, Failure> {
        let (written, path): (_, &Path) = match self {
            Output::Nowhere => return Ok(true),
            Output::Stdout => (print(bytes), Path::new("standard output")),
            Output::Special(file, path) => (file.write_all(bytes), path),
            Output::Beside { file, path, .. } => (file.write_all(bytes), path),
        };
        match written {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(named(path, &error)),
        }
    }

    /// Gives the file its name. An output that is dropped instead leaves nothing behind.
    pub(super) fn finish(self) -> Result<(), Failure> {
        let Output::Beside { file, path, force } = self else { return Ok(()) };
        let named_now = if force { file.persist(&path) } else { file.persist_noclobber(&path) };
        match named_now {
            Ok(_) => Ok(()),
            Err(failed) if failed.error.kind() == ErrorKind::AlreadyExists => Err(exists(&path)),
            Err(failed) => Err(named(&path, &failed.error)),
        }
    }
}

fn print(bytes: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

fn exists(path: &Path) -> Failure {
    format!("{} is there already; give another name, or --force", path.display()).into()
}

fn named(path: &Path, error: &std::io::Error) -> Failure {
    format!("{}: {error}", path.display()).into()
}
