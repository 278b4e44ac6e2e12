//! The debug log: a ring of [stamped] records that the device writes: lines of PRINTF, and in a traced run a record of each tile. A
//! new record overwrites the oldest, and a [`LogReader`] that comes too late counts what it missed; it can read at every moment, also
//! while the kernel writes.
//!
//! | data word | line | tile |
//! |---|---|---|
//! | 0 | format: number of a string registered on the host | tile in bits 0..16, operation in bits 16..32 |
//! | 1 | worker in bits 0..16, tenant in bits 16..32 | the same |
//! | 2 | wire ticket | the same |
//! | 3 | partition in bits 0..8, number of arguments in bits 8..16, 0 in bits 16..32 | partition in bits 0..8, zero in
//! bits 8..16, 1 in bits 16..32 |
//! | 4..6 | arguments | device clock when the worker took the tile, low word first; 0 where there is no clock |
//! | 6..8 | arguments | device clock when its last lane was through |
//!
//! A tile's record is written before the completion of its slot.

use crate::decode::DecodeError;
use crate::geometry::Priority;
use crate::header::{HEADER_WORDS, RegionKind};
use crate::stamped::{self, RECORD_BYTES, Record};
use crate::words::SharedWords;

/// Arguments of a record.
pub const LOG_ARGS: usize = 4;

/// Kind of a tile's record; that of a line is 0.
pub const LOG_TILE: u32 = 1;

/// A decoded record of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogEntry {
    /// A slot printed a line.
    Line(LogRecord),
    /// A worker ran a tile.
    Tile(TileRecord),
}

/// What a slot printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRecord {
    /// Number of the format string.
    pub format: u32,
    /// Worker that printed.
    pub worker: u32,
    /// Tenant of the slot that printed.
    pub tenant: u32,
    /// Wire ticket of that slot.
    pub wire_ticket: u32,
    /// Partition of that slot.
    pub priority: Priority,
    /// How many of the arguments count.
    pub arg_count: u32,
    /// Arguments; those that do not count are 0.
    pub args: [u32; LOG_ARGS],
}

/// A tile that a worker ran, or spared because another of its slot had faulted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TileRecord {
    /// Number of the tile in its slot.
    pub tile: u32,
    /// Operation code of the slot.
    pub operation: u32,
    /// Worker that ran it.
    pub worker: u32,
    /// Tenant of the slot.
    pub tenant: u32,
    /// Wire ticket of the slot.
    pub wire_ticket: u32,
    /// Partition of the slot.
    pub priority: Priority,
    /// Device clock when the worker took the tile, and when its last lane was through; zeros where there is no clock.
    pub clock: [u64; 2],
}

impl LogEntry {
    /// Decodes the data words of a record.
    ///
    /// # Errors
    /// [`DecodeError::Field`] if the kind, the partition or the number of arguments is impossible.
    pub fn decode(record: &Record) -> Result<Self, DecodeError> {
        let field = |word: usize, field, expected| DecodeError::Field {
            region: RegionKind::DebugLog,
            offset: 8 * word,
            field,
            expected,
            found: record[word],
        };
        let [first, origin, wire_ticket, shape, args @ ..] = *record;
        let priority = Priority::from_index(shape & 0xff).ok_or(field(3, "partition", "0 to 4"))?;
        let (worker, tenant) = (origin & 0xffff, origin >> 16);
        let arg_count = shape >> 8 & 0xff;
        match shape >> 16 {
            0 if arg_count as usize > LOG_ARGS => Err(field(3, "argument count", "at most 4")),
            0 => match (arg_count as usize..LOG_ARGS).find(|&i| args[i] != 0) {
                Some(i) => Err(field(4 + i, "unused argument", "0")),
                None => {
                    Ok(Self::Line(LogRecord { format: first, worker, tenant, wire_ticket, priority, arg_count, args }))
                }
            },
            LOG_TILE if arg_count != 0 => Err(field(3, "argument count of a tile", "0")),
            LOG_TILE => {
                let clock = [0, 2].map(|word| u64::from(args[word]) | u64::from(args[word + 1]) << 32);
                let (tile, operation) = (first & 0xffff, first >> 16);
                Ok(Self::Tile(TileRecord { tile, operation, worker, tenant, wire_ticket, priority, clock }))
            }
            _ => Err(field(3, "kind", "0 or 1")),
        }
    }

    /// The data words of the record.
    #[must_use]
    pub fn encode(&self) -> Record {
        let origin = |worker: u32, tenant: u32| (worker & 0xffff) | tenant << 16;
        match *self {
            LogEntry::Line(LogRecord { format, worker, tenant, wire_ticket, priority, arg_count, args }) => {
                let [a, b, c, d] = args;
                [format, origin(worker, tenant), wire_ticket, priority.index() as u32 | arg_count << 8, a, b, c, d]
            }
            LogEntry::Tile(TileRecord { tile, operation, worker, tenant, wire_ticket, priority, clock }) => {
                let shape = priority.index() as u32 | LOG_TILE << 16;
                let [[a, b], [c, d]] = clock.map(|clock| [clock as u32, (clock >> 32) as u32]);
                [origin(tile, operation), origin(worker, tenant), wire_ticket, shape, a, b, c, d]
            }
        }
    }
}

/// Where a host is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogReader {
    /// Position of the next record, modulo 2^32.
    next: u32,
    dropped: u64,
}

impl LogReader {
    /// Records that were overwritten before they were read.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes the next record of a log of `records` (a power of two) if it is there in whole.
    ///
    /// # Errors
    /// [`DecodeError`] if the device wrote nonsense; that record is passed over.
    pub fn read(&mut self, log: &impl SharedWords, records: u32) -> Result<Option<LogEntry>, DecodeError> {
        let expected = stamped::stamp(self.next, records);
        let base = (HEADER_WORDS + (self.next & (records - 1)) * RECORD_BYTES / crate::WORD_BYTES) as usize;
        if let Some(record) = stamped::load_unless_overwritten(log, base, expected) {
            self.next = self.next.wrapping_add(1);
            return LogEntry::decode(&record).map(Some);
        }
        let laps = log.load_acquire(base + 1).wrapping_sub(expected);
        if (1..1 << 31).contains(&laps) {
            // A later lap has written here: all before it but the lap's own last `records - 1` is gone.
            let gone = laps.wrapping_mul(records).wrapping_sub(records - 1);
            self.next = self.next.wrapping_add(gone);
            self.dropped += u64::from(gone);
            return self.read(log, records);
        }
        Ok(None)
    }
}
