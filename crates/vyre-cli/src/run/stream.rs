//! The program over one block after another: blocks come as in `vyre hash`, and what each leaves in resource 1 is written in order.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use vyre_runtime::io::{Filled, IoMode, Next, Source};
use vyre_runtime::protocol::geometry::Priority;
use vyre_runtime::protocol::operation::Operation;
use vyre_runtime::protocol::resource::{ATOMIC, WRITE};
use vyre_runtime::protocol::ring::{Completion, Ticket};
use vyre_runtime::protocol::slot::Slot;
use vyre_runtime::protocol::vir0::Parts;
use vyre_runtime::{HashOptions, Staging, WaitError};

use super::output::Output;
use super::results::Results;
use super::{Arguments, Job, LOOK, PATIENCE, check, whole_items};
use crate::Failure;

struct Stream<'a, 'b> {
    job: &'a mut Job<'b>,
    staging: Staging,
    results: Kept,
    pending: VecDeque<Pending>,
    output: Output,
    last_progress: Instant,
    /// Bytes of the input that were taken, and blocks.
    bytes: u64,
    blocks: u64,
    /// Results on their way to the output.
    scratch: Vec<u8>,
}

/// Results of blocks.
enum Kept {
    /// A place for each block, and bytes for each item: written in order.
    Each(Vec<Results>, u32),
    /// One place that all blocks work on, and its bytes: written at the end.
    Together(Results, u32),
}

/// A block that the kernel works on.
struct Pending {
    /// The last one ends the block.
    tickets: Range<u64>,
    block: u32,
    first: u64,
    items: u32,
    done: bool,
}

/// Slots of a block: a clearing, the program, a copy, and fences between them.
const MOST_SLOTS: u32 = 5;

/// What reads past the page cache are made of.
const PAGE: u32 = 4096;

/// How an input is cut into blocks.
pub(super) struct Cut {
    /// Items of a block, and their bytes.
    items: u32,
    piece: u32,
    /// Bytes of resource 1 that an item has; 0 if all blocks have it together.
    out_item: u32,
}

impl Cut {
    /// Refuses what no stream can do, before anything is begun.
    pub(super) fn new(arguments: &Arguments, parts: &Parts) -> Result<Cut, Failure> {
        let Arguments { item_bytes, out_item_bytes, out_bytes, .. } = *arguments;
        let access = |index: usize| parts.resources.get(index).copied().unwrap_or(0);
        if access(0) & (WRITE | ATOMIC) != 0 {
            return Err("the program writes resource 0, which a stream only reads; run it without --stream".into());
        }
        if out_bytes.is_some() && access(1) & ATOMIC == 0 {
            return Err("blocks of a stream run at the same time, so a program must change what they have together \
                        atomically: declare resource 1 atomic, or give --out-item-bytes instead of --out-bytes, or run it \
                        without --stream"
                .into());
        }
        let out_item = if out_bytes.is_some() { 0 } else { out_item_bytes.unwrap_or(item_bytes) };
        let HashOptions { block_size, io, .. } = arguments.blocks.options(HashOptions::default());
        let items = block_items(block_size as u32, item_bytes.max(out_item), item_bytes)?;
        let piece = items * item_bytes;
        if io == IoMode::Direct && !piece.is_multiple_of(PAGE) {
            return Err(format!(
                "--io direct is not possible: a block has {items} items, {piece} bytes, which are no whole pages; give a larger \
                 --block-size, or --io auto"
            )
            .into());
        }
        Ok(Cut { items, piece, out_item })
    }
}

/// Items of a block, of which each takes `most` bytes at one of its ends: whole pages of them, if that many fit.
fn block_items(block: u32, most: u32, item: u32) -> Result<u32, Failure> {
    let pages = PAGE >> item.trailing_zeros().min(PAGE.trailing_zeros());
    match block / most {
        0 => {
            Err(format!("an item of {most} bytes does not fit in a block of {block}; give a larger --block-size")
                .into())
        }
        items => Ok(items - if items < pages { 0 } else { items % pages }),
    }
}

/// Runs the job; `false` if it was interrupted, or nobody reads the output any more.
pub(super) fn run(job: &mut Job<'_>, cut: &Cut, output: Output) -> Result<bool, Failure> {
    let Some(path) = &job.arguments.input else { return Ok(true) };
    let HashOptions { block_size, depth, io, tier, backend } = job.arguments.blocks.options(HashOptions::default());
    let mut staging = Staging::new(&mut job.runtime, block_size, depth, tier, backend)?;
    let info = staging.reader.open_cut(&Source::from(path.as_os_str()), io, cut.piece as usize)?;
    if let Some(size) = info.size {
        whole_items(path, size, job.arguments.item_bytes)?;
    }
    let access = job.access(1);
    let results = match job.arguments.out_bytes {
        Some(bytes) => Kept::Together(Results::new(&mut job.runtime, bytes, access)?, bytes),
        None => {
            let bytes = cut.items * cut.out_item;
            let places = (0..staging.blocks()).map(|_| Results::new(&mut job.runtime, bytes, access));
            Kept::Each(places.collect::<Result<_, _>>()?, cut.out_item)
        }
    };
    let (pending, scratch, last_progress) = (VecDeque::new(), Vec::new(), Instant::now());
    let mut stream = Stream { job, staging, results, pending, output, last_progress, bytes: 0, blocks: 0, scratch };
    let ended = stream.begin()? && stream.run(path)?;
    if ended && stream.job.arguments.stats {
        stream.print_stats(&info.to_string());
    }
    Ok(ended && stream.finish()?)
}

impl Stream<'_, '_> {
    fn begin(&mut self) -> Result<bool, Failure> {
        match &self.results {
            Kept::Each(..) => Ok(true),
            Kept::Together(results, _) => Ok(self.job.complete(&results.clear())?.is_some()),
        }
    }

    /// Moves all blocks. If that fails the kernel is stopped, since the blocks go.
    fn run(&mut self, path: &Path) -> Result<bool, Failure> {
        let moved = self.move_blocks(path);
        if !matches!(moved, Ok(true)) {
            self.job.runtime.abort();
        }
        moved
    }

    /// Moves blocks from the reader to the kernel and results to the output until both are through.
    fn move_blocks(&mut self, path: &Path) -> Result<bool, Failure> {
        let mut reading = true;
        let mut idle_since = Instant::now();
        while reading || !self.pending.is_empty() {
            if self.job.interrupted.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let mut moved = false;
            while let Some(completion) = self.job.runtime.reap()? {
                self.note(&completion)?;
                moved = true;
            }
            while self.pending.front().is_some_and(|front| front.done) {
                if !self.hand_out()? {
                    return Ok(false);
                }
                moved = true;
            }
            if reading && self.job.runtime.free(Priority::Normal) >= MOST_SLOTS {
                let wait = if self.pending.is_empty() { LOOK } else { Duration::ZERO };
                match self.staging.reader.next(wait)? {
                    Next::Block(filled) => {
                        self.take(filled, path)?;
                        moved = true;
                    }
                    Next::End => reading = false,
                    Next::Pending | Next::NoBlocks => {}
                }
            }
            if moved {
                idle_since = Instant::now();
            } else if let Some(front) = self.pending.front() {
                self.check_patience(front)?;
                self.job.runtime.pause(idle_since.elapsed(), LOOK);
            }
        }
        Ok(true)
    }

    /// Publishes what a filled block needs.
    fn take(&mut self, filled: Filled, path: &Path) -> Result<(), Failure> {
        let (block, len, item) = (filled.block.index(), filled.block.len() as u32, self.job.arguments.item_bytes);
        // Only the last block may have a part of an item, and a file with a size was checked before.
        whole_items(path, filled.offset + u64::from(len), item)?;
        let (first, items) = (filled.offset / u64::from(item), len / item);
        let input = self.staging.hand_over(&self.job.runtime, filled.block)?;
        let fence = Slot::new(Operation::Fence);
        let slots = match &self.results {
            Kept::Together(results, _) => vec![self.job.slot(input, results.at(), first, items)?],
            Kept::Each(places, _) => {
                let results = &places[block as usize];
                let mut slots = vec![results.clear(), fence, self.job.slot(input, results.at(), first, items)?];
                slots.extend(results.collect().into_iter().flat_map(|copy| [fence, copy]));
                slots
            }
        };
        let tickets = self.job.runtime.publish_all(Priority::Normal, &slots)?;
        if self.pending.is_empty() {
            self.last_progress = Instant::now();
        }
        self.pending.push_back(Pending { tickets, block, first, items, done: false });
        (self.bytes, self.blocks) = (filled.offset + u64::from(len), self.blocks + 1);
        Ok(())
    }

    fn note(&mut self, completion: &Completion) -> Result<(), Failure> {
        self.last_progress = Instant::now();
        let number = completion.ticket.number;
        let Some(pending) = self.pending.iter_mut().find(|pending| pending.tickets.contains(&number)) else {
            return Ok(());
        };
        pending.done |= number == pending.tickets.end - 1;
        let Pending { first, items, .. } = pending;
        let last = *first + u64::from(*items) - 1;
        check(completion).map_err(|error| format!("items {first} to {last}: {error}").into())
    }

    /// Writes the results of the oldest block, and gives the block back.
    fn hand_out(&mut self) -> Result<bool, Failure> {
        let Some(front) = self.pending.pop_front() else { return Ok(true) };
        self.staging.take_back(&self.job.runtime, front.block);
        match &self.results {
            Kept::Together(..) => Ok(true),
            Kept::Each(places, bytes) => {
                self.scratch.clear();
                places[front.block as usize].read((front.items * bytes) as usize, &mut self.scratch)?;
                self.output.write(&self.scratch)
            }
        }
    }

    /// Writes what all blocks have left together, and gives the output its name.
    fn finish(mut self) -> Result<bool, Failure> {
        if let Kept::Together(results, bytes) = &self.results {
            if let Some(copy) = results.collect()
                && self.job.complete(&copy)?.is_none()
            {
                return Ok(false);
            }
            results.read(*bytes as usize, &mut self.scratch)?;
            if !self.output.write(&self.scratch)? {
                return Ok(false);
            }
        }
        self.output.finish()?;
        Ok(true)
    }

    fn check_patience(&self, front: &Pending) -> Result<(), Failure> {
        if self.last_progress.elapsed() < PATIENCE {
            return Ok(());
        }
        let ticket = Ticket { priority: Priority::Normal, number: front.tickets.start };
        let outstanding = self.job.runtime.tally().outstanding();
        Err(WaitError::Timeout { ticket: Some(ticket), timeout: PATIENCE, outstanding }.into())
    }

    fn print_stats(&self, how: &str) {
        let reader = self.staging.reader.counters();
        eprintln!("staging: {}, {} blocks", self.staging.tier(), self.staging.blocks());
        for reason in self.staging.passed_over() {
            eprintln!("staging passed over: {reason}");
        }
        eprintln!("io: {}; {how}", self.staging.reader.backend());
        eprintln!("bytes_read: {} in {} blocks", self.bytes, self.blocks);
        eprintln!("bounce_bytes: {}", reader.bounce_bytes);
    }
}
