//! Collecting events while a run goes on.

use std::collections::HashMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use vyre_protocol::completion::Status;
use vyre_protocol::debuglog::{LogEntry, TileRecord};
use vyre_protocol::geometry::{Geometry, PARTITIONS, Priority};
use vyre_protocol::operation::Operation;
use vyre_protocol::ring::{Completion, Ticket};
use vyre_protocol::slot::Slot;

use crate::engine::{EngineKind, EngineSpans};
use crate::runtime::Runtime;
use crate::trace::clock::Bounds;
use crate::trace::{EngineSpan, SlotEvent, TileEvent, Trace, TraceClock};

/// A tile as it was reported; its event stands where it was seen.
struct SeenTile {
    event: TileEvent,
    clock: [u64; 2],
}

/// The events so far, up to a limit.
pub(crate) struct Recorder {
    origin: Instant,
    limit: usize,
    dropped: u64,
    geometry: Geometry,
    /// When the slots that are being published were not yet.
    before: Duration,
    /// Tickets of each partition that were published.
    published: [u64; PARTITIONS],
    /// Slots that are not reaped yet; the events end when they began.
    outstanding: HashMap<Ticket, SlotEvent>,
    tiles: Vec<SeenTile>,
    slots: Vec<SlotEvent>,
    engine_spans: Vec<EngineSpan>,
    bounds: Bounds,
    /// Records of the log that were overwritten, and how many of this launch's are among them.
    overwritten: u64,
    counted: u64,
}

impl Recorder {
    pub(crate) fn new(origin: Instant, limit: usize, geometry: Geometry) -> Recorder {
        Recorder {
            origin,
            limit,
            dropped: 0,
            geometry,
            before: Duration::ZERO,
            published: [0; PARTITIONS],
            outstanding: HashMap::new(),
            tiles: Vec::new(),
            slots: Vec::new(),
            engine_spans: Vec::new(),
            bounds: Bounds::default(),
            overwritten: 0,
            counted: 0,
        }
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Whether there is room for another event; counts it as dropped if not.
    fn has_room(&mut self) -> bool {
        let full = self.events() >= self.limit;
        self.dropped += u64::from(full);
        !full
    }

    /// Slots are about to be published.
    pub(crate) fn note_time(&mut self) {
        self.before = self.now();
    }

    /// The slots were published, and behind them a fence if there is a ticket more.
    pub(crate) fn published(&mut self, priority: Priority, tickets: Range<u64>, slots: &[Slot]) {
        self.published[priority.index()] = self.published[priority.index()].max(tickets.end);
        let fence = Slot { tenant: slots.last().map_or(0, |slot| slot.tenant), ..Slot::new(Operation::Fence) };
        for (i, number) in tickets.enumerate() {
            let Slot { operation, tenant, tiles, .. } = *slots.get(i).unwrap_or(&fence);
            let (ticket, published) = (Ticket { priority, number }, self.before);
            let event = SlotEvent { ticket, operation, tenant, tiles, published, reaped: published, status: None };
            self.outstanding.insert(ticket, event);
        }
    }

    /// A completion was taken from the ring, behind the records of the slot's tiles.
    pub(crate) fn reaped(&mut self, completion: &Completion) {
        if let Some(event) = self.outstanding.remove(&completion.ticket) {
            self.end_slot(event, Some(completion.status));
        }
    }

    fn end_slot(&mut self, event: SlotEvent, status: Option<Status>) {
        if self.has_room() {
            self.slots.push(SlotEvent { reaped: self.now(), status, ..event });
        }
    }

    /// Records of the log that were overwritten in this launch so far.
    fn overwritten(&mut self, so_far: u64) {
        self.overwritten += so_far - self.counted;
        self.counted = so_far;
    }

    /// What is outstanding will not complete any more.
    fn end_launch(&mut self) {
        let mut cancelled: Vec<_> = self.outstanding.drain().map(|(_, event)| event).collect();
        cancelled.sort_by_key(|event| (event.ticket.priority, event.ticket.number));
        cancelled.into_iter().for_each(|event| self.end_slot(event, None));
    }

    /// The kernel is launched again: tickets and overwritten records count from 0.
    pub(crate) fn begin_launch(&mut self) {
        (self.published, self.counted) = ([0; PARTITIONS], 0);
    }

    /// Counts what another recorder had, and nobody took.
    pub(crate) fn lose(&mut self, other: &Recorder) {
        self.dropped += other.dropped + other.events() as u64;
        self.overwritten += other.overwritten;
    }

    fn events(&self) -> usize {
        self.tiles.len() + self.slots.len() + self.engine_spans.len()
    }

    /// Takes a tile's record from the log.
    pub(crate) fn tile(&mut self, record: TileRecord) {
        let seen = self.now();
        let TileRecord { tile, operation, worker, tenant, wire_ticket, priority, clock } = record;
        let clock = if clock == [0, 0] { clock } else { clock.map(|reading| self.bounds.unwrap(reading)) };
        // The newest ticket with this wire form. `Partition::widen` knows outstanding ones only; this may have been reaped by now.
        let (partition, published) = (self.geometry.partition(priority), self.published[priority.index()]);
        let modulus = u64::from(partition.modulus().max(1));
        let back = (published + modulus - u64::from(wire_ticket) % modulus - 1) % modulus + 1;
        let Some(number) = published.checked_sub(back) else {
            tracing::error!("the device wrote a record of the tile of a ticket that nobody published: {record:?}");
            return;
        };
        let ticket = Ticket { priority, number };
        if clock != [0, 0] {
            let published = self.outstanding.get(&ticket).map(|event| event.published.as_nanos() as f64);
            self.bounds.add(clock, published, seen.as_nanos() as f64);
        }
        if self.has_room() {
            let event = TileEvent { worker, ticket, operation, tenant, tile, start: seen, end: seen };
            self.tiles.push(SeenTile { event, clock });
        }
    }

    fn engine_spans(&mut self, spans: EngineSpans) {
        self.dropped += spans.dropped;
        for (worker, parked, start, end) in spans.spans {
            if self.has_room() {
                let [start, end] = [start, end].map(|time| time.saturating_duration_since(self.origin));
                self.engine_spans.push(EngineSpan { worker, parked, start, end });
            }
        }
    }

    /// Hands the events out.
    fn take(&mut self, engine: String, kind: EngineKind) -> Trace {
        let line = self.bounds.line().filter(|_| kind != EngineKind::Reference);
        let clock = match (kind, line) {
            (EngineKind::Reference, _) => TraceClock::Host,
            (_, Some(line)) => TraceClock::Device { error: Duration::from_nanos(line.error.ceil() as u64) },
            (_, None) => TraceClock::Seen,
        };
        let place = |SeenTile { event, clock: reading }: SeenTile| {
            let [start, end] = match (clock, line) {
                (TraceClock::Host, _) => reading,
                (_, Some(line)) => reading.map(|reading| line.host(reading).max(0.0) as u64),
                _ => return event,
            };
            TileEvent { start: Duration::from_nanos(start), end: Duration::from_nanos(end), ..event }
        };
        Trace {
            engine,
            clock,
            tiles: std::mem::take(&mut self.tiles).into_iter().map(place).collect(),
            slots: std::mem::take(&mut self.slots),
            engine_spans: std::mem::take(&mut self.engine_spans),
            reads: Vec::new(),
            dropped: std::mem::take(&mut self.dropped),
            overwritten: std::mem::take(&mut self.overwritten),
            origin: self.origin,
            limit: self.limit,
        }
    }
}

impl Runtime {
    /// Takes what was recorded since the runtime was opened or the trace was taken last; `None` if
    /// [`Options::trace_events`](crate::Options::trace_events) is 0. After [`exit`](Self::exit) or [`abort`](Self::abort) it is
    /// whole: before, quanta in flight and outstanding slots are yet to end.
    pub fn take_trace(&mut self) -> Option<Trace> {
        self.record();
        let recorder = self.recorder.as_mut()?;
        Some(recorder.take(self.info.name.clone(), self.info.kind))
    }

    /// Whether the run is traced.
    pub(crate) fn is_traced(&self) -> bool {
        self.recorder.is_some()
    }

    /// The kernel was stopped: what is outstanding does not complete any more.
    pub(crate) fn end_recording(&mut self) {
        self.record();
        if let Some(recorder) = &mut self.recorder {
            recorder.end_launch();
        }
    }

    /// Moves what kernel and relay have left for the recorder to it, if there is one.
    #[inline]
    pub(crate) fn record(&mut self) {
        if self.recorder.is_some() {
            self.record_now();
        }
    }

    fn record_now(&mut self) {
        while let Some(entry) = self.next_log_entry() {
            match entry {
                LogEntry::Tile(record) => self.note_tile(record),
                LogEntry::Line(line) => self.log.keep(line),
            }
        }
        let spans = self.engine.take_spans();
        if let Some(recorder) = &mut self.recorder {
            recorder.engine_spans(spans);
            recorder.overwritten(self.log.reader.dropped());
        }
    }

    /// A completion was taken from the ring.
    #[inline]
    pub(crate) fn note_reaped(&mut self, completion: &Completion) {
        self.record();
        if let Some(recorder) = &mut self.recorder {
            recorder.reaped(completion);
        }
    }

    pub(crate) fn note_tile(&mut self, record: TileRecord) {
        if let Some(recorder) = &mut self.recorder {
            recorder.tile(record);
        }
    }
}
