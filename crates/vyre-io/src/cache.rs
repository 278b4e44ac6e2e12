//! How much of a file sits in the page cache.
//!
//! # Safety
//!
//! One raw system call with two structures that live during it.
#![allow(unsafe_code, reason = "cachestat has no wrapper; see the Safety section above")]

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::{Errno, ReadWriteFlags, preadv2};

/// Number of `cachestat` (Linux 6.5), the same on every architecture.
const CACHESTAT: libc::c_long = 451;

#[repr(C)]
struct CachestatRange {
    off: u64,
    len: u64,
}

#[repr(C)]
#[derive(Default)]
struct Cachestat {
    nr_cache: u64,
    nr_dirty: u64,
    nr_writeback: u64,
    nr_evicted: u64,
    nr_recently_evicted: u64,
}

/// The cached fraction of the first `size` bytes, from 0 to 1, and how it was found out.
pub(crate) fn cached_fraction(file: &OwnedFd, size: u64) -> (f64, &'static str) {
    match cachestat(file, size) {
        Some(pages) => (pages as f64 * rustix::param::page_size() as f64 / size as f64, "cachestat"),
        None => (probe(file, size), "RWF_NOWAIT"),
    }
}

fn cachestat(file: &OwnedFd, size: u64) -> Option<u64> {
    let range = CachestatRange { off: 0, len: size };
    let mut stat = Cachestat::default();
    // SAFETY: both structures have the kernel's layout and live until the call returns.
    let result = unsafe { libc::syscall(CACHESTAT, file.as_raw_fd(), &raw const range, &raw mut stat, 0) };
    (result == 0).then_some(stat.nr_cache)
}

/// Places that a probe looks at.
const PROBES: u64 = 16;

/// Tries to read a byte at some places without waiting for the disk.
fn probe(file: &OwnedFd, size: u64) -> f64 {
    let mut byte = [0];
    let hits = (0..PROBES).filter(|i| {
        let offset = (size - 1) / PROBES * i;
        let mut buffer = [IoSliceMut::new(&mut byte)];
        !matches!(
            preadv2(file, &mut buffer, offset, ReadWriteFlags::NOWAIT),
            Ok(0) | Err(Errno::AGAIN | Errno::OPNOTSUPP)
        )
    });
    hits.count() as f64 / PROBES as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_just_written_is_cached_by_both_ways_of_asking() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![1; 1 << 20]).unwrap();
        let file = OwnedFd::from(file);
        assert!(cached_fraction(&file, 1 << 20).0 > 0.9);
        assert!(probe(&file, 1 << 20) > 0.9);
    }
}
