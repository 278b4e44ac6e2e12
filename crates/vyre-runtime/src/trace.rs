//! What happened in a run, on the host's time: slots, their tiles on each worker, quanta, parks and reads.
//!
//! [`Options::trace_events`](crate::Options::trace_events) turns it on, [`Runtime::take_trace`](crate::Runtime::take_trace) hands it
//! out, and [`Trace::write_chrome`] writes the file that ui.perfetto.dev and chrome://tracing open.

mod chrome;
mod clock;
mod recorder;

use std::fmt;
use std::time::{Duration, Instant};

use vyre_io::{ReadSpan, ReadSpans};
use vyre_protocol::completion::Status;
use vyre_protocol::ring::Ticket;

pub(crate) use recorder::Recorder;

/// A recorded run. All times count from the moment in which the runtime was opened.
#[derive(Debug, Clone)]
pub struct Trace {
    /// Name of the engine.
    pub engine: String,
    /// By which clock the tiles' times were taken.
    pub clock: TraceClock,
    /// Tiles, in the order in which their records were read.
    pub tiles: Vec<TileEvent>,
    /// Slots, in the order in which they were reaped.
    pub slots: Vec<SlotEvent>,
    /// What the engine did, in the order of the ends.
    pub engine_spans: Vec<EngineSpan>,
    /// Reads of files, in the order of their ends.
    pub reads: Vec<ReadEvent>,
    /// Events that would have been more than [`Options::trace_events`](crate::Options::trace_events), or had to wait for too long.
    pub dropped: u64,
    /// Records of the debug log, of tiles or printed, that were overwritten before the host read them.
    pub overwritten: u64,
    origin: Instant,
    limit: usize,
}

/// By which clock the times of tiles were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceClock {
    /// The workers are host threads and read the host's clock.
    Host,
    /// The device's, placed on the host's.
    Device {
        /// Most that a tile's time may be wrong.
        error: Duration,
    },
    /// There is no device clock: a tile begins and ends when the host saw its record.
    Seen,
}

impl fmt::Display for TraceClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TraceClock::Host => f.write_str("the host's clock"),
            TraceClock::Device { error } => {
                write!(f, "the device's clock, to within {:.1} us", error.as_nanos() as f64 / 1000.0)
            }
            TraceClock::Seen => f.write_str("no device clock, so tiles stand where the host saw their records"),
        }
    }
}

/// A tile that a worker ran, or spared because another of its slot had faulted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TileEvent {
    /// The worker.
    pub worker: u32,
    /// Ticket of the slot.
    pub ticket: Ticket,
    /// Operation code of the slot.
    pub operation: u32,
    /// Tenant of the slot.
    pub tenant: u32,
    /// Number of the tile in its slot.
    pub tile: u32,
    /// When the worker took it.
    pub start: Duration,
    /// When its last lane was through.
    pub end: Duration,
}

/// A slot, from before it was published until its completion was taken from the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotEvent {
    /// The ticket.
    pub ticket: Ticket,
    /// Operation code.
    pub operation: u32,
    /// Tenant.
    pub tenant: u32,
    /// Tiles.
    pub tiles: u32,
    /// When it was about to be published.
    pub published: Duration,
    /// When its completion was there, or when the kernel stopped without it.
    pub reaped: Duration,
    /// How it ended; `None` if it was cancelled.
    pub status: Option<Status>,
}

/// A quantum, or the time in which an engine slept because there was nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineSpan {
    /// The worker on the reference engine, whose workers have quanta of their own; `None` on a device.
    pub worker: Option<u32>,
    /// It slept; else this is a quantum.
    pub parked: bool,
    /// When it began; for a quantum of a device, when it was submitted behind the one before it.
    pub start: Duration,
    /// When the host saw that it had ended.
    pub end: Duration,
}

/// A read of a file into a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadEvent {
    /// Which of the files that were opened, from 1.
    pub file: u64,
    /// The block.
    pub block: u32,
    /// Offset in the file; `None` for pipes.
    pub offset: Option<u64>,
    /// Bytes asked for.
    pub len: u32,
    /// Bytes delivered; `None` if it failed.
    pub bytes: Option<u32>,
    /// Past the page cache.
    pub direct: bool,
    /// When it was submitted.
    pub start: Duration,
    /// When the reader saw that it had ended.
    pub end: Duration,
}

impl Trace {
    /// Events in the trace.
    #[must_use]
    pub fn events(&self) -> usize {
        self.tiles.len() + self.slots.len() + self.engine_spans.len() + self.reads.len()
    }

    /// Adds what a reader did meanwhile.
    pub fn add_reads(&mut self, reads: ReadSpans) {
        self.dropped += reads.dropped;
        for ReadSpan { file, block, offset, len, bytes, direct, start, end } in reads.spans {
            if self.events() >= self.limit {
                self.dropped += 1;
                continue;
            }
            let [start, end] = [start, end].map(|time| time.saturating_duration_since(self.origin));
            self.reads.push(ReadEvent { file, block, offset, len, bytes, direct, start, end });
        }
    }
}
