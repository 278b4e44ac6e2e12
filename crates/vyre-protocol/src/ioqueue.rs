//! The IO queue: the kernel asks for data, the host answers.
//!
//! A request is a [stamped](crate::stamped) record that the device writes:
//!
//! | data word | content |
//! |---|---|
//! | 0 | capability: number of a file that the host opened for the tenant; never a file descriptor |
//! | 1, 2 | offset in the file, low and high word |
//! | 3 | length in bytes, at least 1 |
//! | 4, 5 | destination: handle, byte offset |
//! | 6 | wire ticket of the waiting slot |
//! | 7 | partition in bits 0..8, zero in 8..16, tenant in bits 16..32 |
//!
//! A response is 16 bytes that the host writes at the request's place, the stamp last:
//!
//! | word | content |
//! |---|---|
//! | 0 | stamp of the request it answers |
//! | 1 | errno, 0 for success |
//! | 2 | bytes delivered; fewer than asked for only at the end of the file |
//! | 3 | zero |

use crate::decode::{DecodeError, word_at};
use crate::geometry::Priority;
use crate::header::{HEADER_WORDS, RegionKind};
use crate::slot::Operand;
use crate::stamped::Record;
use crate::words::SharedWords;

/// Bytes of a response.
pub const RESPONSE_BYTES: u32 = 16;

/// A decoded request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IoRequest {
    /// File capability.
    pub capability: u32,
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// Bytes to read.
    pub length: u32,
    /// Where they go.
    pub destination: Operand,
    /// Slot that waits.
    pub wire_ticket: u32,
    /// Partition of that slot.
    pub priority: Priority,
    /// Tenant of that slot.
    pub tenant: u32,
}

impl IoRequest {
    /// Decodes the data words of a request. What it asks for is an allegation; whether the tenant may have it, the host
    /// checks afterwards.
    ///
    /// # Errors
    /// [`DecodeError::Field`] if the length is 0 or the partition impossible.
    pub fn decode(record: &Record) -> Result<Self, DecodeError> {
        let [capability, low, high, length, handle, offset, wire_ticket, origin] = *record;
        let field = |word: usize, field, expected| DecodeError::Field {
            region: RegionKind::IoRequests,
            offset: 8 * word,
            field,
            expected,
            found: record[word],
        };
        if length == 0 {
            return Err(field(3, "length", "at least 1 byte"));
        }
        let priority = Priority::from_index(origin & 0xffff).ok_or(field(7, "partition", "0 to 4"))?;
        Ok(IoRequest {
            capability,
            offset: u64::from(low) | u64::from(high) << 32,
            length,
            destination: Operand { handle, offset },
            wire_ticket,
            priority,
            tenant: origin >> 16,
        })
    }

    /// The data words of the request.
    #[must_use]
    pub fn encode(&self) -> Record {
        [
            self.capability,
            self.offset as u32,
            (self.offset >> 32) as u32,
            self.length,
            self.destination.handle,
            self.destination.offset,
            self.wire_ticket,
            self.priority.index() as u32 | self.tenant << 16,
        ]
    }
}

/// The host's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IoResponse {
    /// Stamp of the request.
    pub stamp: u32,
    /// Error number, 0 for success.
    pub errno: u32,
    /// Bytes delivered.
    pub bytes: u32,
}

impl IoResponse {
    /// Largest error number that Linux gives (`MAX_ERRNO` of its `err.h`).
    pub const MAX_ERRNO: u32 = 4095;

    /// Writes the answer at place `index`, its stamp last.
    pub fn store(&self, responses: &impl SharedWords, index: u32) {
        let base = (HEADER_WORDS + index * RESPONSE_BYTES / crate::WORD_BYTES) as usize;
        responses.store(base + 1, self.errno);
        responses.store(base + 2, self.bytes);
        responses.publish_fence();
        responses.store(base, self.stamp);
        responses.publish_fence();
    }

    /// Decodes 16 bytes.
    ///
    /// # Errors
    /// [`DecodeError`] if the size is wrong, the error number impossible, an error comes with bytes, or word 3 is not 0.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let region = RegionKind::IoResponses;
        if bytes.len() != RESPONSE_BYTES as usize {
            return Err(DecodeError::Size { region, expected: RESPONSE_BYTES as usize, found: bytes.len() });
        }
        let [stamp, errno, delivered, reserved] = core::array::from_fn(|i| word_at(bytes, i));
        let field = |word: usize, field, expected, found| DecodeError::Field {
            region,
            offset: 4 * word,
            field,
            expected,
            found,
        };
        if errno > Self::MAX_ERRNO {
            return Err(field(1, "errno", "at most 4095", errno));
        }
        if errno != 0 && delivered != 0 {
            return Err(field(2, "bytes", "0 beside an error", delivered));
        }
        if reserved != 0 {
            return Err(field(3, "reserved", "0", reserved));
        }
        Ok(IoResponse { stamp, errno, bytes: delivered })
    }
}
