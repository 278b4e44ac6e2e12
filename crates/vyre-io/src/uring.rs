//! io_uring: registered buffers, registered files, fixed reads.
//!
//! # Safety
//!
//! A queued entry names pool memory that the kernel writes later. The memory stays mapped because the backend holds the pool;
//! [`Drop`] cancels and reaps every read before it lets the pool go, and leaks the pool if the kernel does not answer. No entry
//! is pushed twice, and each is built afresh, so that no flag leaks from one request into the next.
#![allow(unsafe_code, reason = "hands memory to the kernel; see the Safety section above")]

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use io_uring::types::{CancelBuilder, Fixed, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode, squeue};

use crate::backend::{Backend, Ended, Files, Request};
use crate::memlock::memlock_preflight;
use crate::pool::Pool;

/// Places in the table of registered files.
const BUFFERED: u32 = 0;
const DIRECT: u32 = 1;

pub(crate) struct Uring {
    ring: IoUring,
    pool: Pool,
    /// The kernel writes through the registration, not through these; they only keep the descriptors open.
    files: Option<Files>,
    in_flight: u32,
    ended: VecDeque<Ended>,
}

impl Uring {
    /// Sets a ring up and registers the pool with it. The error says why that is not possible, and what would help.
    pub(crate) fn new(pool: &Pool) -> Result<Uring, String> {
        let entries = pool.blocks().next_power_of_two().clamp(8, 4096);
        let ring = IoUring::builder().setup_clamp().build(entries).map_err(|error| match error.raw_os_error() {
            Some(libc::EPERM) => "io_uring is forbidden here (seccomp or kernel.io_uring_disabled)".to_owned(),
            Some(libc::ENOSYS) => "this kernel has no io_uring, or seccomp hides it".to_owned(),
            _ => format!("setting io_uring up failed: {error}"),
        })?;
        if !ring.params().is_feature_ext_arg() {
            return Err("io_uring of this kernel has no timed wait; Linux 5.11 or later has".into());
        }
        let buffers: Vec<libc::iovec> = (0..pool.blocks() as usize)
            .map(|index| libc::iovec {
                iov_base: pool.region().as_ptr().wrapping_add(index * pool.block_size()).cast(),
                iov_len: pool.block_size(),
            })
            .collect();
        // SAFETY: the ranges lie inside the pool's region, which outlives the registration since `Uring` holds the pool.
        unsafe { ring.submitter().register_buffers(&buffers) }.map_err(|error| match error.raw_os_error() {
            Some(libc::ENOMEM) => match memlock_preflight(pool.region().len() as u64) {
                Err(error) => error.to_string(),
                Ok(()) => "registering buffers failed: the kernel is out of memory".into(),
            },
            _ => format!("registering buffers failed: {error}"),
        })?;
        ring.submitter().register_files(&[-1, -1]).map_err(|error| format!("registering files failed: {error}"))?;
        Ok(Uring { ring, pool: pool.clone(), files: None, in_flight: 0, ended: VecDeque::new() })
    }

    fn entry(&self, request: Request) -> squeue::Entry {
        let at = request.block as usize * self.pool.block_size() + request.start as usize;
        let room = self.pool.block_size() as u32 - request.start;
        let file = Fixed(if request.direct { DIRECT } else { BUFFERED });
        let pointer = self.pool.region().as_ptr().wrapping_add(at);
        opcode::ReadFixed::new(file, pointer, request.len.min(room), request.block as u16)
            // An offset of all ones reads where the descriptor stands, which is how pipes are read.
            .offset(request.offset.unwrap_or(u64::MAX))
            .build()
            .user_data(u64::from(request.block))
    }

    fn reap(&mut self) {
        for completion in self.ring.completion() {
            let result = completion.result();
            let outcome = if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(result as u32) };
            self.in_flight -= 1;
            self.ended.push_back((completion.user_data() as u32, outcome));
        }
    }
}

impl Backend for Uring {
    fn set_files(&mut self, files: &Files) -> io::Result<()> {
        let direct = files.direct.as_ref().map_or(-1, |file| file.as_raw_fd());
        self.ring.submitter().register_files_update(BUFFERED, &[files.buffered.as_raw_fd(), direct])?;
        self.files = Some(files.clone());
        Ok(())
    }

    fn push(&mut self, request: Request) -> io::Result<()> {
        // The page cache is copied from by the thread that submits, which is too slow for several workers: one read is that thread's,
        // the ones beside it are the operating system's workers'. A file of one block has no read beside it and wakes nobody.
        let beside = self.in_flight > 0 && !request.direct && request.offset.is_some();
        let flags = if beside { squeue::Flags::ASYNC } else { squeue::Flags::empty() };
        let entry = self.entry(request).flags(flags);
        // SAFETY: the entry names `len` bytes of a block that is in no `Block`, inside the registered buffer; the memory outlives
        // the read (see the header).
        let pushed = unsafe { self.ring.submission().push(&entry) };
        // The queue has at least as many entries as there are blocks, and a block has one read at a time.
        pushed.map_err(|_| io::Error::other("the submission queue is full"))?;
        self.in_flight += 1;
        Ok(())
    }

    fn next(&mut self, wait: Duration) -> io::Result<Option<Ended>> {
        self.reap();
        let queued = !self.ring.submission().is_empty();
        let must_wait = self.ended.is_empty() && self.in_flight > 0 && !wait.is_zero();
        if must_wait {
            let time = Timespec::new().sec(wait.as_secs()).nsec(wait.subsec_nanos());
            match self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&time)) {
                Ok(_) => {}
                // The time is up, a signal came, or completions must be reaped first: look, and let the caller decide.
                Err(error)
                    if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)) => {
                }
                Err(error) => return Err(error),
            }
            self.reap();
        } else if queued {
            self.ring.submit()?;
            self.reap();
        }
        Ok(self.ended.pop_front())
    }

    fn cancel(&mut self) {
        // Kernels before 6.0 have no synchronous cancel; reads of files end by themselves.
        if self.in_flight > 0 {
            let _ = self.ring.submit();
            let _ = self.ring.submitter().register_sync_cancel(None, CancelBuilder::any());
        }
    }
}

/// Time to wait for cancelled reads before the pool is leaked.
const PATIENCE: Duration = Duration::from_secs(10);

impl Drop for Uring {
    fn drop(&mut self) {
        self.cancel();
        let start = Instant::now();
        while self.in_flight > 0 && start.elapsed() < PATIENCE {
            if self.next(Duration::from_millis(100)).is_err() {
                break;
            }
            self.ended.clear();
        }
        if self.in_flight > 0 {
            tracing::error!(
                "{} reads did not end; their memory is leaked so that they may still write it",
                self.in_flight
            );
            std::mem::forget(self.pool.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vyre_mem::Region;

    /// A predecessor's defect: flags of one request leaked into the next.
    #[test]
    fn each_request_is_built_afresh() {
        let pool = Pool::new(Region::anonymous(65_536, 4096).unwrap(), 4096).unwrap();
        let uring = Uring::new(&pool).unwrap();
        let request = Request { block: 3, start: 16, len: 100, offset: Some(8192), direct: true };
        let plain = Request { block: 4, start: 0, len: 4096, offset: None, direct: false };
        let first = format!("{:?}", uring.entry(plain));
        let _between = uring.entry(request);
        assert_eq!(format!("{:?}", uring.entry(plain)), first);
    }
}
