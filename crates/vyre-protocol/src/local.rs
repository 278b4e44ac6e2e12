//! The local region: words that only the device touches, hence the only ones with read-modify-write.
//!
//! All zero (behind the header) is its valid initial state.
//!
//! | word | content |
//! |---|---|
//! | 0..16 | header |
//! | 16..24 | *hot line*, which a look reads together with the polled line, word by word: |
//! | 16..21 | fronts: wire ticket of each partition's first slot with tiles left |
//! | 21 | poll lease: 0, or 1 + the worker that polls the host |
//! | 22 | snapshot request that was served last |
//! | 23 | zero |
//! | 24..32 | mirror of the control region's polled line |
//! | 32 | tail of the completion ring: how many slots were completed |
//! | 33 | stamp of the newest snapshot |
//! | 34..39 | completed slots of each partition |
//! | 39 | workers resident now |
//! | 40..44 | workers that left quantum `q`, at `q mod 4` |
//! | 44 | 1 once the launch record is written |
//! | 45..53 | counters, in the order of [`Counters`](crate::status::Counters); of the completed ones the tail tells |
//! | 53 | tail of the debug log: how many records were printed |
//! | 54..64 | zero |
//! | 64..4160 | a line of 16 words for each group of workers that are woken together: how often they were, and zeros |
//! | 4160.. | 5 words a slot: phase (tag << 16, [`PHASE_FREE`] and so on), done, fault, fault word, counter; all but the first only for slots of many tiles |
//!
//! A slot's *tag* is the low 16 bits of its ticket's generation. A worker takes a slot, or its first tile, by compare-and-swap on the
//! phase word with the tag of the ticket it means, so one that slept through a lap takes nothing.
//!
//! The further tiles of a slot of many are counted: a worker takes 1 from the counter, and what it finds there tells which tile is its own,
//! if one was left. However many workers come at once, each has its tile after one step, where all but one would fail in a
//! compare-and-swap. The counter's upper bits are those of the generation that it counts for. A worker that slept through a lap has counted
//! in another slot: if a tile was left there, it runs that. Nobody else will, and the slot cannot end before. The counter counts down, so
//! that it alone says whether a tile was left: the slot beside it may be another one by then.

use crate::control::{COMMAND, DOORBELLS, POLLED_WORDS, SNAPSHOT_REQUEST};
use crate::geometry::PARTITIONS;
use crate::header::HEADER_WORDS;

/// Hot line: what a look reads of the local region.
pub const HOT: u32 = HEADER_WORDS;
/// Word of the poll lease in the hot line; the fronts lie before it.
pub const HOT_LEASE: u32 = PARTITIONS as u32;
/// Word of the snapshot request that was served last in the hot line: where the polled line has the request.
pub const HOT_SNAPSHOT_SERVED: u32 = HOT_LEASE + 1;
/// Mirror of the polled line.
pub const MIRROR: u32 = HOT + POLLED_WORDS;
/// Tail of the completion ring.
pub const COMPLETION_TAIL: u32 = MIRROR + POLLED_WORDS;
/// Stamp of the newest snapshot.
pub const SNAPSHOT_STAMP: u32 = COMPLETION_TAIL + 1;
/// Completed slots of each partition.
pub const COMPLETED: u32 = SNAPSHOT_STAMP + 1;
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
/// Tail of the debug log.
pub const LOG_TAIL: u32 = COUNTERS + crate::stamped::DATA_WORDS as u32;
/// First of the words that wake paused workers, one a line: worker `w` waits for the word of group `w % WAKE_GROUPS` to change. Only a hint.
pub const WAKE: u32 = 64;
/// Groups of workers that are woken together.
pub const WAKE_GROUPS: u32 = 256;
/// Words between two of them, so that those who wait are spread over the memory.
pub const WAKE_STRIDE: u32 = 16;
/// First slot state.
pub const SLOT_STATES: u32 = WAKE + WAKE_GROUPS * WAKE_STRIDE;
/// Bytes between the header and the slot states.
pub const FIXED_BYTES: u32 = (SLOT_STATES - HEADER_WORDS) * crate::WORD_BYTES;
/// Words of a slot state.
pub const SLOT_STATE_WORDS: u32 = 5;
/// Word of a slot state: tag << 16 | phase.
pub const STATE_PHASE: u32 = 0;
/// Tiles that have ended.
pub const STATE_DONE: u32 = 1;
/// Fault of the first tile that faulted.
pub const STATE_FAULT: u32 = 2;
/// Its offending word.
pub const STATE_FAULT_WORD: u32 = 3;
/// Generation << [`TILE_COUNT_BITS`] | [`NO_TILES_LEFT`] + tiles left. Who comes too late counts on below that.
pub const STATE_COUNTER: u32 = 4;
/// Nobody has taken anything of the slot.
pub const PHASE_FREE: u32 = 0;
/// It was taken; of a slot of many tiles, the first one, by a worker that is about to open the counter.
pub const PHASE_TAKEN: u32 = 1;
/// The counter counts for this generation.
pub const PHASE_OPEN: u32 = 2;
/// Bits of the counter that count.
pub const TILE_COUNT_BITS: u32 = 20;
/// What they are when no tile is left, at most: as far from the most tiles above as from more workers than come too late below.
pub const NO_TILES_LEFT: u32 = 1 << (TILE_COUNT_BITS - 1);
/// Bytes of a slot state.
pub const SLOT_STATE_BYTES: u32 = SLOT_STATE_WORDS * crate::WORD_BYTES;

const _: () = assert!(NO_TILES_LEFT + crate::slot::MAX_TILES < 1 << TILE_COUNT_BITS);
// One lane reads the command and the lease, one the request and what was served.
const _: () = assert!(HOT_LEASE == COMMAND - DOORBELLS && HOT_SNAPSHOT_SERVED == SNAPSHOT_REQUEST - DOORBELLS);
const _: () = assert!(LOG_TAIL < WAKE);
