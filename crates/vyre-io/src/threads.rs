//! Tier 4: threads that read, where io_uring is forbidden.
//!
//! # Safety
//!
//! Each request's memory is a block that is in no `Block`; the threads hold the pool, so it stays mapped even if a read of a pipe
//! never returns and its thread outlives the backend.
#![allow(unsafe_code, reason = "hands memory to the kernel; see the Safety section above")]

use std::io;
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::backend::{Backend, Ended, Files, Request};
use crate::error::ReaderError;
use crate::pool::Pool;

/// Threads: enough to keep a disk busy, few enough for a small machine.
const THREADS: usize = 4;

pub(crate) struct Threads {
    work: Sender<(Request, Files)>,
    ended: Receiver<Ended>,
    files: Option<Files>,
}

impl Threads {
    pub(crate) fn new(pool: &Pool) -> Result<Threads, ReaderError> {
        let (work, requests) = channel::<(Request, Files)>();
        let (results, ended) = channel();
        let requests = Arc::new(Mutex::new(requests));
        for id in 0..THREADS {
            let (requests, results, pool) = (Arc::clone(&requests), results.clone(), pool.clone());
            let serve = move || {
                loop {
                    let next = requests.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((request, files)) = next else { return };
                    if results.send((request.block, read(&pool, request, &files))).is_err() {
                        return;
                    }
                }
            };
            let thread = std::thread::Builder::new().name(format!("vyre-read-{id}"));
            thread.spawn(serve).map_err(ReaderError::NoThread)?;
        }
        Ok(Threads { work, ended, files: None })
    }
}

fn read(pool: &Pool, request: Request, files: &Files) -> io::Result<u32> {
    let file = match &files.direct {
        Some(direct) if request.direct => direct,
        _ => &files.buffered,
    };
    let at = request.block as usize * pool.block_size() + request.start as usize;
    let room = pool.block_size() - request.start as usize;
    let vector = libc::iovec {
        iov_base: pool.region().as_ptr().wrapping_add(at).cast(),
        iov_len: room.min(request.len as usize),
    };
    // An offset of -1 reads where the descriptor stands.
    let offset = request.offset.map_or(-1, |offset| offset as libc::off_t);
    // SAFETY: the vector names part of a block of the pool that is in no `Block`; `pool` keeps it mapped during the call.
    let count = unsafe { libc::preadv2(file.as_raw_fd(), &raw const vector, 1, offset, 0) };
    if count < 0 { Err(io::Error::last_os_error()) } else { Ok(count as u32) }
}

impl Backend for Threads {
    fn set_files(&mut self, files: &Files) -> io::Result<()> {
        self.files = Some(files.clone());
        Ok(())
    }

    fn push(&mut self, request: Request) -> io::Result<()> {
        let files = self.files.clone().ok_or_else(|| io::Error::other("no file was opened"))?;
        self.work.send((request, files)).map_err(|_| io::Error::other("the reading threads are gone"))
    }

    fn next(&mut self, wait: Duration) -> io::Result<Option<Ended>> {
        match self.ended.recv_timeout(wait) {
            Ok(ended) => Ok(Some(ended)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the reading threads are gone")),
        }
    }

    /// A blocking read cannot be cancelled from outside; it ends with its data, or with its writer.
    fn cancel(&mut self) {}
}
