//! One program as a function of the kernel.
//!
//! Registers and masks are variables, one for each place that a hardware lane has, so that all places are gone through without a loop.
//! Branches with a scalar condition and loops become the shader's own; those with a vector change masks. What an instruction computes, the
//! shader's pieces know.
//!
//! *Fuel* is paid for a run of instructions at once, before the one at its end, which has an effect: if there is not enough, no effect of the
//! run is there yet, and the shader finds the instruction by walking over it. A `break` is paid for where it leaves, or else with what comes
//! behind it. *Accesses outside* are noted and voted on before the next effect, since nothing can be seen of what was computed in between.

use std::collections::BTreeMap;
use std::ops::BitOr;

use rspirv::spirv::{Op, Word};
use vyre_protocol::vir0::{Form, Instruction, Opcode, Program, Source, VECTORS};

use super::emitter::Emitter;
use super::floats::FloatRegisters;
use super::memory::{Hazards, Table, UNCHECKED};
use super::ranges::Ranges;
use super::waiting::Waiting;
use super::{Target, Untranslatable};

/// What a program comes to, as `vir0_hot.glsl` has it.
pub(super) const UNKNOWN: u32 = 0;
const ENDED: u32 = 1;
pub(super) const SHORT: u32 = 2;
const TRAPPED: u32 = 3;

/// Bits of a vote.
const OUTSIDE: u32 = 1;
pub(super) const SEEN: u32 = 2;

/// What was done since the lanes last met.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Since {
    /// Accesses to memory, as [`Hazards`] has them.
    pub(super) open: u32,
    /// What goes across lanes was read.
    exchange: bool,
}

impl BitOr for Since {
    type Output = Since;
    fn bitor(self, other: Since) -> Since {
        Since { open: self.open | other.open, exchange: self.exchange | other.exchange }
    }
}

impl Since {
    /// What an instruction leaves behind.
    pub(super) fn of(instruction: &Instruction) -> Since {
        let form = instruction.opcode.form();
        let open = if form.is_memory() { Hazards::of(instruction).opens } else { 0 };
        Since { open, exchange: matches!(form, Form::Reduce | Form::Scan | Form::Shuffle) }
    }
}

/// A branch with a scalar condition, or a loop, that is open.
pub(super) enum Frame {
    /// A branch with a vector condition.
    Masks,
    Branch {
        /// The block of its other side, until that has begun.
        other: Option<Word>,
        merge: Word,
        /// At its beginning, and then at the end of its first side.
        since: Since,
    },
    Loop {
        head: Word,
        again: Word,
        merge: Word,
        /// Depth of masks before it.
        depth: u8,
        since: Since,
        /// If lanes leave it by themselves: whether this one is short of fuel.
        short: Option<Word>,
    },
}

pub(super) struct Translator<'a> {
    pub(super) code: &'a [Instruction],
    pub(super) emitter: &'a mut Emitter,
    pub(super) group: Word,
    /// The numbers of the hardware lane's places.
    pub(super) places: Vec<Word>,
    registers: BTreeMap<(u8, usize), Word>,
    masks: BTreeMap<(u8, usize), Word>,
    pub(super) depth: u8,
    pub(super) frames: Vec<Frame>,
    pub(super) since: Since,
    pub(super) floats: FloatRegisters,
    pub(super) ranges: Ranges,
    waiting: Waiting,
    /// The instruction that is translated.
    at: usize,
    /// Where the constants are in scratch, if they are.
    pub(super) table: Option<Table>,
    /// Constants and words of scratch that the program has.
    pub(super) words: [u32; 2],
    /// From where on instructions are not paid for yet, and their fuel.
    pub(super) due: (usize, u32),
}

/// Adds the program to the module as a function, and gives that.
pub(super) fn translate(
    emitter: &mut Emitter,
    program: &Program,
    places: usize,
    target: Target,
) -> Result<Word, Untranslatable> {
    let group = emitter.begin();
    let parts = program.parts();
    let code = &parts.code;
    let words = [parts.constants.len() as u32, parts.scratch];
    let mut translator = Translator {
        code,
        emitter,
        group,
        places: Vec::new(),
        registers: BTreeMap::new(),
        masks: BTreeMap::new(),
        depth: 0,
        frames: Vec::new(),
        since: Since::default(),
        floats: FloatRegisters::of(code),
        ranges: Ranges::new(),
        waiting: Waiting::of(code),
        at: 0,
        table: if target.host_threads { None } else { Table::of(code, words) },
        words,
        due: (0, 0),
    };
    translator.keep_constants()?;
    for place in 0..places {
        let number = translator.emitter.word(place as u32);
        let place = translator.emitter.call("place", &[number])?;
        translator.places.push(place);
    }
    for (at, instruction) in code.iter().enumerate() {
        translator.step(at, instruction)?;
        translator.ranges.step(instruction);
    }
    emitter.end(group).ok_or_else(|| Untranslatable::Piece("program".into()))
}

impl Translator<'_> {
    fn step(&mut self, at: usize, instruction: &Instruction) -> Result<(), Untranslatable> {
        self.at = at;
        if self.due.1 == 0 {
            self.due.0 = at;
        }
        self.due.1 += instruction.fuel();
        match instruction.opcode.form() {
            Form::Unary | Form::Binary | Form::Ternary => self.compute(instruction),
            Form::Get => self.get(instruction),
            Form::Load => self.load(instruction),
            Form::Store => self.store(instruction),
            Form::Atomic | Form::Swap => self.atomic(instruction),
            Form::Reduce => self.reduce(instruction),
            Form::Scan => self.scan(instruction),
            Form::Shuffle => self.shuffle(instruction),
            Form::If | Form::Else => self.branch(instruction),
            Form::EndIf => self.end_branch(at, instruction),
            Form::Loop => self.begin_loop(at, instruction),
            Form::Break => self.leave_loop(instruction),
            Form::EndLoop => self.end_loop(at, instruction),
            Form::Trap => self.trap(instruction),
            Form::Print => self.print(instruction),
            Form::End => {
                self.pay()?;
                self.emitter.give(ENDED);
                Ok(())
            }
        }
    }

    /// Pays for what is due, before an effect.
    pub(super) fn pay(&mut self) -> Result<(), Untranslatable> {
        let (at, fuel) = std::mem::take(&mut self.due);
        if fuel != 0 {
            let (at, fuel) = (self.emitter.word(at as u32), self.emitter.word(fuel));
            let paid = self.emitter.call("pay", &[self.group, at, fuel])?;
            let short = self.emitter.not(paid);
            match self.innermost() {
                Some((merge, Some(variable))) => {
                    let (leaves, goes_on) = (self.emitter.id(), self.emitter.id());
                    self.emitter.fork(short, leaves, goes_on, goes_on);
                    self.emitter.label(leaves);
                    let one = self.emitter.word(1);
                    self.emitter.store(variable, one);
                    self.emitter.branch(merge);
                    self.emitter.label(goes_on);
                }
                _ => self.emitter.give_if(short, SHORT),
            }
        }
        Ok(())
    }

    /// Where the innermost loop ends, and what says that a lane which leaves it by itself is short.
    pub(super) fn innermost(&self) -> Option<(Word, Option<Word>)> {
        self.frames.iter().rev().find_map(|frame| match frame {
            Frame::Loop { merge, short, .. } => Some((*merge, *short)),
            _ => None,
        })
    }

    /// All lanes meet; ends if an access was outside. Gives the vote.
    pub(super) fn vote(&mut self, seen: Word) -> Result<Word, Untranslatable> {
        let vote = self.emitter.call("vote", &[self.group, seen])?;
        let outside = self.emitter.has_bits(vote, OUTSIDE);
        self.emitter.give_if(outside, ENDED);
        self.since = Since::default();
        Ok(vote)
    }

    fn variable(&mut self, code: u8, place: usize) -> Word {
        let of = if code < VECTORS { self.emitter.types.uvec4 } else { self.emitter.types.uint };
        *self.registers.entry((code, place)).or_insert_with(|| self.emitter.variable(of))
    }

    pub(super) fn scalar(&mut self, code: u8) -> Word {
        let variable = self.variable(code, 0);
        self.emitter.load(self.emitter.types.uint, variable)
    }

    pub(super) fn write_scalar(&mut self, code: u8, value: Word) {
        let variable = self.variable(code, 0);
        self.emitter.store(variable, value);
    }

    /// A source of a place, in four lanes.
    pub(super) fn source(&mut self, instruction: &Instruction, code: u8, place: usize) -> Result<Word, Untranslatable> {
        let value = self.raw(instruction, code, place);
        if self.floats.has(code) { self.emitter.call("number", &[value]) } else { Ok(value) }
    }

    /// The same as it lies there: in a float register, any number that is none.
    pub(super) fn raw(&mut self, instruction: &Instruction, code: u8, place: usize) -> Word {
        match Source::from_code(code) {
            Some(Source::Register(register)) if register.is_vector() => {
                let variable = self.variable(code, place);
                self.emitter.load(self.emitter.types.uvec4, variable)
            }
            Some(Source::Register(_)) => {
                let value = self.scalar(code);
                self.emitter.splat(value)
            }
            _ => self.emitter.words(instruction.word),
        }
    }

    /// Writes to a vector, in the active lanes and in those that do not need what is there.
    pub(super) fn write(&mut self, code: u8, place: usize, value: Word) {
        let variable = self.variable(code, place);
        let uvec4 = self.emitter.types.uvec4;
        let value = if self.depth == 0 || !self.waiting.need(self.at, code) {
            value
        } else {
            let (mask, before) = (self.mask(place), self.emitter.load(uvec4, variable));
            self.emitter.op(Op::Select, uvec4, &[mask, value, before])
        };
        self.emitter.store(variable, value);
    }

    /// The active lanes.
    pub(super) fn mask(&mut self, place: usize) -> Word {
        self.mask_at(self.depth, place)
    }

    pub(super) fn mask_at(&mut self, depth: u8, place: usize) -> Word {
        if depth == 0 {
            return self.emitter.types.all;
        }
        let variable = self.mask_variable(depth, place);
        self.emitter.load(self.emitter.types.bvec4, variable)
    }

    fn mask_variable(&mut self, depth: u8, place: usize) -> Word {
        let of = self.emitter.types.bvec4;
        *self.masks.entry((depth, place)).or_insert_with(|| self.emitter.variable(of))
    }

    pub(super) fn write_mask(&mut self, depth: u8, place: usize, mask: Word) {
        let variable = self.mask_variable(depth, place);
        self.emitter.store(variable, mask);
    }

    /// Active lanes in which a source is not 0.
    pub(super) fn condition(&mut self, instruction: &Instruction, place: usize) -> Word {
        let (zero, bvec4) = (self.emitter.words(0), self.emitter.types.bvec4);
        let value = self.raw(instruction, instruction.a, place);
        let set = self.emitter.op(Op::INotEqual, bvec4, &[value, zero]);
        let active = self.mask(place);
        self.emitter.op(Op::LogicalAnd, bvec4, &[active, set])
    }

    /// The places that an instruction works in: all, or one for what is done once.
    pub(super) fn places_of(&self, instruction: &Instruction) -> std::ops::Range<usize> {
        0..if instruction.is_vector() { self.places.len() } else { 1 }
    }

    fn put(&mut self, instruction: &Instruction, place: usize, value: Word) {
        if instruction.d < VECTORS {
            self.write(instruction.d, place, value);
        } else {
            let first = self.emitter.first(value);
            self.write_scalar(instruction.d, first);
        }
    }

    fn compute(&mut self, instruction: &Instruction) -> Result<(), Untranslatable> {
        for place in self.places_of(instruction) {
            let operands = self.operands(instruction, place)?;
            let value = self.result(instruction, &operands)?;
            self.put(instruction, place, value);
        }
        Ok(())
    }

    fn get(&mut self, instruction: &Instruction) -> Result<(), Untranslatable> {
        let name = self.emitter.word(instruction.word);
        for place in self.places_of(instruction) {
            let value = self.emitter.call("get", &[self.group, name, self.places[place]])?;
            self.put(instruction, place, value);
        }
        Ok(())
    }

    /// Gives the lanes' values to the others, by the piece that does that.
    fn exchange(&mut self, instruction: &Instruction, piece: &str) -> Result<(), Untranslatable> {
        if self.since.exchange {
            self.emitter.call("meet", &[])?;
        }
        for place in 0..self.places.len() {
            let (value, mask) = (self.source(instruction, instruction.a, place)?, self.mask(place));
            self.emitter.call(piece, &[self.places[place], value, mask])?;
        }
        self.since.exchange = true;
        Ok(())
    }

    fn reduce(&mut self, instruction: &Instruction) -> Result<(), Untranslatable> {
        let name = instruction.opcode.name();
        self.exchange(instruction, &format!("{name}_give"))?;
        let value = self.emitter.call(name, &[])?;
        self.write_scalar(instruction.d, value);
        Ok(())
    }

    fn scan(&mut self, instruction: &Instruction) -> Result<(), Untranslatable> {
        self.exchange(instruction, "give")?;
        self.emitter.call("scan", &[])?;
        for place in 0..self.places.len() {
            let value = self.emitter.call("scanned", &[self.places[place]])?;
            self.write(instruction.d, place, value);
        }
        Ok(())
    }

    fn shuffle(&mut self, instruction: &Instruction) -> Result<(), Untranslatable> {
        self.exchange(instruction, "give")?;
        self.emitter.call("meet", &[])?;
        for place in self.places_of(instruction) {
            let lanes = self.source(instruction, instruction.b, place)?;
            let value = self.emitter.call("shuffled", &[lanes])?;
            self.put(instruction, place, value);
        }
        Ok(())
    }

    fn trap(&mut self, instruction: &Instruction) -> Result<(), Untranslatable> {
        self.pay()?;
        let traps = if instruction.is_vector() {
            let mut seen = self.emitter.types.no;
            for place in 0..self.places.len() {
                let condition = self.condition(instruction, place);
                seen = self.emitter.any(condition, seen);
            }
            let vote = self.vote(seen)?;
            self.emitter.has_bits(vote, SEEN)
        } else {
            let value = self.scalar(instruction.a);
            self.emitter.is_set(value)
        };
        let (leaves, goes_on) = (self.emitter.id(), self.emitter.id());
        self.emitter.fork(traps, leaves, goes_on, goes_on);
        self.emitter.label(leaves);
        let code = self.emitter.word(instruction.word);
        self.emitter.call("trap", &[self.group, code])?;
        self.emitter.give(TRAPPED);
        self.emitter.label(goes_on);
        Ok(())
    }

    /// A line, which nobody takes back: behind what it costs, and behind a vote if an access before it may have been outside.
    fn print(&mut self, instruction: &Instruction) -> Result<(), Untranslatable> {
        self.pay()?;
        if self.since.open & UNCHECKED != 0 {
            self.vote(self.emitter.types.no)?;
        }
        let mut arguments = vec![self.group, self.emitter.word(instruction.word)];
        for code in instruction.sources() {
            let value = self.source(instruction, code, 0)?;
            arguments.push(self.emitter.first(value));
        }
        self.emitter.call("print", &arguments)?;
        Ok(())
    }

    fn branch(&mut self, instruction: &Instruction) -> Result<(), Untranslatable> {
        let depth = instruction.d;
        match (instruction.opcode, instruction.is_vector()) {
            (Opcode::If, true) => {
                for place in 0..self.places.len() {
                    let mask = self.condition(instruction, place);
                    self.write_mask(depth, place, mask);
                }
                self.frames.push(Frame::Masks);
                self.depth = depth;
                Ok(())
            }
            (_, true) => {
                let bvec4 = self.emitter.types.bvec4;
                for place in 0..self.places.len() {
                    let (outer, taken) = (self.mask_at(depth - 1, place), self.mask_at(depth, place));
                    let rest = self.emitter.op(Op::LogicalNot, bvec4, &[taken]);
                    let mask = self.emitter.op(Op::LogicalAnd, bvec4, &[outer, rest]);
                    self.write_mask(depth, place, mask);
                }
                Ok(())
            }
            (Opcode::If, false) => {
                self.pay()?;
                let value = self.scalar(instruction.a);
                let condition = self.emitter.is_set(value);
                let (first, other, merge) = (self.emitter.id(), self.emitter.id(), self.emitter.id());
                self.emitter.fork(condition, first, other, merge);
                self.emitter.label(first);
                self.frames.push(Frame::Branch { other: Some(other), merge, since: self.since });
                Ok(())
            }
            (_, false) => {
                self.pay()?;
                self.turn();
                Ok(())
            }
        }
    }

    /// Ends a branch's first side and begins the other.
    fn turn(&mut self) {
        if let Some(Frame::Branch { other, merge, since }) = self.frames.last_mut()
            && let Some(label) = other.take()
        {
            self.emitter.branch(*merge);
            self.emitter.label(label);
            std::mem::swap(since, &mut self.since);
        }
    }

    fn end_branch(&mut self, at: usize, instruction: &Instruction) -> Result<(), Untranslatable> {
        if let Some(Frame::Branch { .. }) = self.frames.last() {
            // The `endif` itself is run on both ways, behind them.
            self.due.1 -= instruction.fuel();
            self.pay()?;
            self.turn();
        }
        if let Some(Frame::Branch { merge, since, .. }) = self.frames.pop() {
            self.emitter.branch(merge);
            self.emitter.label(merge);
            self.since = self.since | since;
            self.due = (at, instruction.fuel());
        }
        self.depth = instruction.d;
        Ok(())
    }
}
