//! Generated programs: whatever the engine, the same completions and the same bytes.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use vyre_runtime::protocol::completion::Status;
use vyre_runtime::protocol::fault::Fault;
use vyre_runtime::protocol::operation::Operation;
use vyre_runtime::protocol::resource::{ATOMIC, READ, WRITE};
use vyre_runtime::protocol::slot::Slot;
use vyre_runtime::protocol::vir0::{
    Builder, Form, GROUP, Kind, Opcode, Operand, Place, Program, Register, Special, disassemble,
};
use vyre_runtime::vk::MemoryUse;
use vyre_runtime::{Bindings, LoadedProgram, Resource, Runtime};

use crate::Open;
use crate::cases::{end, run};
use crate::programs::{bytes, options, words};

/// One choice of the generator.
pub(crate) type Gene = [u8; 8];

/// Vectors that programs compute with; behind them are one that nobody reads, and the number of the lane.
const FREE_VECTORS: u8 = 14;
/// Scalars that programs compute with; the others count loops.
const FREE_SCALARS: u8 = 10;
/// Words of the input, a power of two.
const INPUT: u32 = 512;
/// Words of the output: a row for each vector register, and one for scalars, in each of two tiles.
const OUTPUT: u32 = 2 * 16 * GROUP;
const SCRATCH: u32 = 2 * GROUP;

fn vector(index: u8) -> Register {
    Register::vector(index).unwrap()
}

fn scalar(index: u8) -> Register {
    Register::scalar(index).unwrap()
}

/// The number of the lane, which nothing writes to.
fn lane() -> Register {
    vector(15)
}

/// Instructions that any two engines compute alike.
fn computable() -> impl Iterator<Item = Opcode> {
    use Opcode::{DivF, Exp2, Fma, Log2, Sqrt};
    let computes = |opcode: &Opcode| matches!(opcode.form(), Form::Unary | Form::Binary | Form::Ternary);
    Opcode::ALL.iter().copied().filter(computes).filter(|opcode| !matches!(opcode, DivF | Exp2 | Fma | Log2 | Sqrt))
}

struct Generator {
    builder: Builder,
    /// Open branches and loops.
    depth: u8,
    loops: u8,
}

impl Generator {
    fn new() -> Self {
        let mut builder = Builder::new();
        builder.resource(READ).resource(READ | WRITE).resource(READ | WRITE | ATOMIC);
        builder.parameters(2).scratch(SCRATCH).constants(&[
            0,
            1,
            0x8000_0000,
            0x7fc0_0000,
            0x3f80_0000,
            0xff80_0000,
            3,
            0x12,
        ]);
        builder.push(Opcode::Get, &[lane().into(), Special::Lane.into()]);
        for index in 0..=FREE_VECTORS {
            let memory =
                Operand::Memory { place: Place::Resource(0), index: Some(lane()), offset: 7 * u16::from(index) };
            builder.push(Opcode::Ld32, &[vector(index).into(), memory]);
        }
        let names = [Special::Tile, Special::Tiles, Special::Length, Special::Span, Special::First, Special::Count];
        for (i, name) in
            names.into_iter().chain([Special::P0, Special::P1, Special::Bytes0, Special::Bytes2]).enumerate()
        {
            builder.push(Opcode::Get, &[scalar(i as u8).into(), name.into()]);
        }
        Generator { builder, depth: 0, loops: 0 }
    }

    /// A source: a vector, a scalar, or now and then the number.
    fn source(&self, choice: u8, vectors: bool, number: Option<u32>) -> Operand {
        match (choice % 8, number) {
            (0, Some(number)) => Operand::Immediate(number),
            (1 | 2, _) => scalar(choice / 8 % FREE_SCALARS).into(),
            _ if vectors => vector(choice / 8 % FREE_VECTORS).into(),
            _ => scalar(choice / 8 % FREE_SCALARS).into(),
        }
    }

    fn compute(&mut self, gene: Gene) {
        let [_, opcode, d, a, b, c, high, low] = gene;
        let opcodes: Vec<_> = computable().collect();
        let opcode = opcodes[usize::from(opcode) % opcodes.len()];
        let vectors = d % 4 != 0;
        let d = if vectors { vector(d / 4 % FREE_VECTORS) } else { scalar(d / 4 % FREE_SCALARS) };
        let number = match opcode.kind() {
            Kind::Float => (f32::from(high) * 0.25 - f32::from(low)).to_bits(),
            Kind::Word | Kind::Signed => u32::from_be_bytes([high, 0, low & 0x80, low]),
        };
        let ternary = opcode.form() == Form::Ternary;
        let first = self.source(a, vectors, (!ternary).then_some(number));
        let number = (!ternary && !matches!(first, Operand::Immediate(_))).then_some(number);
        let operands = [d.into(), first, self.source(b, vectors, number), self.source(c, vectors, None)];
        self.builder.push(opcode, &operands[..opcode.form().roles().len()]);
    }

    /// Memory, by an index that lies inside, or that of the lane.
    fn memory(&mut self, gene: Gene) {
        let [_, kind, d, a, b, offset, ..] = gene;
        let (d, value, dead) = (vector(d % 10), vector(b % FREE_VECTORS), vector(FREE_VECTORS));
        let places = [Place::Resource(0), Place::Scratch, Place::Constants];
        let (index, place) = (vector(a % FREE_VECTORS), places[usize::from(b) % 3]);
        let at = |place, index, offset| Operand::Memory { place, index: Some(index), offset };
        match kind % 8 {
            0..=2 => {
                let (opcode, count) = match (kind / 8 % 4, place) {
                    (0, Place::Resource(_)) => (Opcode::Ld8, 4 * INPUT),
                    (1, Place::Resource(_)) => (Opcode::Ld16, 2 * INPUT),
                    (2, Place::Resource(_)) => (Opcode::Ld128, INPUT / 4),
                    (_, Place::Resource(_)) => (Opcode::Ld32, INPUT),
                    (_, Place::Scratch) => (Opcode::Ld32, SCRATCH),
                    _ => (Opcode::Ld32, 8),
                };
                self.builder.push(Opcode::And, &[dead.into(), index.into(), (count - 1).into()]);
                self.builder.push(opcode, &[d.into(), at(place, dead, 0)]);
            }
            3 | 4 => {
                self.builder
                    .push(Opcode::St32, &[at(Place::Scratch, lane(), 256 * u16::from(offset % 2)), value.into()]);
            }
            5 => {
                let opcode = if offset % 2 == 0 { Opcode::St8 } else { Opcode::St16 };
                self.builder.push(opcode, &[at(Place::Scratch, lane(), 0), value.into()]);
            }
            6 => {
                // Sums do not depend on an order, and nobody reads what was there before.
                let opcode = [Opcode::AtAdd, Opcode::AtMax, Opcode::AtXor, Opcode::AtMin][usize::from(offset % 4)];
                self.builder.push(Opcode::And, &[dead.into(), index.into(), 15_u32.into()]);
                self.builder.push(
                    opcode,
                    &[dead.into(), at(Place::Resource(2), dead, 16 * u16::from(offset % 4)), value.into()],
                );
            }
            _ if offset % 2 == 0 => {
                self.builder
                    .push(Opcode::AtCas, &[d.into(), at(Place::Scratch, lane(), 0), value.into(), index.into()]);
            }
            // This one may lie outside.
            _ => {
                self.builder.push(Opcode::Ld32, &[d.into(), at(Place::Resource(0), lane(), u16::from(offset))]);
            }
        }
    }

    fn across(&mut self, gene: Gene) {
        let [_, kind, d, a, b, ..] = gene;
        let (d, a) = (d % FREE_VECTORS, vector(a % FREE_VECTORS));
        let (opcode, operands) = match kind % 11 {
            0 => (Opcode::Scan, vec![vector(d).into(), a.into()]),
            1 => (Opcode::Shuffle, vec![vector(d).into(), a.into(), self.source(b, true, Some(b.into()))]),
            2 => (
                Opcode::Shuffle,
                vec![scalar(d % FREE_SCALARS).into(), a.into(), self.source(b, false, Some(b.into()))],
            ),
            other => (
                Opcode::ALL
                    [Opcode::ALL.iter().position(|opcode| *opcode == Opcode::Sum).unwrap() + usize::from(other) - 3],
                vec![scalar(d % FREE_SCALARS).into(), a.into()],
            ),
        };
        self.builder.push(opcode, &operands);
    }

    /// A branch or a loop over the next genes.
    fn nest(&mut self, gene: Gene, rest: &mut std::slice::Iter<'_, Gene>) {
        let [_, kind, a, inside, other, count, ..] = gene;
        let condition = if kind & 2 == 0 { vector(a % FREE_VECTORS) } else { scalar(a % FREE_SCALARS) };
        self.depth += 1;
        if kind & 1 == 0 {
            self.builder.push(Opcode::If, &[condition.into()]);
            self.fill(usize::from(inside % 6), rest);
            if kind & 4 == 0 {
                self.builder.push(Opcode::Else, &[]);
                self.fill(usize::from(other % 6), rest);
            }
            self.builder.push(Opcode::EndIf, &[]);
        } else {
            // The counter of this depth of loops, and one for its comparison.
            let (counter, last) = (scalar(FREE_SCALARS + 2 * self.loops), scalar(FREE_SCALARS + 1 + 2 * self.loops));
            self.loops += 1;
            self.builder.push(Opcode::Mov, &[counter.into(), u32::from(count % 4).into()]);
            self.builder.push(Opcode::Loop, &[]);
            self.fill(usize::from(inside % 6), rest);
            if kind & 8 == 0 {
                self.builder.push(Opcode::Break, &[condition.into()]);
            }
            self.builder.push(Opcode::Eq, &[last.into(), counter.into(), 0_u32.into()]);
            self.builder.push(Opcode::Break, &[last.into()]);
            self.builder.push(Opcode::Sub, &[counter.into(), counter.into(), 1_u32.into()]);
            self.fill(usize::from(other % 4), rest);
            self.builder.push(Opcode::EndLoop, &[]);
            self.loops -= 1;
        }
        self.depth -= 1;
    }

    fn fill(&mut self, count: usize, rest: &mut std::slice::Iter<'_, Gene>) {
        for _ in 0..count {
            let Some(&gene) = rest.next() else { return };
            match gene[0] % 16 {
                0..=8 => self.compute(gene),
                9..=11 => self.memory(gene),
                12 => self.across(gene),
                13 | 14 if self.depth < 4 && self.loops < 3 => self.nest(gene, rest),
                15 => {
                    let condition = self.source(gene[1], true, None);
                    self.builder.push(Opcode::Eq, &[vector(FREE_VECTORS).into(), condition, u32::from(gene[2]).into()]);
                    self.builder.push(Opcode::Trap, &[vector(FREE_VECTORS).into(), u32::from(gene[3]).into()]);
                    let [a, b] = [gene[4], gene[5]].map(|choice| scalar(choice % FREE_SCALARS).into());
                    self.builder.push(Opcode::Printf, &[u32::from(gene[6]).into(), a, b]);
                }
                _ => self.compute(gene),
            }
        }
    }

    /// Stores the vectors of the mask and all else that the program holds, each tile to its own half of the output. What is not stored may be
    /// left undone, or be done for lanes that it should not be.
    fn finish(mut self, stored: u16) -> Program {
        let index = vector(FREE_VECTORS);
        self.builder.push(Opcode::Get, &[scalar(15).into(), Special::Tile.into()]);
        self.builder.push(Opcode::Mul, &[scalar(15).into(), scalar(15).into(), (16 * GROUP).into()]);
        self.builder.push(Opcode::Add, &[index.into(), lane().into(), scalar(15).into()]);
        let mut store = |row: u16, value: Register| {
            let memory = Operand::Memory { place: Place::Resource(1), index: Some(index), offset: row * GROUP as u16 };
            self.builder.push(Opcode::St32, &[memory, value.into()]);
        };
        (0..FREE_VECTORS).filter(|row| stored >> row & 1 != 0).for_each(|row| store(row.into(), vector(row)));
        store(FREE_VECTORS.into(), lane());
        for from in 0..FREE_SCALARS {
            self.builder.push(Opcode::Eq, &[vector(13).into(), lane().into(), u32::from(from).into()]);
            self.builder
                .push(Opcode::Select, &[vector(0).into(), vector(13).into(), scalar(from).into(), vector(0).into()]);
        }
        let memory = Operand::Memory { place: Place::Resource(1), index: Some(index), offset: 15 * GROUP as u16 };
        self.builder.push(Opcode::St32, &[memory, vector(0).into()]);
        self.builder.finish().expect("the generator makes valid programs")
    }
}

pub(crate) fn program(genes: &[Gene]) -> Program {
    let mut generator = Generator::new();
    generator.fill(genes.len(), &mut genes.iter());
    generator.finish(genes.iter().flatten().fold(0, |stored: u16, gene| stored.rotate_left(3) ^ u16::from(*gene)))
}

/// An engine with the memory that the programs work on.
struct Bench {
    runtime: Runtime,
    input: Resource,
    output: Resource,
    shared: Resource,
}

/// What a run leaves. Lines that it printed are behind its words, unless there were more than the log holds.
type Outcome = (Status, Fault, u32, Vec<u32>);

impl Bench {
    fn new(mut runtime: Runtime, input: &[u32]) -> Bench {
        let memory = runtime.allocate(4 * u64::from(INPUT), MemoryUse::HostToDevice).unwrap();
        memory.write(0, &bytes(input)).unwrap();
        let output = runtime.allocate(4 * u64::from(OUTPUT), MemoryUse::DeviceToHost).unwrap();
        let shared = runtime.allocate(256, MemoryUse::Local).unwrap();
        Bench { runtime, input: memory, output, shared }
    }

    fn run(&mut self, program: &Program, tiles: u32) -> Outcome {
        let loaded: LoadedProgram = self.runtime.load_program(program).unwrap();
        self.output.write(0, &vec![0xee; 4 * OUTPUT as usize]).unwrap();
        let fill = |args| Slot { output: self.shared.at(0), args, ..Slot::new(Operation::Fill) };
        let fill = fill([0x55, 0, 0, 0, 0, 0]).tiled(256, 256, 1);
        assert_eq!(run(&mut self.runtime, &fill).status, Status::Done);
        let (input, output) = (self.input.at(0), self.output.at(0));
        let further = [self.shared.handle()];
        let bindings = Bindings { input, output, further: &further, parameters: &[77, 0xffff_ff00] };
        let found = run(&mut self.runtime, &loaded.slot(&bindings, 300 * tiles - 100, 300).unwrap());
        let mut out = vec![0; 4 * OUTPUT as usize];
        self.output.read(0, &mut out).unwrap();
        let mut out = words(&out);
        for word in 0..64 {
            let load = Slot { input: self.shared.at(4 * word), ..Slot::new(Operation::LoadU32) };
            out.push(run(&mut self.runtime, &load.tiled(4, 4, 1)).results[0]);
        }
        let dropped = self.runtime.log_dropped();
        let records = std::iter::from_fn(|| self.runtime.read_log()).map(|line| line.record);
        let mut lines: Vec<_> = records.map(|record| [record.format, record.args[0], record.args[1]]).collect();
        // Those of two tiles come in any order.
        lines.sort_unstable();
        if self.runtime.log_dropped() == dropped {
            out.extend(lines.into_iter().flatten());
        }
        self.runtime.unload_program(loaded);
        (found.status, found.fault, found.fault_word, out)
    }
}

/// Words of all sorts: small, large, and floats of all magnitudes, subnormal and infinite ones and no numbers.
pub(crate) fn input() -> Vec<u32> {
    let noise = words(&crate::cases::noise(4 * INPUT as usize, 77));
    let word = |(i, noise): (usize, u32)| match i % 7 {
        0 => noise,
        1 => noise % 40,
        2 => (noise as f32 / 1e7 - 200.0).to_bits(),
        3 => noise & 0x807f_ffff,
        4 => [0, 0x8000_0000, 0x7f80_0000, 0xff80_0000, 0x7fc0_0000, 0xffff_ffff, 0x7f80_0001, 1][noise as usize % 8],
        5 => (noise as f32).to_bits() ^ noise << 31,
        _ => noise.cast_signed().wrapping_shr(noise % 31).cast_unsigned(),
    };
    noise.into_iter().enumerate().map(word).collect()
}

pub(crate) fn generated_programs_leave_the_same_bytes_everywhere(open: Open) {
    let input = input();
    let oracle = std::cell::RefCell::new(Bench::new(crate::reference(&options()), &input));
    let device = std::cell::RefCell::new(Bench::new(open(&options()), &input));
    let cases = std::env::var("VYRE_PROGRAMS").ok().and_then(|count| count.parse().ok()).unwrap_or(120);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 400, ..Config::default() };
    let genes = prop::collection::vec(any::<Gene>(), 0..60);
    let outcome = TestRunner::new(config).run(&genes, |genes| {
        let program = program(&genes);
        let (expected, found) = (oracle.borrow_mut().run(&program, 1), device.borrow_mut().run(&program, 1));
        let text = || disassemble(&program);
        prop_assert_eq!((expected.0, expected.1, expected.2), (found.0, found.1, found.2), "{}", text());
        prop_assert_eq!(expected.3.len(), found.3.len(), "{}", text());
        let differs = (0..expected.3.len()).find(|i| expected.3[*i] != found.3[*i]);
        if let Some(i) = differs {
            let (register, lane) = (i as u32 / GROUP, i as u32 % GROUP);
            prop_assert!(false, "row {register}, lane {lane}: {:#x}, not {:#x}\n{}", found.3[i], expected.3[i], text());
        }
        // Of two tiles the second may begin or be spared when the first faults.
        let expected = oracle.borrow_mut().run(&program, 2);
        let found = device.borrow_mut().run(&program, 2);
        prop_assert_eq!(expected.0, found.0, "{}", text());
        prop_assert!(expected.0 != Status::Done || expected == found, "{}", text());
        Ok(())
    });
    outcome.unwrap();
    end(oracle.into_inner().runtime);
    end(device.into_inner().runtime);
}

/// How far two floats are apart, in units in the last place of the expected one.
fn ulps(found: f32, expected: f64) -> f64 {
    if f64::from(found) == expected || (found.is_nan() && expected.is_nan()) {
        return 0.0;
    }
    let exponent = (expected.abs().log2().floor() as i32).clamp(-126, 127);
    (f64::from(found) - expected).abs() / 2_f64.powi(exponent - 23)
}

pub(crate) fn inexact_instructions_keep_their_bounds(open: Open) {
    let text = ".resource read\n.resource write\nget v0, item\nld32 v1, r0[v0]\nld32 v2, r0[v0 + 1]\nld32 v3, r0[v0 + 2]\nmul v9, v0, 5\n\
        divf v4, v1, v2\nfma v5, v1, v2, v3\nsqrt v6, v1\nexp2 v7, v1\nlog2 v8, v1\n\
        st32 r1[v9], v4\nst32 r1[v9 + 1], v5\nst32 r1[v9 + 2], v6\nst32 r1[v9 + 3], v7\nst32 r1[v9 + 4], v8\nend";
    let program = vyre_runtime::protocol::vir0::assemble(text).unwrap();
    let mut runtime = open(&options());
    let loaded = runtime.load_program(&program).unwrap();
    let count = 4096_u32;
    let noise = words(&crate::cases::noise(4 * count as usize + 8, 5));
    let float =
        |word: u32| (f64::from(word.cast_signed()) / f64::from(1 << 31) * 2_f64.powi((word % 13) as i32 - 6)) as f32;
    let floats: Vec<f32> = noise.into_iter().map(float).collect();
    let input = runtime.allocate(4 * u64::from(count) + 8, MemoryUse::HostToDevice).unwrap();
    let output = runtime.allocate(20 * u64::from(count), MemoryUse::DeviceToHost).unwrap();
    input.write(0, &bytes(&floats.iter().map(|float| float.to_bits()).collect::<Vec<_>>())).unwrap();
    let bindings = Bindings { input: input.at(0), output: output.at(0), ..Bindings::default() };
    assert_eq!(run(&mut runtime, &loaded.slot(&bindings, count, GROUP).unwrap()).status, Status::Done);
    let mut found = vec![0; 20 * count as usize];
    output.read(0, &mut found).unwrap();
    let found: Vec<f32> = words(&found).into_iter().map(f32::from_bits).collect();
    for (i, row) in found.as_chunks::<5>().0.iter().enumerate() {
        let [a, b, c] = [floats[i], floats[i + 1], floats[i + 2]].map(f64::from);
        assert!(ulps(row[0], a / b) <= 2.5, "{a} / {b} is {}", row[0]);
        let (once, twice) = ((a as f32).mul_add(b as f32, c as f32), a as f32 * b as f32 + c as f32);
        assert!(row[1] == once || row[1] == twice, "{a} * {b} + {c} is {}", row[1]);
        assert!(ulps(row[2], a.sqrt()) <= 3.0, "the root of {a} is {}", row[2]);
        assert!(ulps(row[3], a.exp2()) <= 3.0 + 2.0 * a.abs(), "2 to the {a} is {}", row[3]);
        let logarithm = a.log2();
        let near = (f64::from(row[4]) - logarithm).abs() <= 2_f64.powi(-21) && (0.5..2.0).contains(&a);
        assert!(near || ulps(row[4], logarithm) <= 3.0, "the logarithm of {a} is {}", row[4]);
    }
    end(runtime);
}

/// Programs of the library with a few fields changed: what the check lets through ends, done or faulted, and
/// touches nothing but what its slot binds.
pub(crate) fn mutated_programs_are_refused_or_safe(open: Open) {
    let texts = crate::library::TEXTS.map(|text| vyre_runtime::protocol::vir0::assemble(text).unwrap());
    let mut runtime = open(&options());
    let memory = runtime.allocate(3 * 4096, MemoryUse::DeviceToHost).unwrap();
    let (mut ran, mut state) = (0, 1_u32);
    let mut random = move |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % below
    };
    for _ in 0..3000 {
        let mut parts = texts[random(texts.len())].parts().clone();
        for _ in 0..=random(3) {
            let at = random(parts.code.len());
            let other = parts.code[random(parts.code.len())];
            let instruction = &mut parts.code[at];
            match random(6) {
                0 => instruction.opcode = Opcode::ALL[random(Opcode::ALL.len())],
                1 => instruction.d = random(36) as u8,
                2 => instruction.a = random(36) as u8,
                3 => instruction.b = random(36) as u8,
                4 => instruction.word = [0, 1, 5, 0x0004_0000, 0xffff_0001, u32::MAX][random(6)],
                _ => *instruction = other,
            }
        }
        let Ok(program) = Program::new(parts) else { continue };
        // Atomic changes need other memory than the host's.
        if program.parts().resources.iter().any(|access| access & ATOMIC != 0) {
            continue;
        }
        ran += 1;
        memory.write(0, &vec![0xee; 3 * 4096]).unwrap();
        let loaded = runtime.load_program(&program).unwrap();
        let input = memory.at(8192);
        let parameters = [16, 0x3f80_0000, 3, 0x3f00_0000, 9];
        let parameters = &parameters[..program.parts().parameters as usize];
        let bindings = Bindings { input, output: memory.at(8192), further: &[], parameters };
        let found = run(&mut runtime, &loaded.slot(&bindings, 600, GROUP).unwrap());
        assert!(found.status == Status::Done || found.fault != Fault::None, "{}", disassemble(&program));
        let mut bytes = vec![0; 8192];
        memory.read(0, &mut bytes).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 0xee), "{}", disassemble(&program));
        runtime.unload_program(loaded);
    }
    assert!(ran > 100, "{ran} programs passed the check");
    end(runtime);
}
