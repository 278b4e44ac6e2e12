//! Instructions on memory.

use rspirv::spirv::{Op, Word};
use vyre_protocol::vir0::{Form, IMMEDIATE, Instruction, Opcode, Place, VECTORS};

use super::Untranslatable;
use super::translate::Translator;

/// Words that a quad has.
const QUAD: u8 = 4;

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
        self.since.notes = true;
        Ok([index, inside])
    }

    fn memory(&mut self, instruction: &Instruction) -> Word {
        self.emitter.word(instruction.word & 0xff)
    }

    /// Word `k` of the quads at an index.
    fn quad(&mut self, index: Word, k: u8) -> Word {
        let (four, k, uvec4) =
            (self.emitter.words(QUAD.into()), self.emitter.words(k.into()), self.emitter.types.uvec4);
        let word = self.emitter.op(Op::IMul, uvec4, &[index, four]);
        self.emitter.op(Op::IAdd, uvec4, &[word, k])
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

    /// Before an effect on memory: all lanes have ended what they did there, and all of it lay inside.
    fn settle(&mut self) -> Result<(), Untranslatable> {
        self.pay()?;
        if self.since.loads || self.since.stores || self.since.notes {
            self.vote(self.emitter.types.no)?;
        }
        Ok(())
    }

    pub(super) fn load(&mut self, instruction: &Instruction) -> Result<(), Untranslatable> {
        self.pay()?;
        if self.since.stores {
            self.vote(self.emitter.types.no)?;
        }
        // What others may change is read once, so that all hardware lanes go the same way.
        let shared = matches!(Place::from_code(instruction.word as u8), Some(Place::Resource(_)));
        for place in self.places_of(instruction) {
            let mask = self.takers(instruction, place, shared)?;
            let [index, inside] = self.inside(instruction, place, mask)?;
            let memory = self.memory(instruction);
            let words = if instruction.opcode == Opcode::Ld128 { QUAD } else { 1 };
            for k in 0..words {
                let (op, index) =
                    if words == 1 { (instruction.opcode, index) } else { (Opcode::Ld32, self.quad(index, k)) };
                let op = self.emitter.word(op.code().into());
                let value = self.emitter.call("load", &[op, memory, index, inside])?;
                if instruction.d < VECTORS {
                    self.write(instruction.d + k, place, value);
                } else {
                    let value = self.emitter.first(value);
                    self.hand_round(instruction, value, shared)?;
                }
            }
        }
        self.since.loads = true;
        Ok(())
    }

    /// Writes a scalar that the first hardware lane has, or all.
    fn hand_round(&mut self, instruction: &Instruction, value: Word, alone: bool) -> Result<(), Untranslatable> {
        let value = if alone { self.emitter.call("first", &[self.group, value])? } else { value };
        self.write_scalar(instruction.d, value);
        Ok(())
    }

    pub(super) fn store(&mut self, instruction: &Instruction) -> Result<(), Untranslatable> {
        self.settle()?;
        for place in self.places_of(instruction) {
            let mask = self.takers(instruction, place, true)?;
            let [index, inside] = self.inside(instruction, place, mask)?;
            let memory = self.memory(instruction);
            match instruction.opcode {
                Opcode::St128 => {
                    for k in 0..QUAD {
                        let (value, index) = (self.source(instruction, instruction.b + k, place), self.quad(index, k));
                        self.emitter.call("store", &[memory, index, inside, value])?;
                    }
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
        self.since.stores = true;
        Ok(())
    }

    pub(super) fn atomic(&mut self, instruction: &Instruction) -> Result<(), Untranslatable> {
        self.settle()?;
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
        self.since.stores = true;
        Ok(())
    }
}
