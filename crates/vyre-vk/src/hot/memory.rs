//! Instructions on memory.

use rspirv::spirv::{Op, Word};
use vyre_protocol::vir0::{Form, IMMEDIATE, Instruction, Opcode, Place, VECTORS};

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
const UNCHECKED: u32 = 1 << 6;

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

impl Translator<'_> {
    /// The index of the access, in elements.
    fn index(&mut self, instruction: &Instruction, place: usize) -> Word {
        let offset = self.emitter.words(instruction.word >> 16);
        if instruction.a == IMMEDIATE {
            return offset;
        }
        let index = self.source(instruction, instruction.a, place);
        self.emitter.op(Op::IAdd, self.emitter.types.uvec4, &[index, offset])
    }

    /// Index, and the lanes whose access lies inside; `mask`: those that take part.
    fn inside(&mut self, instruction: &Instruction, place: usize, mask: Word) -> Result<[Word; 2], Untranslatable> {
        let index = self.index(instruction, place);
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
        self.pay()?;
        let Hazards { conflicts, opens } = Hazards::of(instruction);
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

    /// Writes a scalar that the first hardware lane has, or all.
    fn hand_round(&mut self, instruction: &Instruction, value: Word, alone: bool) -> Result<(), Untranslatable> {
        let value = if alone { self.emitter.call("first", &[self.group, value])? } else { value };
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
                    let columns = (0..QUAD).map(|k| self.source(instruction, instruction.b + k, place));
                    let arguments: Vec<_> = [memory, index, inside].into_iter().chain(columns).collect();
                    self.emitter.call("store_wide", &arguments)?;
                }
                Opcode::St32 => {
                    let value = self.source(instruction, instruction.b, place);
                    self.emitter.call("store", &[memory, index, inside, value])?;
                }
                opcode => {
                    let value = self.source(instruction, instruction.b, place);
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
            let (memory, b) = (self.memory(instruction), self.source(instruction, instruction.b, place));
            let swaps = instruction.opcode.form() == Form::Swap;
            let c = if swaps { self.source(instruction, instruction.c(), place) } else { b };
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
