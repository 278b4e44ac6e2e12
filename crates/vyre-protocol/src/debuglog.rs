//! The debug log: a ring of [stamped] records that the device writes. A new record overwrites the oldest, and a
//! [`LogReader`] that comes too late counts what it missed; it can read at every moment, also while the kernel writes.
//!
//! | data word | content |
//! |---|---|
//! | 0 | format: number of a string registered on the host |
//! | 1 | worker in bits 0..16, tenant in bits 16..32 |
//! | 2 | wire ticket |
//! | 3 | partition in bits 0..8, number of arguments in bits 8..16, zero above |
//! | 4..8 | arguments |

use crate::decode::DecodeError;
use crate::geometry::Priority;
use crate::header::{HEADER_WORDS, RegionKind};
use crate::stamped::{self, RECORD_BYTES, Record};
use crate::words::SharedWords;

/// Arguments of a record.
pub const LOG_ARGS: usize = 4;

/// A decoded record of the log.
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

impl LogRecord {
    /// Decodes the data words of a record.
    ///
    /// # Errors
    /// [`DecodeError::Field`] if the partition or the number of arguments is impossible.
    pub fn decode(record: &Record) -> Result<Self, DecodeError> {
        let [format, origin, wire_ticket, shape, a, b, c, d] = *record;
        let args = [a, b, c, d];
        let field = |word: usize, field, expected| DecodeError::Field {
            region: RegionKind::DebugLog,
            offset: 8 * word,
            field,
            expected,
            found: record[word],
        };
        let priority = Priority::from_index(shape & 0xff).ok_or(field(3, "partition", "0 to 4"))?;
        let arg_count = shape >> 8;
        if arg_count as usize > LOG_ARGS {
            return Err(field(3, "argument count", "at most 4"));
        }
        if let Some(i) = (arg_count as usize..LOG_ARGS).find(|&i| args[i] != 0) {
            return Err(field(4 + i, "unused argument", "0"));
        }
        let (worker, tenant) = (origin & 0xffff, origin >> 16);
        Ok(LogRecord { format, worker, tenant, wire_ticket, priority, arg_count, args })
    }

    /// The data words of the record.
    #[must_use]
    pub fn encode(&self) -> Record {
        let [a, b, c, d] = self.args;
        let origin = (self.worker & 0xffff) | self.tenant << 16;
        let shape = self.priority.index() as u32 | self.arg_count << 8;
        [self.format, origin, self.wire_ticket, shape, a, b, c, d]
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
    pub fn read(&mut self, log: &impl SharedWords, records: u32) -> Result<Option<LogRecord>, DecodeError> {
        let expected = stamped::stamp(self.next, records);
        let base = (HEADER_WORDS + (self.next & (records - 1)) * RECORD_BYTES / crate::WORD_BYTES) as usize;
        if let Some(record) = stamped::load_unless_overwritten(log, base, expected) {
            self.next = self.next.wrapping_add(1);
            return LogRecord::decode(&record).map(Some);
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
