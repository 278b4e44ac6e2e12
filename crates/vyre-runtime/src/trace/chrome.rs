//! The JSON array of the Trace Event Format, as ui.perfetto.dev and chrome://tracing read it. Times are microseconds.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use vyre_protocol::geometry::Priority;
use vyre_protocol::operation::Operation;

use crate::trace::{EngineSpan, ReadEvent, SlotEvent, TileEvent, Trace, TraceClock};

/// Numbers of the groups of tracks, in the order in which they should be shown; those of the slots follow, one for each priority.
const RUN: u32 = 1;
const WORKERS: u32 = 2;
const QUANTA: u32 = 3;
const IO: u32 = 4;
const SLOTS: u32 = 5;

/// Number of a group's first track; viewers show it behind the name. Not the number of any group: Perfetto takes a track with the number
/// of its group for the main thread, and shows it before the others. Nor 0, which Perfetto joins with track 1 (up to its version of August
/// 2025).
const FIRST_TRACK: u32 = 1000;

/// An event of the format; its fields have the names that they have there.
#[derive(Clone, Default, Serialize)]
struct Event<'a> {
    name: &'a str,
    ph: char,
    pid: u32,
    tid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    ts: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cat: Option<&'a str>,
    /// Joins the beginning of a slot to its end. Without a number that is said to be local, Perfetto shows slots in no group.
    #[serde(skip_serializing_if = "Value::is_null")]
    id2: Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    args: Value,
}

/// Writes the array, an event a line.
struct Array<W> {
    out: W,
    empty: bool,
}

impl<W: Write> Array<W> {
    fn push(&mut self, event: &Event<'_>) -> io::Result<()> {
        self.out.write_all(if self.empty { b"[\n" } else { b",\n" })?;
        self.empty = false;
        Ok(serde_json::to_writer(&mut self.out, event)?)
    }

    fn end(&mut self) -> io::Result<()> {
        self.out.write_all(if self.empty { b"[\n]\n" } else { b"\n]\n" })?;
        self.out.flush()
    }

    /// Says something about a group of tracks or a track.
    fn meta(&mut self, what: &str, pid: u32, tid: u32, args: Value) -> io::Result<()> {
        self.push(&Event { name: what, ph: 'M', pid, tid, args, ..Event::default() })
    }

    /// A group and its tracks.
    fn group(&mut self, pid: u32, name: &str, tracks: &[(u32, String)]) -> io::Result<()> {
        self.meta("process_name", pid, FIRST_TRACK, json!({ "name": name }))?;
        self.meta("process_sort_index", pid, FIRST_TRACK, json!({ "sort_index": pid }))?;
        tracks.iter().try_for_each(|(tid, name)| self.meta("thread_name", pid, *tid, json!({ "name": name })))
    }

    /// Something that has a track for itself from beginning to end.
    fn complete(
        &mut self,
        (pid, tid): (u32, u32),
        name: &str,
        [start, end]: [Duration; 2],
        args: Value,
    ) -> io::Result<()> {
        let (ts, dur) = (Some(microseconds(start)), Some(microseconds(end.saturating_sub(start))));
        self.push(&Event { name, ph: 'X', pid, tid, ts, dur, args, ..Event::default() })
    }
}

fn microseconds(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1000.0
}

/// As the documentation calls it; a number for what does not exist.
fn operation_name(code: u32) -> Cow<'static, str> {
    match Operation::ALL.iter().find(|(operation, _)| operation.code() == code) {
        Some((_, name)) => name.trim_start_matches("OP_").into(),
        None => format!("operation {code}").into(),
    }
}

fn priority_name(priority: Priority) -> String {
    format!("{priority:?}").to_uppercase()
}

/// The track of something that is numbered from 0.
fn track(number: u32) -> u32 {
    FIRST_TRACK + number
}

/// The tracks of things with these numbers, each named.
fn tracks(numbers: impl Iterator<Item = u32>, name: &str) -> Vec<(u32, String)> {
    numbers.collect::<BTreeSet<_>>().into_iter().map(|number| (track(number), format!("{name} {number}"))).collect()
}

impl Trace {
    /// Writes the trace as JSON that ui.perfetto.dev and chrome://tracing open.
    ///
    /// # Errors
    /// What writing to `out` gives.
    pub fn write_chrome(&self, out: impl Write) -> io::Result<()> {
        let mut array = Array { out, empty: true };
        self.write_run(&mut array)?;
        self.write_tiles(&mut array)?;
        self.write_engine_spans(&mut array)?;
        self.write_reads(&mut array)?;
        self.write_slots(&mut array)?;
        array.end()
    }

    /// What is to be known of the whole, as an event from beginning to end: Perfetto shows no labels of groups.
    fn write_run(&self, array: &mut Array<impl Write>) -> io::Result<()> {
        let tiles = self.tiles.iter().map(|tile| (tile.start, tile.end));
        let engine = self.engine_spans.iter().map(|span| (span.start, span.end));
        let reads = self.reads.iter().map(|read| (read.start, read.end));
        let slots = self.slots.iter().map(|slot| (slot.published, slot.reaped));
        let times = tiles.chain(engine).chain(reads).chain(slots);
        let (start, end) = times.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap_or_default();
        array.group(RUN, "run", &[(FIRST_TRACK, "engine".into())])?;
        let Trace { engine, clock, dropped, overwritten, .. } = self;
        let name = format!("{engine}; {clock}; {dropped} dropped, {overwritten} overwritten");
        let args =
            json!({ "engine": engine, "clock": clock.to_string(), "dropped": dropped, "overwritten": overwritten });
        array.complete((RUN, FIRST_TRACK), &name, [start, end], args)
    }

    fn write_tiles(&self, array: &mut Array<impl Write>) -> io::Result<()> {
        array.group(WORKERS, "workers", &tracks(self.tiles.iter().map(|tile| tile.worker), "worker"))?;
        self.tiles.iter().try_for_each(|tile| {
            let TileEvent { worker, ticket, operation, tenant, tile, start, end } = *tile;
            let priority = priority_name(ticket.priority);
            let args = json!({ "ticket": ticket.number, "priority": priority, "tile": tile, "tenant": tenant });
            let name = operation_name(operation);
            let (pid, tid, ts) = (WORKERS, track(worker), Some(microseconds(start)));
            match self.clock {
                TraceClock::Seen => array.push(&Event { name: &name, ph: 'i', pid, tid, ts, args, ..Event::default() }),
                _ => array.complete((pid, tid), &name, [start, end], args),
            }
        })
    }

    fn write_engine_spans(&self, array: &mut Array<impl Write>) -> io::Result<()> {
        let of_workers = self.engine_spans.iter().filter_map(|span| span.worker);
        let mut names = tracks(of_workers, "worker");
        if names.is_empty() {
            names.push((FIRST_TRACK, "relay".into()));
        }
        array.group(QUANTA, "quanta", &names)?;
        let mut last_end = Duration::ZERO;
        self.engine_spans.iter().try_for_each(|span| {
            let EngineSpan { worker, parked, start, end } = *span;
            // A quantum of a device waits in the queue until the one before it has ended.
            let begins = if worker.is_some() { start } else { start.max(last_end) };
            last_end = end;
            let (name, args) = match parked {
                true => ("parked", Value::Null),
                false => ("quantum", json!({ "submitted": microseconds(start) })),
            };
            array.complete((QUANTA, worker.map_or(FIRST_TRACK, track)), name, [begins, end], args)
        })
    }

    fn write_reads(&self, array: &mut Array<impl Write>) -> io::Result<()> {
        if self.reads.is_empty() {
            return Ok(());
        }
        array.group(IO, "IO", &tracks(self.reads.iter().map(|read| read.block), "block"))?;
        self.reads.iter().try_for_each(|read| {
            let ReadEvent { file, block, offset, len, bytes, direct, start, end } = *read;
            let args = json!({ "file": file, "offset": offset, "len": len, "bytes": bytes, "direct": direct });
            array.complete((IO, track(block)), "read", [start, end], args)
        })
    }

    /// Slots overlap, so each is a track of its own, under its priority.
    fn write_slots(&self, array: &mut Array<impl Write>) -> io::Result<()> {
        let group = |priority: Priority| SLOTS + priority.index() as u32;
        for priority in Priority::ALL {
            if self.slots.iter().any(|slot| slot.ticket.priority == priority) {
                array.group(group(priority), &format!("slots {}", priority_name(priority)), &[])?;
            }
        }
        self.slots.iter().enumerate().try_for_each(|(i, slot)| {
            let SlotEvent { ticket, operation, tenant, tiles, published, reaped, status } = *slot;
            let status = status.map_or("cancelled".into(), |status| format!("{status:?}").to_lowercase());
            let args = json!({ "ticket": ticket.number, "tiles": tiles, "tenant": tenant, "status": status });
            let name = operation_name(operation);
            let (pid, tid, cat) = (group(ticket.priority), FIRST_TRACK, Some("slot"));
            let id2 = json!({ "local": format!("{i:#x}") });
            let event = Event { name: &name, pid, tid, cat, id2, ..Event::default() };
            array.push(&Event { ph: 'b', ts: Some(microseconds(published)), args, ..event.clone() })?;
            array.push(&Event { ph: 'e', ts: Some(microseconds(reaped)), ..event })
        })
    }
}
