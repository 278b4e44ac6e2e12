//! The status region: what the device tells the host about itself.
//!
//! | word | content |
//! |---|---|
//! | 0..16 | header |
//! | 16..32 | stamped record: the [`Counters`]; the stamp counts the snapshots, from 1 |
//! | 32..48 | stamped record: the launch, stamp 1 once a worker has checked the regions |
//! | 48.. | observables |

use crate::decode::{DecodeError, word_at};
use crate::fault::LaunchFault;
use crate::header::{HEADER_WORDS, RegionHeader, RegionKind};
use crate::stamped::{self, RECORD_BYTES, Record};
use crate::words::SharedWords;

/// First word of the counters' record.
pub const COUNTERS: u32 = HEADER_WORDS;
/// First word of the launch record.
pub const LAUNCH: u32 = COUNTERS + RECORD_BYTES / crate::WORD_BYTES;
/// First observable.
pub const OBSERVABLES: u32 = LAUNCH + RECORD_BYTES / crate::WORD_BYTES;
/// Bytes between the header and the observables.
pub const FIXED_BYTES: u32 = 2 * RECORD_BYTES;
/// The one stamp that a launch record carries.
pub const LAUNCH_STAMP: u32 = 1;

/// What the device counted since its local region was cleared. All counters wrap at 2^32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Slots whose last tile was taken.
    pub claimed: u32,
    /// Slots completed, the faulted ones included.
    pub completed: u32,
    /// Slots that faulted.
    pub faulted: u32,
    /// Tiles executed.
    pub tiles: u32,
    /// Turns of the workers' main loop, counted when a worker leaves.
    pub turns: u32,
    /// Those of them that found nothing to do.
    pub idle_turns: u32,
    /// Quanta that all workers have left by themselves. One less than have ended means that a driver cut a loop.
    pub quanta: u32,
    /// Most workers that were resident at once.
    pub resident_peak: u32,
}

impl Counters {
    const fn from_record(record: Record) -> Self {
        let [claimed, completed, faulted, tiles, turns, idle_turns, quanta, resident_peak] = record;
        Counters { claimed, completed, faulted, tiles, turns, idle_turns, quanta, resident_peak }
    }

    /// The counters as a record's data words.
    #[must_use]
    pub const fn to_record(self) -> Record {
        [
            self.claimed,
            self.completed,
            self.faulted,
            self.tiles,
            self.turns,
            self.idle_turns,
            self.quanta,
            self.resident_peak,
        ]
    }

    /// Loads the newest consistent snapshot and its stamp; `None` before the first, or while one is being written.
    pub fn load(status: &impl SharedWords) -> Option<(u32, Counters)> {
        let stamp = status.load_acquire(COUNTERS as usize + 1);
        let record = if stamp == 0 { None } else { stamped::load(status, COUNTERS as usize, stamp) };
        record.map(|record| (stamp, Counters::from_record(record)))
    }
}

/// What the first worker of a launch found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaunchReport {
    /// Why the launch was refused.
    pub fault: LaunchFault,
    /// Number of the region that is wrong.
    pub region: u32,
    /// Lanes of a worker, as the kernel sees them.
    pub lanes: u32,
    /// Workers of the quantum.
    pub workers: u32,
}

impl LaunchReport {
    fn from_record(record: Record) -> Result<Self, DecodeError> {
        let [fault, region, lanes, workers, ..] = record;
        let field = |index: usize, field, expected| DecodeError::Field {
            region: RegionKind::Status,
            offset: LAUNCH as usize * 4 + 8 * index,
            field,
            expected,
            found: record[index],
        };
        let fault = LaunchFault::from_code(fault).ok_or(field(0, "launch fault", "a launch fault code"))?;
        if region >= RegionKind::COUNT as u32 {
            return Err(field(1, "launch fault's region", "0 to 8"));
        }
        if let Some(i) = (4..record.len()).find(|&i| record[i] != 0) {
            return Err(field(i, "reserved", "0"));
        }
        Ok(LaunchReport { fault, region, lanes, workers })
    }

    /// The report as a record's data words.
    #[must_use]
    pub const fn to_record(self) -> Record {
        [self.fault.code(), self.region, self.lanes, self.workers, 0, 0, 0, 0]
    }

    /// Loads the report; `None` until a worker has written it.
    ///
    /// # Errors
    /// [`DecodeError::Field`] if the device wrote a code that does not exist.
    pub fn load(status: &impl SharedWords) -> Result<Option<LaunchReport>, DecodeError> {
        stamped::load(status, LAUNCH as usize, LAUNCH_STAMP).map(Self::from_record).transpose()
    }
}

/// Stamp and counters of the newest snapshot, and what the launch found.
type StatusRecords = (Option<(u32, Counters)>, Option<LaunchReport>);

/// A status region read back from bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Stamp and counters of the newest snapshot; `None` before the first or where it is torn.
    pub counters: Option<(u32, Counters)>,
    /// What the launch found; `None` before the first worker ran.
    pub launch: Option<LaunchReport>,
    /// All observables.
    pub observables: alloc::vec::Vec<u32>,
}

impl Status {
    /// Decodes a whole status region.
    ///
    /// # Errors
    /// [`DecodeError`] names the first field that is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (counters, launch) = Self::decode_records(bytes)?;
        let observables = bytes.chunks_exact(4).skip(OBSERVABLES as usize).map(|word| word_at(word, 0)).collect();
        Ok(Status { counters, launch, observables })
    }

    /// Checks all, and gives what stands before the observables.
    pub(crate) fn decode_records(bytes: &[u8]) -> Result<StatusRecords, DecodeError> {
        RegionHeader::decode(bytes, RegionKind::Status)?;
        let record = |first: u32| {
            let start = first as usize * 4;
            bytes.get(start..start + RECORD_BYTES as usize).and_then(stamped::decode)
        };
        let counters = record(COUNTERS)
            .filter(|(stamp, _)| *stamp != 0)
            .map(|(stamp, record)| (stamp, Counters::from_record(record)));
        let launch = record(LAUNCH).filter(|(stamp, _)| *stamp == LAUNCH_STAMP);
        let launch = launch.map(|(_, record)| LaunchReport::from_record(record)).transpose()?;
        Ok((counters, launch))
    }
}
