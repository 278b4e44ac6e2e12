//! The local region: words that only the device touches, hence the only ones with read-modify-write.
//!
//! All zero (behind the header) is its valid initial state.
//!
//! | word | content |
//! |---|---|
//! | 0..16 | header |
//! | 16 | poll lease: 0, or 1 + the worker that polls the host |
//! | 17 | tail of the completion ring |
//! | 18 | stamp of the newest snapshot |
//! | 19 | snapshot request that was served last |
//! | 20..28 | mirror of the control region's polled line |
//! | 28..33 | front: wire ticket of each partition's first slot with tiles left |
//! | 33..38 | completed slots of each partition |
//! | 38 | workers resident now |
//! | 39..43 | workers that left quantum `q`, at `q mod 4` |
//! | 43 | 1 once the launch record is written |
//! | 44..52 | counters, in the order of [`Counters`](crate::status::Counters) |
//! | 52..64 | zero |
//! | 64.. | 4 words a slot: tiles (tag << 16, next), done, fault, fault word |
//!
//! A slot's *tag* is the low 16 bits of its ticket's generation. A worker takes a tile by compare-and-swap on the tiles word
//! with the tag of the ticket it means, so one that slept through a lap takes nothing.

use crate::geometry::PARTITIONS;
use crate::header::HEADER_WORDS;

/// Poll lease.
pub const LEASE: u32 = HEADER_WORDS;
/// Tail of the completion ring.
pub const COMPLETION_TAIL: u32 = LEASE + 1;
/// Stamp of the newest snapshot.
pub const SNAPSHOT_STAMP: u32 = COMPLETION_TAIL + 1;
/// Snapshot request served last.
pub const SNAPSHOT_SERVED: u32 = SNAPSHOT_STAMP + 1;
/// Mirror of the polled line.
pub const MIRROR: u32 = SNAPSHOT_SERVED + 1;
/// Fronts.
pub const FRONT: u32 = MIRROR + crate::control::POLLED_WORDS;
/// Completed slots of each partition.
pub const COMPLETED: u32 = FRONT + PARTITIONS as u32;
/// Workers resident now.
pub const RESIDENT: u32 = COMPLETED + PARTITIONS as u32;
/// Workers that left a quantum.
pub const LEFT: u32 = RESIDENT + 1;
/// Quanta whose leaving workers are counted at once; more than are ever in flight.
pub const LEFT_WORDS: u32 = 4;
/// Whether the launch record is written.
pub const LAUNCH_REPORTED: u32 = LEFT + LEFT_WORDS;
/// Counters.
pub const COUNTERS: u32 = LAUNCH_REPORTED + 1;
/// First slot state.
pub const SLOT_STATES: u32 = 64;
/// Bytes between the header and the slot states.
pub const FIXED_BYTES: u32 = (SLOT_STATES - HEADER_WORDS) * crate::WORD_BYTES;
/// Words of a slot state.
pub const SLOT_STATE_WORDS: u32 = 4;
/// Bytes of a slot state.
pub const SLOT_STATE_BYTES: u32 = SLOT_STATE_WORDS * crate::WORD_BYTES;

const _: () = assert!(COUNTERS + 8 <= SLOT_STATES);
