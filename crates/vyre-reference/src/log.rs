//! The debug log: the same functions as `log.glsl`.

use vyre_protocol::debuglog::LOG_TILE;
use vyre_protocol::header::{HEADER_WORDS, RegionKind};
use vyre_protocol::local::LOG_TAIL;
use vyre_protocol::slot::Slot;
use vyre_protocol::stamped::{self, RECORD_BYTES, Record};

use crate::claim::Claim;
use crate::sync::Ordering;
use crate::worker::Worker;

impl Worker<'_> {
    /// Appends a record.
    pub(crate) fn write_log(&self, record: &Record) {
        let position = self.local.add(LOG_TAIL, 1, Ordering::Relaxed);
        let base = HEADER_WORDS + (position & (self.log_records - 1)) * RECORD_BYTES / 4;
        let stamp = stamped::stamp(position, self.log_records);
        stamped::store(self.region(RegionKind::DebugLog), base as usize, stamp, record);
    }

    /// Nanoseconds since the engine's epoch; 0 in a run that is not traced.
    pub(crate) fn clock(&self) -> u64 {
        self.epoch.map_or(0, |epoch| epoch.elapsed().as_nanos() as u64)
    }

    /// Leaves a record of the tile, before the completion of its slot.
    pub(crate) fn trace_tile(&self, claim: Claim, slot: &Slot) {
        let number = claim.tile | slot.operation << 16;
        let origin = (self.id & 0xffff) | slot.tenant << 16;
        let shape = claim.priority | LOG_TILE << 16;
        let [[a, b], [c, d]] = [claim.clock, self.clock()].map(|clock| [clock as u32, (clock >> 32) as u32]);
        self.write_log(&[number, origin, claim.ticket, shape, a, b, c, d]);
    }
}
