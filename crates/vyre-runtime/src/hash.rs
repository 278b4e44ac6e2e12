//! Hashing files: blocks to BLAKE3 slots, with back-pressure from completions, and the chaining values to a hash.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use vyre_io::{BackendChoice, Filled, IoMode, Next, ReadSpans, Source, StreamInfo};
use vyre_protocol::completion::Status;
use vyre_protocol::geometry::Priority;
use vyre_protocol::operation::{CHAINING_VALUE_BYTES, CHUNK_BYTES, MAX_TILE_CHUNKS, Operation};
use vyre_protocol::ring::{Completion, Tally, Ticket};
use vyre_protocol::slot::Slot;
use vyre_protocol::stamped::{self, RECORD_BYTES};
use vyre_vk::MemoryUse;

use crate::engine::EngineKind;
use crate::error::{HashError, StagingError, WaitError};
use crate::resource::Resource;
use crate::runtime::Runtime;
use crate::staging::{Staging, TierChoice};
use crate::trace::Trace;
use crate::tree::Tree;

/// How to read the files.
#[derive(Debug, Clone, Copy)]
pub struct HashOptions {
    /// Bytes of a block, a power of two of at least 4096.
    pub block_size: usize,
    /// Blocks.
    pub depth: usize,
    /// Through the page cache or past it.
    pub io: IoMode,
    /// How the kernel gets at the blocks.
    pub tier: TierChoice,
    /// Who reads.
    pub backend: BackendChoice,
}

impl Default for HashOptions {
    fn default() -> Self {
        // Together 4 MiB, within the 8 MiB that Linux lets every process lock.
        HashOptions {
            block_size: 512 << 10,
            depth: 8,
            io: IoMode::Auto,
            tier: TierChoice::Auto,
            backend: BackendChoice::Auto,
        }
    }
}

/// Workers of the reference engine from which on smaller blocks, and more of them, keep all at work.
const MANY_WORKERS: u32 = 8;

impl HashOptions {
    /// What suits the runtime's engine: half as large blocks where many host threads hash them, three times as many, and else the default.
    #[must_use]
    pub fn of(runtime: &Runtime) -> HashOptions {
        let (engine, options) = (runtime.engine(), HashOptions::default());
        if engine.kind == EngineKind::Reference && engine.workers >= MANY_WORKERS {
            // 6 MiB: within the same limit.
            return HashOptions { block_size: 256 << 10, depth: 24, ..options };
        }
        options
    }
}

/// A hashed file.
#[derive(Debug, Clone)]
pub struct FileHash {
    /// BLAKE3 of its bytes.
    pub hash: blake3::Hash,
    /// Bytes.
    pub bytes: u64,
    /// How it was read.
    pub info: StreamInfo,
}

/// Hashes files one after another on a runtime that it has for itself.
pub struct FileHasher {
    runtime: Runtime,
    staging: Staging,
    /// Reads of a staging that a lost device took along.
    lost_reads: u64,
    /// A chaining value for each tile of each block.
    values: Resource,
    options: HashOptions,
    /// Chunks of a tile.
    span: u32,
    /// Stamp of the newest slot's values; never 0.
    stamp: u32,
    /// The ring's tally before the first block: the litmus test of staging has slots, too.
    before: Tally,
    /// Values of the block at hand.
    scratch: Vec<[u8; CHAINING_VALUE_BYTES]>,
}

/// Time without any completion after which a kernel counts as hung.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the thread sleeps in the operating system before it looks at the interrupt flag again.
const LOOK: Duration = Duration::from_millis(50);

/// A published slot.
struct Pending {
    ticket: Ticket,
    block: u32,
    len: u32,
    /// Its one tile gives the hash of the whole, rather than chaining values.
    root: bool,
    /// No later slot works on the block.
    frees: bool,
    /// What its values are stamped with.
    stamp: u32,
    done: bool,
}

/// One file on its way.
struct Job {
    tree: Tree,
    pending: VecDeque<Pending>,
    /// The source has a size, so its last block says that it is the last.
    sized: bool,
    bytes: u64,
    /// The hash, if the first tile is all there is.
    hash: Option<blake3::Hash>,
    last_progress: Instant,
}

impl FileHasher {
    /// Sets up the blocks and the place for the results.
    ///
    /// # Errors
    /// [`StagingError`] says why that is not possible.
    pub fn new(mut runtime: Runtime, options: HashOptions) -> Result<FileHasher, StagingError> {
        let span = MAX_TILE_CHUNKS.min(options.block_size as u32 / CHUNK_BYTES);
        let (staging, values) = Self::stage(&mut runtime, &options, span)?;
        let before = runtime.tally();
        Ok(FileHasher { runtime, staging, lost_reads: 0, values, options, span, stamp: 0, before, scratch: Vec::new() })
    }

    fn stage(runtime: &mut Runtime, options: &HashOptions, span: u32) -> Result<(Staging, Resource), StagingError> {
        let HashOptions { block_size, depth, tier, backend, .. } = *options;
        let mut staging = Staging::new(runtime, block_size, depth, tier, backend)?;
        if runtime.is_traced() {
            staging.reader.trace();
        }
        let tiles = block_size as u64 / u64::from(span * CHUNK_BYTES);
        // One place more than tiles: for the hash of a block that may turn out to be the whole stream.
        let bytes = (tiles + 1) * u64::from(RECORD_BYTES) * u64::from(staging.blocks());
        let values = runtime.allocate(bytes, MemoryUse::DeviceToHost)?;
        Ok((staging, values))
    }

    /// Opens a lost device again, with new blocks on it.
    fn rebuild(&mut self) -> Result<(), HashError> {
        let report = self.runtime.rebuild()?;
        if let Some(lost) = report.lost {
            tracing::warn!("{lost}; it was opened again, and the file is read once more");
        }
        let ReadSpans { spans, dropped } = self.staging.reader.take_spans();
        self.lost_reads += spans.len() as u64 + dropped;
        (self.staging, self.values) = Self::stage(&mut self.runtime, &self.options, self.span)?;
        self.before = self.runtime.tally();
        Ok(())
    }

    /// The runtime.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The runtime, to ask it for a snapshot or to end it.
    pub fn runtime_mut(&mut self) -> &mut Runtime {
        &mut self.runtime
    }

    /// Gives the runtime back, without the blocks.
    #[must_use]
    pub fn into_runtime(mut self) -> Runtime {
        self.staging.release(&mut self.runtime);
        self.runtime.release(self.values);
        self.runtime
    }

    /// What became of the slots that hashed, since the device was opened last.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.runtime.tally().since(&self.before)
    }

    /// The staging path.
    #[must_use]
    pub fn staging(&self) -> &Staging {
        &self.staging
    }

    /// [`Runtime::take_trace`], with the reads.
    pub fn take_trace(&mut self) -> Option<Trace> {
        let mut trace = self.runtime.take_trace()?;
        trace.add_reads(self.staging.reader.take_spans());
        trace.dropped += std::mem::take(&mut self.lost_reads);
        Some(trace)
    }

    /// Hashes a source. `progress` is told the bytes hashed so far and the size, where there is one; raising `interrupted` ends
    /// the call soon. If the device is lost, it is opened again and a file is hashed once more; what was read of a stream is
    /// gone. After an error the next source is hashed as if nothing had happened.
    ///
    /// # Errors
    /// [`HashError`] says what went wrong.
    pub fn hash(
        &mut self,
        source: &Source,
        interrupted: &AtomicBool,
        mut progress: impl FnMut(u64, Option<u64>),
    ) -> Result<FileHash, HashError> {
        let first = self.hash_once(source, interrupted, &mut progress);
        if !matches!(first, Err(HashError::Wait(WaitError::Lost(_)))) {
            return first;
        }
        self.rebuild()?;
        match source {
            Source::Path(_) => self.hash_once(source, interrupted, &mut progress),
            _ => first,
        }
    }

    fn hash_once(
        &mut self,
        source: &Source,
        interrupted: &AtomicBool,
        progress: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<FileHash, HashError> {
        let info = self.staging.reader.open(source, self.options.io)?;
        let mut job = Job {
            tree: Tree::default(),
            pending: VecDeque::new(),
            sized: info.size.is_some(),
            bytes: 0,
            hash: None,
            last_progress: Instant::now(),
        };
        let streamed = self.stream(&mut job, interrupted, &mut |bytes| progress(bytes, info.size));
        if streamed.is_err() {
            self.clean_up(&mut job);
        }
        streamed?;
        let hash = job.tree.root().or(job.hash);
        // Neither several tiles nor one: the source was empty, and no byte ever went to the device.
        let hash = hash.unwrap_or_else(|| blake3::hash(&[]));
        Ok(FileHash { hash, bytes: job.bytes, info })
    }

    /// Moves blocks from the reader to the kernel and its results to the tree until both are through.
    fn stream(
        &mut self,
        job: &mut Job,
        interrupted: &AtomicBool,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), HashError> {
        let mut reading = true;
        let mut idle_since = Instant::now();
        while reading || !job.pending.is_empty() {
            if interrupted.load(Ordering::Relaxed) {
                return Err(HashError::Interrupted);
            }
            let mut moved = false;
            while let Some(completion) = self.runtime.reap()? {
                Self::complete(job, &completion)?;
                moved = true;
            }
            while self.take_values(job)? {
                progress(job.bytes);
                moved = true;
            }
            if reading {
                // With slots outstanding their completions come first; else sleep until a read ends.
                let wait = if job.pending.is_empty() { LOOK } else { Duration::ZERO };
                match self.staging.reader.next(wait)? {
                    Next::Block(filled) => {
                        self.take(job, filled)?;
                        moved = true;
                    }
                    Next::End => reading = false,
                    Next::Pending | Next::NoBlocks => {}
                }
            }
            if moved {
                idle_since = Instant::now();
            } else if !job.pending.is_empty() {
                self.check_patience(job)?;
                self.runtime.pause(idle_since.elapsed(), LOOK);
            }
        }
        Ok(())
    }

    /// Publishes a filled block. A first block of one tile may be the whole; where that is not known yet, the kernel computes
    /// both the hash and the chaining value.
    fn take(&mut self, job: &mut Job, filled: Filled) -> Result<(), HashError> {
        let (block, len) = (filled.block.index(), filled.block.len() as u32);
        let may_be_whole = filled.offset == 0 && len <= self.span * CHUNK_BYTES && (filled.last || !job.sized);
        let is_whole = may_be_whole && job.sized;
        let chunk = filled.offset / u64::from(CHUNK_BYTES);
        let input = self.staging.hand_over(&self.runtime, filled.block)?;
        // A stamp comes again after 2^32 slots; no block waits that long.
        self.stamp = self.stamp.checked_add(1).unwrap_or(1);
        let stamp = self.stamp;
        let args = [chunk as u32, (chunk >> 32) as u32, 0, stamp, 0, 0];
        let output = self.values.at(self.values_offset(block));
        let parts = Slot { input, output, args, ..Slot::new(Operation::Blake3) }.tiled(len, self.span, CHUNK_BYTES);
        let output = self.values.at(self.root_offset(block));
        let root = Slot { output, args: [0, 0, 1, stamp, 0, 0], ..parts };
        let slots = [(true, root, may_be_whole), (false, parts, !is_whole)];
        let slots: Vec<_> = slots.into_iter().filter(|(.., wanted)| *wanted).collect();
        let wire: Vec<_> = slots.iter().map(|(_, slot, _)| *slot).collect();
        let published = self.runtime.publish_all(Priority::Normal, &wire);
        let tickets = published.inspect_err(|_| self.staging.take_back(&self.runtime, block))?;
        if job.pending.is_empty() {
            job.last_progress = Instant::now();
        }
        let last = tickets.end - 1;
        job.pending.extend(tickets.zip(slots).map(|(number, (root, ..))| {
            let ticket = Ticket { priority: Priority::Normal, number };
            Pending { ticket, block, len, root, frees: number == last, stamp, done: false }
        }));
        Ok(())
    }

    /// Offset of a block's chaining values.
    fn values_offset(&self, block: u32) -> u32 {
        self.values.len() / self.staging.blocks() * block
    }

    /// Offset of the place for a hash, behind the chaining values.
    fn root_offset(&self, block: u32) -> u32 {
        self.values_offset(block + 1) - RECORD_BYTES
    }

    /// Takes a completion.
    fn complete(job: &mut Job, completion: &Completion) -> Result<(), HashError> {
        job.last_progress = Instant::now();
        if completion.status == Status::Faulted {
            return Err(HashError::Fault { fault: completion.fault, word: completion.fault_word });
        }
        if let Some(pending) = job.pending.iter_mut().find(|pending| pending.ticket == completion.ticket) {
            pending.done = true;
        }
        Ok(())
    }

    /// Moves the oldest slot's values to the tree; `false` if they are not there yet. Completion and values are stamped each for
    /// itself, so either may come first.
    fn take_values(&mut self, job: &mut Job) -> Result<bool, HashError> {
        let Some(front) = job.pending.front().filter(|front| front.done) else { return Ok(false) };
        let (first, tiles) = match front.root {
            true => (self.root_offset(front.block), 1),
            false => (self.values_offset(front.block), front.len.div_ceil(self.span * CHUNK_BYTES)),
        };
        self.scratch.clear();
        for tile in 0..tiles {
            let Some(record) = self.values.read_stamped((first + tile * RECORD_BYTES) as usize, front.stamp)? else {
                return Ok(false);
            };
            self.scratch.push(stamped::to_bytes(&record));
        }
        match front.root {
            true => job.hash = self.scratch.pop().map(Into::into),
            false => self.scratch.drain(..).for_each(|value| job.tree.push(value)),
        }
        if front.frees {
            job.bytes += u64::from(front.len);
            self.staging.take_back(&self.runtime, front.block);
        }
        job.pending.pop_front();
        Ok(true)
    }

    fn check_patience(&self, job: &Job) -> Result<(), HashError> {
        if job.last_progress.elapsed() < PATIENCE {
            return Ok(());
        }
        let outstanding = self.runtime.tally().outstanding();
        let ticket = job.pending.front().map(|pending| pending.ticket);
        Err(WaitError::Timeout { ticket, timeout: PATIENCE, outstanding }.into())
    }

    /// After an error: waits for the blocks that the kernel still works on, so that the next file finds all of them free. If the
    /// kernel does not answer any more, its blocks stay out of the pool.
    fn clean_up(&mut self, job: &mut Job) {
        if self.runtime.drain(PATIENCE).is_ok() {
            while let Ok(Some(_)) = self.runtime.reap() {}
            for pending in job.pending.drain(..) {
                self.staging.take_back(&self.runtime, pending.block);
            }
        }
    }
}
