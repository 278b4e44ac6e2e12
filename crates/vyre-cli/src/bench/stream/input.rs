//! The file that is streamed, what it holds, and the page cache under it.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};
use tempfile::NamedTempFile;

use crate::Failure;
use crate::bench::noise;

/// Smallest file that says anything about streaming.
const LEAST: u64 = 1 << 20;

/// Bytes that are written or read at once while nothing is measured.
const STEP: usize = 1 << 20;

/// What a run finds in the page cache.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cache {
    /// Nothing of the file: it was synchronised and then dropped (POSIX_FADV_DONTNEED).
    Uncached,
    /// All of the file: it was just read.
    Cached,
}

impl Cache {
    pub(super) const ALL: [Cache; 2] = [Cache::Uncached, Cache::Cached];

    pub(super) fn name(self) -> &'static str {
        match self {
            Cache::Uncached => "uncached",
            Cache::Cached => "cached",
        }
    }
}

/// A file and what it holds.
pub(super) struct Input {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) hash: blake3::Hash,
    /// Wrapping sum of its whole words.
    pub(super) sum: u32,
    file: File,
    /// Removes the file at the end, if it was made here.
    _made: Option<NamedTempFile>,
}

impl Input {
    /// Opens the file, or makes one of so many MiB in the temporary folder.
    pub(super) fn open(path: Option<&Path>, mib: u32) -> Result<Input, Failure> {
        let made = if path.is_none() { Some(make(mib)?) } else { None };
        let path = made.as_ref().map(NamedTempFile::path).or(path);
        let path = path.ok_or("no file to read")?.to_owned();
        let named = |error: std::io::Error| format!("{}: {error}", path.display());
        let mut file = File::open(&path).map_err(named)?;
        // Pages that are not yet on the disk cannot be dropped.
        file.sync_all().map_err(named)?;
        let (bytes, hash, sum) = contents(&mut file).map_err(named)?;
        if bytes < LEAST {
            let path = path.display();
            return Err(format!("{path}: {bytes} bytes say nothing about streaming; use {LEAST} or more").into());
        }
        Ok(Input { path, bytes, hash, sum, file, _made: made })
    }

    /// Opens it once more, from its start on.
    pub(super) fn reopen(&self) -> Result<File, Failure> {
        Ok(File::open(&self.path)?)
    }

    /// Puts the page cache into a state.
    pub(super) fn prepare(&self, cache: Cache) -> Result<(), Failure> {
        match cache {
            Cache::Uncached => fadvise(&self.file, 0, None, Advice::DontNeed)?,
            Cache::Cached => {
                let (mut file, mut block) = (self.reopen()?, vec![0; STEP]);
                while file.read(&mut block)? > 0 {}
            }
        }
        Ok(())
    }
}

/// Length, hash and wrapping sum of the whole words of a file.
fn contents(file: &mut File) -> std::io::Result<(u64, blake3::Hash, u32)> {
    let (mut bytes, mut hasher, mut sum) = (0, blake3::Hasher::new(), 0_u32);
    let mut block = vec![0; STEP];
    loop {
        let len = fill(file, &mut block)?;
        if len == 0 {
            return Ok((bytes, hasher.finalize(), sum));
        }
        hasher.update(&block[..len]);
        let words = block[..len].as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
        sum = words.fold(sum, u32::wrapping_add);
        bytes += len as u64;
    }
}

/// Reads until the block is full or the file ends.
fn fill(file: &mut File, block: &mut [u8]) -> std::io::Result<usize> {
    let mut len = 0;
    while len < block.len() {
        match file.read(&mut block[len..])? {
            0 => break,
            bytes => len += bytes,
        }
    }
    Ok(len)
}

fn make(mib: u32) -> Result<NamedTempFile, Failure> {
    let file = tempfile::Builder::new().prefix("vyre-bench-").tempfile()?;
    let mut out = BufWriter::new(file.as_file());
    for part in 0..mib {
        out.write_all(&noise(STEP, part.into()))?;
    }
    out.flush()?;
    drop(out);
    Ok(file)
}
