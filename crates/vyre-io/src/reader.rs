//! The reader: one source after another, through one backend, into one pool.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::backend::{Backend, BackendKind, BackendReport, Ended, Request};
use crate::error::{OpenError, ReadError, ReaderError};
use crate::plan::{DIRECT_ALIGN, Plan, Shape, Step};
use crate::pool::{Block, Pool};
use crate::source::{IoMode, Source, StreamInfo, open_source};
use crate::threads::Threads;
use crate::uring::Uring;

/// Which backend to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BackendChoice {
    /// io_uring, or threads where it cannot be had.
    #[default]
    Auto,
    /// io_uring, or an error.
    IoUring,
    /// Threads.
    Threads,
}

/// What a reader has done since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Sources opened.
    pub files: u64,
    /// Reads submitted.
    pub reads: u64,
    /// Bytes delivered by reads.
    pub bytes_read: u64,
    /// Of these, bytes that went past the page cache.
    pub bytes_direct: u64,
    /// Of these, bytes that came through the page cache, or from a pipe.
    pub bytes_buffered: u64,
    /// Bytes that the CPU copied once more because the device cannot see the pool; told by [`Reader::add_bounce`].
    pub bounce_bytes: u64,
    /// Reads that delivered less than was asked for, without being the end.
    pub short_reads: u64,
    /// Reads repeated after EINTR, EAGAIN or a refused O_DIRECT.
    pub retries: u64,
}

/// A read that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadSpan {
    /// Which of the sources that the reader opened, from 1.
    pub file: u64,
    /// The block that it filled.
    pub block: u32,
    /// Offset in the file; `None` for pipes.
    pub offset: Option<u64>,
    /// Bytes asked for.
    pub len: u32,
    /// Bytes delivered; `None` if it failed.
    pub bytes: Option<u32>,
    /// Past the page cache.
    pub direct: bool,
    /// When it was submitted.
    pub start: Instant,
    /// When the reader saw that it had ended.
    pub end: Instant,
}

/// Reads that nobody has taken yet, in the order of their ends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadSpans {
    /// The first ones, up to 65,536.
    pub spans: Vec<ReadSpan>,
    /// How many came behind them.
    pub dropped: u64,
}

/// Most spans that wait to be taken.
const MOST_SPANS: usize = 1 << 16;

/// A filled block of the current stream.
#[derive(Debug)]
pub struct Filled {
    /// The block; `block.len()` bytes of it are valid: all that a block gets, except in the last one.
    pub block: Block,
    /// Offset of its first byte in the stream.
    pub offset: u64,
    /// Whether the stream ends with it. A stream without size may end with no block that says so.
    pub last: bool,
}

/// What comes next.
#[derive(Debug)]
pub enum Next {
    /// A filled block, in order.
    Block(Filled),
    /// Nothing is ready yet; reads are in flight.
    Pending,
    /// All blocks are held by the caller; drop one first.
    NoBlocks,
    /// The stream is over.
    End,
}

/// Streams sources into the blocks of a pool.
pub struct Reader {
    pool: Pool,
    backend: Box<dyn Backend>,
    report: BackendReport,
    counters: Counters,
    stream: Option<Stream>,
    /// Requests in flight, by block.
    in_flight: Vec<Option<Request>>,
    /// Where reads are traced: the spans, and when the requests in flight were submitted.
    trace: Option<(ReadSpans, Vec<Instant>)>,
}

struct Stream {
    path: PathBuf,
    plan: Plan,
    size: Option<u64>,
}

impl Reader {
    /// A reader over a pool.
    ///
    /// # Errors
    /// [`ReaderError`] if the demanded backend cannot be had, or no backend at all.
    pub fn new(pool: Pool, choice: BackendChoice) -> Result<Reader, ReaderError> {
        let uring = match choice {
            BackendChoice::Threads => Err("threads were asked for".to_owned()),
            BackendChoice::Auto | BackendChoice::IoUring => Uring::new(&pool),
        };
        let (backend, report): (Box<dyn Backend>, _) = match uring {
            Ok(uring) => (Box::new(uring), BackendReport { kind: BackendKind::IoUring, reason: None }),
            Err(reason) if choice == BackendChoice::IoUring => return Err(ReaderError::NoUring { reason }),
            Err(reason) => {
                let report = BackendReport { kind: BackendKind::Threads, reason: Some(reason) };
                (Box::new(Threads::new(&pool)?), report)
            }
        };
        Ok(Self::with_backend(pool, backend, report))
    }

    fn with_backend(pool: Pool, backend: Box<dyn Backend>, report: BackendReport) -> Reader {
        let in_flight = vec![None; pool.blocks() as usize];
        Reader { pool, backend, report, counters: Counters::default(), stream: None, in_flight, trace: None }
    }

    /// The pool.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The active backend.
    #[must_use]
    pub fn backend(&self) -> &BackendReport {
        &self.report
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Counts bytes that the caller copied because the device cannot see the pool.
    pub fn add_bounce(&mut self, bytes: u64) {
        self.counters.bounce_bytes += bytes;
    }

    /// Keeps the spans of all further reads.
    pub fn trace(&mut self) {
        self.trace = Some((ReadSpans::default(), vec![Instant::now(); self.in_flight.len()]));
    }

    /// Takes the spans since they were taken last; none before [`trace`](Self::trace).
    pub fn take_spans(&mut self) -> ReadSpans {
        self.trace.as_mut().map_or_else(ReadSpans::default, |(spans, _)| std::mem::take(spans))
    }

    /// Opens a source and makes it the current stream. One that was not read to its end is abandoned.
    ///
    /// A file's size when it is opened is what is read of it: growth is ignored, shrinking is an error. A source without a size
    /// (pipe, device, file of /proc) is read until its end.
    ///
    /// # Errors
    /// [`OpenError`] says why; there is no current stream then.
    pub fn open(&mut self, source: &Source, mode: IoMode) -> Result<StreamInfo, OpenError> {
        self.open_cut(source, mode, self.pool.block_size())
    }

    /// [`open`](Self::open), for a stream of items that a block's size is no multiple of: each block gets `piece` bytes, at most its
    /// size. Unless that is a multiple of 4096, [`IoMode::Auto`] goes through the page cache.
    ///
    /// # Errors
    /// [`OpenError`] says why; there is no current stream then.
    pub fn open_cut(&mut self, source: &Source, mode: IoMode, piece: usize) -> Result<StreamInfo, OpenError> {
        self.abandon();
        let piece = piece.clamp(1, self.pool.block_size()) as u32;
        let whole_pages = piece.is_multiple_of(DIRECT_ALIGN);
        let mode = if whole_pages || mode != IoMode::Auto { mode } else { IoMode::Buffered };
        let path = source.name().to_path_buf();
        let opened = open_source(source, mode)?;
        let os = |source| OpenError::Os { path: path.clone(), source };
        self.backend.set_files(&opened.files).map_err(os)?;
        self.counters.files += 1;
        let info = opened.info;
        let shape = Shape { size: info.size, seekable: opened.seekable, direct: info.direct, block_size: piece };
        self.stream = Some(Stream { path, plan: Plan::new(shape), size: info.size });
        Ok(info)
    }

    /// Gives the next block of the current stream; waits for at most `wait` until it is read. Reads may end out of order, so others
    /// may come before it.
    ///
    /// # Errors
    /// [`ReadError`] ends the stream; the reader can open the next source.
    pub fn next(&mut self, wait: Duration) -> Result<Next, ReadError> {
        let result = self.advance(wait);
        if result.is_err() {
            self.abandon();
        }
        result
    }

    fn advance(&mut self, wait: Duration) -> Result<Next, ReadError> {
        let until = if wait.is_zero() { None } else { Instant::now().checked_add(wait) };
        loop {
            self.begin_reads()?;
            let pool = self.pool.clone();
            let Some(stream) = &mut self.stream else { return Ok(Next::End) };
            match stream.plan.ready() {
                Some(Ok(ready)) => {
                    let block = pool.check_out(ready.block, ready.len as usize);
                    return Ok(Next::Block(Filled { block, offset: ready.offset, last: ready.last }));
                }
                Some(Err(empty)) => {
                    pool.put_back(empty);
                    continue;
                }
                None if stream.plan.is_over() => {
                    self.stream = None;
                    return Ok(Next::End);
                }
                None => {}
            }
            if self.in_flight.iter().all(Option::is_none) {
                return Ok(Next::NoBlocks);
            }
            // A time too long to be added to the clock is no limit; what is left of it is the whole.
            let left = until.map_or(wait, |until| until.saturating_duration_since(Instant::now()));
            let Some(ended) = self.backend.next(left).map_err(ReadError::Backend)? else { return Ok(Next::Pending) };
            self.take(ended)?;
        }
    }

    /// Begins as many blocks as the plan wants and the pool has.
    fn begin_reads(&mut self) -> Result<(), ReadError> {
        while let Some(stream) = self.stream.as_mut().filter(|stream| stream.plan.wants_block()) {
            let Some(block) = self.pool.take() else { break };
            let request = stream.plan.begin(block);
            self.push(request)?;
        }
        Ok(())
    }

    fn push(&mut self, request: Request) -> Result<(), ReadError> {
        self.backend.push(request).map_err(ReadError::Backend)?;
        self.counters.reads += 1;
        self.in_flight[request.block as usize] = Some(request);
        if let Some((_, submitted)) = &mut self.trace {
            submitted[request.block as usize] = Instant::now();
        }
        Ok(())
    }

    /// Takes an ended read of the current stream.
    fn take(&mut self, (block, outcome): Ended) -> Result<(), ReadError> {
        let request = self.in_flight[block as usize].take();
        self.note_span(request, outcome.as_ref().ok().copied());
        let Some((stream, request)) = self.stream.as_mut().zip(request) else { return Ok(()) };
        let bytes = match outcome {
            Ok(bytes) => bytes,
            Err(error) => {
                let retry = match error.kind() {
                    io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => Some(request),
                    io::ErrorKind::InvalidInput if request.direct => stream.plan.again(block, false),
                    _ => None,
                };
                let offset = stream.plan.position(block);
                let failed = ReadError::Os { path: stream.path.clone(), offset, source: error };
                self.counters.retries += 1;
                return self.push(retry.ok_or(failed)?);
            }
        };
        self.counters.bytes_read += u64::from(bytes);
        let way = if request.direct { &mut self.counters.bytes_direct } else { &mut self.counters.bytes_buffered };
        *way += u64::from(bytes);
        match stream.plan.read(block, bytes) {
            Step::Filled => Ok(()),
            Step::Again(rest) => {
                self.counters.short_reads += 1;
                self.push(rest)
            }
            Step::Truncated(found) => {
                let expected = stream.size.unwrap_or(found);
                Err(ReadError::Truncated { path: stream.path.clone(), expected, found })
            }
        }
    }

    /// Keeps the span of a read that ends now.
    fn note_span(&mut self, request: Option<Request>, bytes: Option<u32>) {
        let Some(((spans, submitted), request)) = self.trace.as_mut().zip(request) else { return };
        if spans.spans.len() >= MOST_SPANS {
            spans.dropped += 1;
            return;
        }
        let Request { block, offset, len, direct, .. } = request;
        let (start, end) = (submitted[block as usize], Instant::now());
        let file = self.counters.files;
        spans.spans.push(ReadSpan { file, block, offset, len, bytes, direct, start, end });
    }

    /// Drops the current stream: reads in flight are cancelled and waited for, their blocks return to the pool.
    fn abandon(&mut self) {
        let Some(mut stream) = self.stream.take() else { return };
        self.backend.cancel();
        let start = Instant::now();
        while self.in_flight.iter().any(Option::is_some) && start.elapsed() < PATIENCE {
            match self.backend.next(Duration::from_millis(100)) {
                Ok(Some((block, _))) => self.in_flight[block as usize] = None,
                Ok(None) => {}
                Err(_) => break,
            }
        }
        for block in stream.plan.abandon() {
            // A block whose read does not end is lost to the pool rather than given to somebody while it may be written.
            if self.in_flight[block as usize].is_none() {
                self.pool.put_back(block);
            }
        }
    }
}

/// Time to wait for cancelled reads.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
