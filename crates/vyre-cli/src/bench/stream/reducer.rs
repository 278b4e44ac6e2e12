//! A cheap consumer of a stream: the sum of each block, by REDUCE on the resident kernel.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use vyre_runtime::io::{BackendChoice, Filled, IoMode, Next, Source};
use vyre_runtime::protocol::completion::Status;
use vyre_runtime::protocol::geometry::Priority;
use vyre_runtime::protocol::operation::{MAX_TILE_BYTES, Operation, Reduction};
use vyre_runtime::protocol::ring::Ticket;
use vyre_runtime::protocol::slot::Slot;
use vyre_runtime::vk::MemoryUse;
use vyre_runtime::{Resource, Runtime, Staging, TierChoice};

use crate::Failure;

/// Bytes of a tile's result and its stamp.
const RESULT_BYTES: u32 = 8;

/// How long a read is waited for at once, and how long a kernel may take for a block.
const LOOK: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Reducer {
    staging: Staging,
    /// A result for each tile of each block.
    results: Resource,
    tiles: u32,
    /// Stamp of the newest slot's results; never 0.
    stamp: u32,
}

/// A published slot.
struct Pending {
    ticket: Ticket,
    block: u32,
    tiles: u32,
    stamp: u32,
    done: bool,
}

impl Reducer {
    pub(super) fn new(runtime: &mut Runtime, block_size: usize, depth: usize) -> Result<Reducer, Failure> {
        let staging = Staging::new(runtime, block_size, depth, TierChoice::Auto, BackendChoice::Auto)?;
        let tiles = (block_size as u32).div_ceil(MAX_TILE_BYTES);
        let bytes = u64::from(tiles * RESULT_BYTES) * u64::from(staging.blocks());
        let results = runtime.allocate(bytes, MemoryUse::DeviceToHost)?;
        Ok(Reducer { staging, results, tiles, stamp: 0 })
    }

    pub(super) fn release(self, runtime: &mut Runtime) {
        self.staging.release(runtime);
        runtime.release(self.results);
    }

    /// Reads the file into blocks that nobody works on, and gives its bytes: what the reading alone takes.
    pub(super) fn read(&mut self, source: &Source) -> Result<u64, Failure> {
        self.staging.reader.open(source, IoMode::Auto)?;
        let mut bytes = 0;
        loop {
            match self.staging.reader.next(LOOK)? {
                Next::Block(filled) => bytes += filled.block.len() as u64,
                Next::End => return Ok(bytes),
                Next::Pending | Next::NoBlocks => {}
            }
        }
    }

    /// Wrapping sum of the file's whole words.
    pub(super) fn sum(&mut self, runtime: &mut Runtime, source: &Source) -> Result<u32, Failure> {
        self.staging.reader.open(source, IoMode::Auto)?;
        let (mut pending, mut reading, mut sum) = (VecDeque::new(), true, 0_u32);
        let mut idle_since = Instant::now();
        while reading || !pending.is_empty() {
            let before = (pending.len(), reading);
            while let Some(completion) = runtime.reap()? {
                if completion.status == Status::Faulted {
                    return Err(format!("REDUCE faulted: {:?} ({:#x})", completion.fault, completion.fault_word).into());
                }
                let slot = pending.iter_mut().find(|slot: &&mut Pending| slot.ticket == completion.ticket);
                slot.into_iter().for_each(|slot| slot.done = true);
            }
            while let Some(part) = self.take_sum(runtime, &mut pending)? {
                sum = sum.wrapping_add(part);
            }
            if reading {
                let wait = if pending.is_empty() { LOOK } else { Duration::ZERO };
                match self.staging.reader.next(wait)? {
                    Next::Block(filled) => pending.push_back(self.publish(runtime, filled)?),
                    Next::End => reading = false,
                    Next::Pending | Next::NoBlocks => {}
                }
            }
            if before != (pending.len(), reading) {
                idle_since = Instant::now();
            } else if idle_since.elapsed() > PATIENCE {
                return Err("a block was not reduced within 60 s; see `vyre doctor`".into());
            } else if !pending.is_empty() {
                runtime.pause(idle_since.elapsed(), LOOK);
            }
        }
        Ok(sum)
    }

    fn publish(&mut self, runtime: &mut Runtime, filled: Filled) -> Result<Pending, Failure> {
        let (block, len) = (filled.block.index(), filled.block.len() as u32);
        let input = self.staging.hand_over(runtime, filled.block)?;
        self.stamp = self.stamp.checked_add(1).unwrap_or(1);
        let output = self.results.at(block * self.tiles * RESULT_BYTES);
        let slot = Slot { input, output, ..Slot::new(Operation::Reduce) };
        // A last word that is not whole is not summed.
        let slot = slot.tiled(len & !3, MAX_TILE_BYTES, 1).with_args(&[Reduction::Sum.code(), self.stamp])?;
        let ticket = runtime.publish(Priority::Normal, &slot)?;
        Ok(Pending { ticket, block, tiles: slot.tiles, stamp: self.stamp, done: false })
    }

    /// The sum of the oldest block, if it is there; its block is free then.
    fn take_sum(&mut self, runtime: &Runtime, pending: &mut VecDeque<Pending>) -> Result<Option<u32>, Failure> {
        let Some(front) = pending.front().filter(|front| front.done) else { return Ok(None) };
        let first = front.block * self.tiles;
        let mut sum = 0_u32;
        for tile in first..first + front.tiles {
            let part = self.results.read_stamped_word((tile * RESULT_BYTES) as usize, front.stamp)?;
            let Some(part) = part else { return Ok(None) };
            sum = sum.wrapping_add(part);
        }
        self.staging.take_back(runtime, front.block);
        pending.pop_front();
        Ok(Some(sum))
    }
}
