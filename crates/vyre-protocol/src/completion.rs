//! A completion: what the device says when a slot is finished. A [stamped](crate::stamped) record.
//!
//! | data word | content |
//! |---|---|
//! | 0 | wire ticket |
//! | 1 | partition in bits 0..8, status in bits 8..16, fault in bits 16..32 |
//! | 2 | fault word: the offending value |
//! | 3 | operation in bits 0..16, tenant in bits 16..32 |
//! | 4, 5 | result words of the tile that finished last |
//! | 6, 7 | low words of the device clock when the finishing worker took its tile and when it completed the slot; 0 and 0
//! where the device has no clock |

use crate::decode::DecodeError;
use crate::fault::{Fault, wire_codes};
use crate::geometry::Priority;
use crate::header::RegionKind;
use crate::stamped::Record;

wire_codes! {
    /// How a slot ended on the device.
    Status: u8 {
        /// It ran.
        Done = 1 => "STATUS_DONE",
        /// It did not run, or not to its end.
        Faulted = 2 => "STATUS_FAULTED",
    }
}

/// A decoded completion whose ticket is still in its wire form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireCompletion {
    /// Ticket modulo the partition's modulus.
    pub wire_ticket: u32,
    /// Partition of the ticket.
    pub priority: Priority,
    /// How it ended.
    pub status: Status,
    /// Why it faulted.
    pub fault: Fault,
    /// Offending value.
    pub fault_word: u32,
    /// Operation code of the slot.
    pub operation: u32,
    /// Tenant of the slot.
    pub tenant: u32,
    /// Result words.
    pub results: [u32; 2],
    /// Device clock at the start and the end.
    pub clock: [u32; 2],
}

impl WireCompletion {
    /// Decodes the data words of a record.
    ///
    /// # Errors
    /// [`DecodeError::Field`] if partition, status or fault are not defined, or contradict each other.
    #[inline]
    pub fn decode(record: &Record) -> Result<Self, DecodeError> {
        let [wire_ticket, state, fault_word, origin, result0, result1, start, end] = *record;
        let field = |field, expected| DecodeError::Field {
            region: RegionKind::Completions,
            offset: 8,
            field,
            expected,
            found: state,
        };
        let priority = Priority::from_index(state & 0xff).ok_or(field("partition", "0 to 4"))?;
        let status = Status::from_code(state >> 8 & 0xff).ok_or(field("status", "DONE or FAULTED"))?;
        let fault = Fault::from_code(state >> 16).ok_or(field("fault", "a fault code"))?;
        if (status == Status::Faulted) != (fault != Fault::None) {
            return Err(field("fault", "a fault code exactly when the status is FAULTED"));
        }
        Ok(WireCompletion {
            wire_ticket,
            priority,
            status,
            fault,
            fault_word,
            operation: origin & 0xffff,
            tenant: origin >> 16,
            results: [result0, result1],
            clock: [start, end],
        })
    }

    /// The data words of the completion.
    #[must_use]
    pub fn encode(&self) -> Record {
        [
            self.wire_ticket,
            self.priority.index() as u32 | self.status.code() << 8 | self.fault.code() << 16,
            self.fault_word,
            (self.operation & 0xffff) | self.tenant << 16,
            self.results[0],
            self.results[1],
            self.clock[0],
            self.clock[1],
        ]
    }
}
