//! Instructions on memory.

use rspirv::spirv::{Op, Word};
use vyre_protocol::vir0::{Form, IMMEDIATE, Instruction, MAX_SCRATCH, Opcode, Place, VECTORS};

use super::Untranslatable;
use super::translate::Translator;

/// Words that a quad has.
const QUAD: u8 = 4;

/// Accesses since the lanes last met, by kind of memory: loads, stores and other atomics, additions.
const LOADED: u32 = 1;
const STORED: u32 = 2;
const ADDED: u32 = 4;
/// The same in scratch.
const SCRATCH_SHIFT: u32 = 3;
/// An access may have been outside that was not voted on.
pub(super) const UNCHECKED: u32 = 1 << 6;

/// How an access stands to those before it: the counterpart of `hazards` in `vir0_group.glsl`.
pub(super) struct Hazards {
    /// Accesses that must not be under way when it begins.
    conflicts: u32,
    /// What it is itself.
    pub(super) opens: u32,
}

impl Hazards {
    pub(super) fn of(instruction: &Instruction) -> Hazards {
        let scratch = match Place::from_code(instruction.word as u8) {
            Some(Place::Constants) => return Hazards { conflicts: 0, opens: UNCHECKED },
            place => place == Some(Place::Scratch),
        };
        let shift = if scratch { SCRATCH_SHIFT } else { 0 };
        let (conflicts, opens) = match instruction.opcode {
            // Additions come to the same in any order.
            Opcode::AtAdd => (LOADED | STORED, ADDED),
            opcode if opcode.form() == Form::Load => (STORED | ADDED, LOADED),
            _ => (LOADED | STORED | ADDED, STORED),
        };
        // What a program leaves in its resources is from before its first access outside.
        let leaves = !scratch && instruction.opcode.form() != Form::Load;
        let checked = if leaves { UNCHECKED } else { 0 };
        Hazards { conflicts: conflicts << shift | checked, opens: opens << shift | UNCHECKED }
    }
}

/// The constants in scratch that the program leaves free.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    /// Word of the scratch at which they begin: that of a quad.
    at: u32,
}

impl Table {
    /// Where they would be, if there is room and the program reads them again and again.
    pub(super) fn of(code: &[Instruction], [constants, scratch]: [u32; 2]) -> Option<Table> {
        let at = scratch.next_multiple_of(QUAD.into());
        let mut depth = 0;
        let again = code.iter().any(|instruction| {
            match instruction.opcode.form() {
                Form::Loop => depth += 1,
                Form::EndLoop => depth -= 1,
                _ => {}
            }
            depth > 0 && is_constant(instruction)
        });
        (again && at + constants <= MAX_SCRATCH).then_some(Table { at })
    }
}

/// Whether it loads of the constants.
fn is_constant(instruction: &Instruction) -> bool {
    instruction.opcode.form() == Form::Load && Place::from_code(instruction.word as u8) == Some(Place::Constants)
}

impl Translator<'_> {
    /// Copies the constants if they are to be in scratch.
    pub(super) fn keep_constants(&mut self) -> Result<(), Untranslatable> {
        if let Some(Table { at }) = self.table {
            let (at, words) = (self.emitter.word(at), self.emitter.word(self.words[0]));
            self.emitter.call("keep_constants", &[at, words])?;
        }
        Ok(())
    }

    /// The index of the access, in elements.
    fn index(&mut self, instruction: &Instruction, place: usize) -> Result<Word, Untranslatable> {
        let offset = self.emitter.words(instruction.word >> 16);
        if instruction.a == IMMEDIATE {
            return Ok(offset);
        }
        let index = self.source(instruction, instruction.a, place)?;
        Ok(self.emitter.op(Op::IAdd, self.emitter.types.uvec4, &[index, offset]))
    }

    /// Whether an access lies inside whatever its lanes hold: in memory whose size the program says.
    fn is_inside(&self, instruction: &Instruction) -> bool {
        let words = match Place::from_code(instruction.word as u8) {
            Some(Place::Constants) => self.words[0],
            Some(Place::Scratch) => self.words[1],
            _ => return false,
        };
        let index = if instruction.a == IMMEDIATE { 0 } else { self.ranges.of(instruction, instruction.a) };
        let behind = u64::from(index) + u64::from(instruction.word >> 16) + 1;
        instruction.opcode.width().is_some_and(|width| behind * u64::from(width) <= 4 * u64::from(words))
    }

    /// Index, and the lanes whose access lies inside; `mask`: those that take part.
    fn inside(&mut self, instruction: &Instruction, place: usize, mask: Word) -> Result<[Word; 2], Untranslatable> {
        let index = self.index(instruction, place)?;
        if self.is_inside(instruction) {
            return Ok([index, mask]);
        }
        let (op, memory) = (self.emitter.word(instruction.opcode.code().into()), self.memory(instruction));
        let inside = self.emitter.call("inside", &[self.group, op, memory, index, mask, self.places[place]])?;
        Ok([index, inside])
    }

    fn memory(&mut self, instruction: &Instruction) -> Word {
        self.emitter.word(instruction.word & 0xff)
    }

    /// The lane that does what is done once for the group: the first, of the first hardware lane if it must do it alone.
    fn once(&mut self, alone: bool) -> Result<Word, Untranslatable> {
        if !alone {
            return Ok(self.emitter.types.one);
        }
        let (bvec4, no) = (self.emitter.types.bvec4, self.emitter.types.no);
        let does = self.emitter.call("is_first", &[])?;
        Ok(self.emitter.op(Op::CompositeConstruct, bvec4, &[does, no, no, no]))
    }

    /// Who takes part in a place.
    fn takers(&mut self, instruction: &Instruction, place: usize, alone: bool) -> Result<Word, Untranslatable> {
        if instruction.is_vector() { Ok(self.mask(place)) } else { self.once(alone) }
    }

    /// Before an access: the lanes meet if others are under way that it must not overtake.
    fn settle(&mut self, instruction: &Instruction) -> Result<(), Untranslatable> {
        let Hazards { conflicts, mut opens } = Hazards::of(instruction);
        if self.is_inside(instruction) {
            // Nobody sees of it what the fuel was.
            opens &= !UNCHECKED;
        } else {
            self.pay()?;
        }
        if self.since.open & conflicts != 0 {
            self.vote(self.emitter.types.no)?;
        }
        self.since.open |= opens;
        Ok(())
    }

    pub(super) fn load(&mut self, instruction: &Instruction) -> Result<(), Untranslatable> {
        self.settle(instruction)?;
        // What others may change is read once, so that all hardware lanes go the same way.
        let shared = matches!(Place::from_code(instruction.word as u8), Some(Place::Resource(_)));
        for place in self.places_of(instruction) {
            let mask = self.takers(instruction, place, shared)?;
            let [index, inside] = self.inside(instruction, place, mask)?;
            let memory = self.memory(instruction);
            let [memory, index] = self.looked_up(instruction, memory, index);
            if instruction.opcode == Opcode::Ld128 {
                let columns = self.emitter.call("load_wide", &[memory, index, inside])?;
                for k in 0..QUAD {
                    let value = self.emitter.column(columns, k.into());
                    self.write(instruction.d + k, place, value);
                }
                continue;
            }
            let op = self.emitter.word(instruction.opcode.code().into());
            let value = self.emitter.call("load", &[op, memory, index, inside])?;
            if instruction.d < VECTORS {
                self.write(instruction.d, place, value);
            } else {
                let value = self.emitter.first(value);
                self.hand_round(instruction, value, shared)?;
            }
        }
        Ok(())
    }

    /// Place and index at which a load finds what it names.
    fn looked_up(&mut self, instruction: &Instruction, memory: Word, index: Word) -> [Word; 2] {
        let width = instruction.opcode.width().unwrap_or(4);
        match self.table {
            Some(Table { at }) if is_constant(instruction) => {
                let (scratch, at) = (Place::Scratch.code(), self.emitter.words(4 * at / width));
                let index = self.emitter.op(Op::IAdd, self.emitter.types.uvec4, &[index, at]);
                [self.emitter.word(scratch.into()), index]
            }
            _ => [memory, index],
        }
    }

    /// Writes a scalar that the first hardware lane has, or all.
    fn hand_round(&mut self, instruction: &Instruction, value: Word, alone: bool) -> Result<(), Untranslatable> {
        let value = if alone {
            let first = self.emitter.word(0);
            self.emitter.call("told", &[self.group, value, first])?
        } else {
            value
        };
        self.write_scalar(instruction.d, value);
        Ok(())
    }

    pub(super) fn store(&mut self, instruction: &Instruction) -> Result<(), Untranslatable> {
        self.settle(instruction)?;
        for place in self.places_of(instruction) {
            let mask = self.takers(instruction, place, true)?;
            let [index, inside] = self.inside(instruction, place, mask)?;
            let memory = self.memory(instruction);
            match instruction.opcode {
                Opcode::St128 => {
                    let mut arguments = vec![memory, index, inside];
                    for k in 0..QUAD {
                        arguments.push(self.source(instruction, instruction.b + k, place)?);
                    }
                    self.emitter.call("store_wide", &arguments)?;
                }
                Opcode::St32 => {
                    let value = self.source(instruction, instruction.b, place)?;
                    self.emitter.call("store", &[memory, index, inside, value])?;
                }
                opcode => {
                    let value = self.source(instruction, instruction.b, place)?;
                    let op = self.emitter.word(opcode.code().into());
                    self.emitter.call("store_part", &[op, memory, index, inside, value])?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn atomic(&mut self, instruction: &Instruction) -> Result<(), Untranslatable> {
        self.settle(instruction)?;
        for place in self.places_of(instruction) {
            let mask = self.takers(instruction, place, true)?;
            let [index, inside] = self.inside(instruction, place, mask)?;
            let (memory, b) = (self.memory(instruction), self.source(instruction, instruction.b, place)?);
            let swaps = instruction.opcode.form() == Form::Swap;
            let c = if swaps { self.source(instruction, instruction.c(), place)? } else { b };
            let before = self.emitter.call(instruction.opcode.name(), &[memory, index, inside, b, c])?;
            if instruction.d < VECTORS {
                self.write(instruction.d, place, before);
            } else {
                let before = self.emitter.first(before);
                self.hand_round(instruction, before, true)?;
            }
        }
        Ok(())
    }
}
