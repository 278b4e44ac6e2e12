//! Slots of all operations on words, good and bad ones, run by the reference engine and by a model that says only what must come out:
//! results, memory, lines of the log, and whether a slot is refused or faults.
#![no_main]

use std::cell::RefCell;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use vyre_protocol::completion::Status;
use vyre_protocol::debuglog::{LogEntry, LogReader};
use vyre_protocol::geometry::{Counts, Geometry, Priority, ring_records};
use vyre_protocol::header::RegionKind;
use vyre_protocol::operation::{ACCUMULATORS, MAX_BINS, MAX_TILE_BYTES, Operation, Reduction};
use vyre_protocol::packed::Inner;
use vyre_protocol::resource::{ATOMIC, Handle, READ, ResourceEntry, SHARED, WRITE};
use vyre_protocol::ring::{PublishError, Ring};
use vyre_protocol::slot::{Operand, Slot};
use vyre_protocol::words::SharedWords;
use vyre_reference::{Backing, Reference, Span};

/// Words of each of the two resources.
const WORDS: usize = 96;
const BYTES: u32 = 4 * WORDS as u32;
/// Which of the resources allows changes in one step.
const ATOMIC_RESOURCE: usize = 0;
const LOG_RECORDS: u32 = 1024;

struct Engine {
    _reference: Reference,
    ring: Ring<Span>,
    memory: [Span; 2],
    log: Span,
    reader: LogReader,
}

impl Engine {
    fn new() -> Engine {
        let counts = Counts { slots: 320, log_records: LOG_RECORDS, ..Counts::default() };
        let geometry = Geometry::new(counts).expect("these counts are possible");
        let mut reference = Reference::new(geometry, 1);
        let memory = [Span::new(WORDS), Span::new(WORDS)];
        for (i, words) in memory.iter().enumerate() {
            let access = READ | WRITE | if i == ATOMIC_RESOURCE { ATOMIC } else { 0 };
            let (address, reserved) = ([0; 2], [0; 2]);
            let entry = ResourceEntry { address, length: BYTES, generation: 1, owner: SHARED, access, reserved };
            reference.bind(i as u32, &entry, Backing::Words(words.clone()));
        }
        reference.start().expect("a thread for the worker");
        let ring = Ring::new(geometry, reference.ring_memory());
        let log = reference.region(RegionKind::DebugLog);
        Engine { _reference: reference, ring, memory, log, reader: LogReader::default() }
    }
}

/// The same state, and what each operation does to it, in the plainest words.
struct Model {
    memory: [Vec<u32>; 2],
    lines: Vec<[u32; 4]>,
}

/// What a slot ends with; `None` is a fault.
type Expected = Option<[u32; 2]>;

impl Model {
    /// The resource that an operand names, and the first word there, if `bytes` bytes fit.
    fn place(&self, operand: Operand, bytes: u64, atomic: bool) -> Option<(usize, usize)> {
        let resource = (0..2).find(|i| Handle::new(*i as u32, 1).word() == operand.handle)?;
        let fits = u64::from(operand.offset) + bytes <= u64::from(BYTES) && operand.offset % 4 == 0;
        (fits && (!atomic || resource == ATOMIC_RESOURCE)).then_some((resource, operand.offset as usize / 4))
    }

    fn word(&mut self, operand: Operand, atomic: bool) -> Option<&mut u32> {
        let (resource, at) = self.place(operand, 4, atomic)?;
        self.memory[resource].get_mut(at)
    }

    fn run(&mut self, slot: &Slot) -> Expected {
        let Slot { input, output, length, args, .. } = *slot;
        let one_word = slot.tiles == 1 && length == 4;
        let bytes = u64::from(length);
        match Operation::from_code(slot.operation)? {
            Operation::Nop => Some([0; 2]),
            Operation::Fence => (slot.tiles == 1).then_some([0; 2]),
            Operation::Printf => {
                let count = args[1] as usize;
                (slot.tiles == 1 && count <= 4).then(|| {
                    let mut line = [args[2], args[3], args[4], args[5]];
                    line[count..].fill(0);
                    self.lines.push(line);
                    [0; 2]
                })
            }
            Operation::StoreU32 if one_word => self.word(output, false).map(|word| *word = args[0]).map(|()| [0; 2]),
            Operation::LoadU32 if one_word => self.word(input, false).map(|word| [*word, 0]),
            Operation::AtomicAdd if one_word => self.word(output, true).map(|word| {
                let before = *word;
                *word = before.wrapping_add(args[0]);
                [before, 0]
            }),
            Operation::CompareSwap if one_word => self.word(output, true).map(|word| {
                let before = *word;
                *word = if before == args[0] { args[1] } else { before };
                [before, 0]
            }),
            Operation::Fill if tiled(slot) => {
                let (resource, at) = self.place(output, bytes, false)?;
                self.memory[resource][at..at + length as usize / 4].fill(args[0]);
                Some([0; 2])
            }
            Operation::Copy if tiled(slot) => {
                let (from, first) = self.place(input, bytes, false)?;
                let (to, at) = self.place(output, bytes, false)?;
                let words = self.memory[from][first..first + length as usize / 4].to_vec();
                self.memory[to][at..at + words.len()].copy_from_slice(&words);
                Some([0; 2])
            }
            Operation::Reduce if tiled(slot) => self.reduce(slot),
            Operation::Histogram if tiled(slot) => self.histogram(slot),
            Operation::Packed => self.packed(slot),
            _ => None,
        }
    }

    fn reduce(&mut self, slot: &Slot) -> Expected {
        let reduction = Reduction::from_code(slot.args[0])?;
        let (from, first) = self.place(slot.input, slot.length.into(), false)?;
        let (to, at) = self.place(slot.output, 8 * u64::from(slot.tiles), false)?;
        if slot.args[1] == 0 || slot.output.offset % 8 != 0 {
            return None;
        }
        let words = self.memory[from][first..first + slot.length as usize / 4].to_vec();
        let mut tiles: Vec<&[u32]> = words.chunks(slot.tile_span as usize / 4).collect();
        if tiles.is_empty() {
            tiles.push(&[]);
        }
        for (i, tile) in tiles.into_iter().enumerate() {
            let mut sums = [reduction.identity(); ACCUMULATORS as usize];
            for (j, word) in tile.iter().enumerate() {
                sums[j % 32] = reduction.join(sums[j % 32], *word);
            }
            for stride in [16, 8, 4, 2, 1] {
                for j in 0..stride {
                    sums[j] = reduction.join(sums[j], sums[j + stride]);
                }
            }
            self.memory[to][at + 2 * i] = sums[0];
            self.memory[to][at + 2 * i + 1] = slot.args[1];
        }
        Some([0; 2])
    }

    fn histogram(&mut self, slot: &Slot) -> Expected {
        let [mode, base, shift, given, ..] = slot.args;
        let bins = if mode == 0 { 256 } else { given };
        if mode > 1 || bins == 0 || bins > MAX_BINS || (mode == 1 && shift > 31) {
            return None;
        }
        let (from, first) = self.place(slot.input, slot.length.into(), false)?;
        let (to, at) = self.place(slot.output, 4 * u64::from(bins), true)?;
        for word in self.memory[from][first..first + slot.length as usize / 4].to_vec() {
            let elements = if mode == 0 { word.to_le_bytes().map(u32::from).to_vec() } else { vec![word.wrapping_sub(base) >> shift] };
            for bin in elements.into_iter().filter(|bin| *bin < bins) {
                let count = &mut self.memory[to][at + bin as usize];
                *count = count.wrapping_add(1);
            }
        }
        Some([0; 2])
    }

    fn packed(&mut self, slot: &Slot) -> Expected {
        let operations: Vec<_> = slot.inner().collect::<Result<_, _>>().ok()?;
        let at = |operand: Operand, offset: u32| Operand { offset: operand.offset.saturating_add(offset), ..operand };
        let fits = operations.iter().all(|inner| match *inner {
            Inner::Nop => true,
            Inner::LoadU32 { offset } => self.place(at(slot.input, offset), 4, false).is_some(),
            Inner::StoreU32 { offset, .. } => self.place(at(slot.output, offset), 4, false).is_some(),
            Inner::AtomicAdd { offset, .. } | Inner::CompareSwap { offset, .. } => {
                self.place(at(slot.output, offset), 4, true).is_some()
            }
        });
        if !fits || slot.tiles != 1 {
            return None;
        }
        let mut results = Vec::new();
        for inner in operations {
            let alone = |operation, offset, args: [u32; 2]| {
                let (input, output) = (at(slot.input, offset), at(slot.output, offset));
                Slot { input, output, args: [args[0], args[1], 0, 0, 0, 0], ..Slot::new(operation) }.tiled(4, 4, 1)
            };
            let (slot, gives) = match inner {
                Inner::Nop => continue,
                Inner::LoadU32 { offset } => (alone(Operation::LoadU32, offset, [0; 2]), true),
                Inner::StoreU32 { offset, value } => (alone(Operation::StoreU32, offset, [value, 0]), false),
                Inner::AtomicAdd { offset, value } => (alone(Operation::AtomicAdd, offset, [value, 0]), true),
                Inner::CompareSwap { offset, expected, value } => {
                    (alone(Operation::CompareSwap, offset, [expected, value]), true)
                }
            };
            let result = self.run(&slot)?[0];
            results.extend(gives.then_some(result));
        }
        results.resize(2, 0);
        Some([results[0], results[1]])
    }
}

/// Whether length, span and tiles go together.
fn tiled(slot: &Slot) -> bool {
    let Slot { length, tile_span, tiles, .. } = *slot;
    let spans = (4..=MAX_TILE_BYTES).contains(&tile_span) && tile_span % 4 == 0;
    spans && length % 4 == 0 && u64::from(tiles) * u64::from(tile_span) >= u64::from(length)
}

/// A slot out of 16 bytes. BLAKE3 is left out: the model would be the engine's own crate.
fn slot(bytes: &[u8; 16]) -> Slot {
    let [code, from, first, to, at, length, span, tiles, packed, args @ ..] = *bytes;
    let handle = |byte: u8| match byte % 8 {
        0..=3 => Handle::new(0, 1).word(),
        4..=5 => Handle::new(1, 1).word(),
        6 => Handle::new(0, 2).word(),
        _ => 0,
    };
    // Mostly aligned.
    let offset = |byte: u8| if byte < 250 { 4 * (u32::from(byte) % 104) } else { u32::from(byte) };
    let (input, output) = (Operand { handle: handle(from), offset: offset(first) }, Operand { handle: handle(to), offset: offset(at) });
    let word = |i: usize| u32::from(args[i]);
    let args = [word(0) % 16, word(1) % 8, word(2) % 40, word(3), word(4), word(5)];
    let mut slot = match code % 16 {
        // The places of an inner operation are near each other.
        13 => {
            let inner = [
                Inner::StoreU32 { offset: 4 * (word(0) % 8), value: word(1) },
                Inner::AtomicAdd { offset: 4 * (word(2) % 8), value: word(3) },
                Inner::LoadU32 { offset: 4 * (word(4) % 8) },
                Inner::CompareSwap { offset: 4 * (word(5) % 8), expected: word(6), value: word(0) },
            ];
            let chosen: Vec<_> = (0..4).filter(|i| packed >> i & 1 != 0).map(|i| inner[i]).collect();
            Slot::packed(input, output, &chosen).unwrap_or(Slot::new(Operation::Packed))
        }
        0 | 4 => Slot { input, output, args, ..Slot::with_code(0x1000 + u32::from(code)) },
        other => Slot { input, output, args, ..Slot::with_code(other.into()) },
    };
    slot.tiles = if tiles < 200 { 1 } else { u32::from(tiles) - 200 };
    if slot.operation != Operation::Packed.code() {
        let words = matches!(slot.operation, 5..=8);
        (slot.length, slot.tile_span) = if words && length < 240 { (4, 4) } else { (2 * u32::from(length), 2 * u32::from(span)) };
        if !words && tiles < 150 {
            slot = slot.tiled(slot.length, slot.tile_span.max(4), 1);
        }
    }
    slot
}

thread_local! {
    static ENGINE: RefCell<Engine> = RefCell::new(Engine::new());
}

fn run(engine: &mut Engine, slots: &[Slot]) {
    let mut model = Model { memory: [vec![0; WORDS], vec![0; WORDS]], lines: Vec::new() };
    for (words, model) in engine.memory.iter().zip(&mut model.memory) {
        for (i, word) in model.iter_mut().enumerate() {
            *word = (i as u32).wrapping_mul(0x9e37_79b9);
            words.store(i, *word);
        }
    }
    engine.memory[0].publish_fence();
    let mut expected = Vec::new();
    for slot in slots {
        match engine.ring.publish(Priority::Normal, slot) {
            Ok(_) => expected.push(model.run(slot)),
            Err(PublishError::Slot { .. }) => {
                let known = Operation::from_code(slot.operation).is_some() || slot.operation >= 0x1000;
                assert!(slot.tiles == 0 || !known || slot.inner().any(|inner| inner.is_err()), "{slot:?} was refused");
            }
            Err(other) => panic!("{slot:?}: {other}"),
        }
    }
    engine._reference.wake();
    let start = Instant::now();
    let mut expected = expected.into_iter();
    while expected.len() > 0 {
        let Some(completion) = engine.ring.reap().expect("a completion decodes") else {
            assert!(start.elapsed() < Duration::from_secs(20), "a slot never completed: {slots:?}");
            std::hint::spin_loop();
            continue;
        };
        match expected.next().expect("a completion for each slot") {
            Some(results) => assert_eq!((completion.status, completion.results), (Status::Done, results), "{slots:?}"),
            None => assert_eq!(completion.status, Status::Faulted, "{completion:?} of {slots:?}"),
        }
    }
    for (words, model) in engine.memory.iter().zip(&model.memory) {
        let found: Vec<_> = (0..WORDS).map(|i| words.load_acquire(i)).collect();
        assert_eq!(&found, model, "{slots:?}");
    }
    for line in model.lines {
        let record = engine.reader.read(&engine.log, ring_records(LOG_RECORDS)).expect("a record decodes");
        let Some(LogEntry::Line(record)) = record else { panic!("no line for a PRINTF: {record:?}") };
        assert_eq!(record.args, line);
    }
}

fuzz_target!(|data: &[u8]| {
    let (bytes, _) = data.as_chunks::<16>();
    // Reading and writing one resource in one slot is undefined for these; what the model would say is one of many answers.
    let undefined = |slot: &Slot| matches!(slot.operation, 3 | 9 | 10) && slot.input.handle == slot.output.handle;
    let slots: Vec<_> = bytes.iter().take(60).map(slot).filter(|slot| !undefined(slot)).collect();
    ENGINE.with_borrow_mut(|engine| run(engine, &slots));
});
