//! The reader against a backend that fails as told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use vyre_mem::Region;

use super::*;
use crate::backend::Files;

/// Reads from bytes in memory; the n-th read does what the script says.
struct Scripted {
    region: Region,
    block_size: usize,
    data: Vec<u8>,
    script: VecDeque<Script>,
    queue: VecDeque<Request>,
    seen: Arc<Mutex<Vec<Request>>>,
}

#[derive(Clone, Copy)]
enum Script {
    Whole,
    Short(u32),
    Fails(i32),
}

impl Backend for Scripted {
    fn set_files(&mut self, _: &Files) -> io::Result<()> {
        Ok(())
    }
    fn push(&mut self, request: Request) -> io::Result<()> {
        self.seen.lock().unwrap().push(request);
        self.queue.push_back(request);
        Ok(())
    }
    fn next(&mut self, _: Duration) -> io::Result<Option<Ended>> {
        let Some(request) = self.queue.pop_front() else { return Ok(None) };
        let limit = match self.script.pop_front().unwrap_or(Script::Whole) {
            Script::Fails(errno) => return Ok(Some((request.block, Err(io::Error::from_raw_os_error(errno))))),
            Script::Short(bytes) => bytes,
            Script::Whole => u32::MAX,
        };
        let rest = &self.data[request.offset.unwrap() as usize..];
        let bytes = &rest[..rest.len().min(request.len.min(limit) as usize)];
        let at = request.block as usize * self.block_size + request.start as usize;
        self.region.write_bytes(at, bytes).unwrap();
        Ok(Some((request.block, Ok(bytes.len() as u32))))
    }
    fn cancel(&mut self) {}
}

/// Streams a file of `len` bytes through the script; what came out, the counters, and the requests.
fn stream(len: usize, script: &[Script]) -> (Result<Vec<u8>, ReadError>, Counters, Vec<Request>) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let data: Vec<u8> = (0..len).map(|i| (i * 7 + i / 251) as u8).collect();
    std::fs::write(file.path(), &data).unwrap();
    let pool = Pool::new(Region::anonymous(16_384, 4096).unwrap(), 4096).unwrap();
    let seen = Arc::default();
    let backend = Scripted {
        region: pool.region().clone(),
        block_size: 4096,
        data: data.clone(),
        script: script.iter().copied().collect(),
        queue: VecDeque::new(),
        seen: Arc::clone(&seen),
    };
    let report = BackendReport { kind: BackendKind::Threads, reason: None };
    let mut reader = Reader::with_backend(pool, Box::new(backend), report);
    reader.trace();
    reader.open(&Source::Path(file.path().into()), IoMode::Buffered).unwrap();
    let mut out = Vec::new();
    let result = loop {
        match reader.next(Duration::from_secs(1)) {
            Ok(Next::Block(filled)) => {
                assert_eq!(filled.offset, out.len() as u64);
                let start = out.len();
                out.resize(start + filled.block.len(), 0);
                filled.block.read_bytes(0, &mut out[start..]).unwrap();
            }
            Ok(Next::End) => break Ok(()),
            Ok(other) => panic!("{other:?}"),
            Err(error) => break Err(error),
        }
    };
    assert_eq!(reader.pool().free(), 4, "every block is back");
    if result.is_ok() {
        assert!(out == data);
    }
    let requests = seen.lock().unwrap().clone();
    let spans = reader.take_spans().spans;
    assert!(spans.iter().all(|span| span.start <= span.end));
    assert_eq!(spans.iter().filter_map(|span| span.bytes).map(u64::from).sum::<u64>(), reader.counters().bytes_read);
    if result.is_ok() {
        // The scripted backend ends reads in the order of their requests.
        assert!(spans.iter().map(|span| (span.block, span.offset)).eq(requests.iter().map(|r| (r.block, r.offset))));
    }
    assert!(reader.take_spans().spans.is_empty(), "what was taken is gone");
    (result.map(|()| out), reader.counters(), requests)
}

#[test]
fn s10_short_reads_are_continued_and_counted() {
    let (result, counters, _) = stream(10_000, &[Script::Short(1), Script::Whole, Script::Short(1000)]);
    assert!(result.is_ok());
    assert_eq!((counters.short_reads, counters.bytes_read, counters.bytes_buffered), (2, 10_000, 10_000));
}

#[test]
fn interrupted_and_refused_reads_are_repeated_and_counted() {
    let (result, counters, requests) =
        stream(5000, &[Script::Fails(libc::EINTR), Script::Whole, Script::Fails(libc::EAGAIN)]);
    assert!(result.is_ok());
    assert_eq!((counters.retries, counters.reads), (2, 4));
    assert_eq!(requests[0], requests[2], "the same request again");
}

#[test]
fn an_error_ends_the_stream_with_path_offset_and_number_at_every_step() {
    for step in 0..3 {
        let mut script = vec![Script::Whole; step];
        script.push(Script::Fails(libc::EIO));
        let (result, _, _) = stream(10_000, &script);
        match result.unwrap_err() {
            ReadError::Os { offset, source, .. } => {
                assert_eq!((offset, source.raw_os_error()), (4096 * step as u64, Some(libc::EIO)));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_read_of_nothing_before_the_size_is_a_truncated_file() {
    let (result, _, _) = stream(10_000, &[Script::Whole, Script::Short(0)]);
    assert!(matches!(result, Err(ReadError::Truncated { expected: 10_000, found: 4096, .. })));
}

#[test]
fn bounced_bytes_are_what_the_caller_says() {
    let pool = Pool::new(Region::anonymous(4096, 4096).unwrap(), 4096).unwrap();
    let mut reader = Reader::new(pool, BackendChoice::Threads).unwrap();
    reader.add_bounce(5);
    reader.add_bounce(6);
    assert_eq!(reader.counters().bounce_bytes, 11);
}
