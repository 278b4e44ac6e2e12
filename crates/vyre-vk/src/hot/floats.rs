//! What VIR0 says of floats, no oftener than it shows.
//!
//! Sources that are subnormal count as 0, results likewise, and a result that is no number is always the same one. A *float register* is
//! one to which only results of instructions on floats are written, and copies of such registers. It holds no subnormal number, so nobody
//! need look for one; and any number that is none, until somebody reads its bits.

use rspirv::spirv::Word;
use vyre_protocol::vir0::{Instruction, Opcode, Source};

use super::translate::Translator;
use super::{FloatMode, Subnormal, Untranslatable};

const INFINITY: u32 = f32::INFINITY.to_bits();
const SIGN: u32 = 1 << 31;

/// The number with subnormal ones as 0.
pub(crate) fn flushed(word: u32) -> u32 {
    if word & INFINITY == 0 { word & SIGN } else { word }
}

/// Whether the result is a float that may be no number, or a subnormal one.
fn gives_float(opcode: Opcode) -> bool {
    (Opcode::AddF.code()..=Opcode::Round.code()).contains(&opcode.code())
}

/// Whether [`Subnormal::Device`] speaks of it.
fn is_tried(opcode: Opcode) -> bool {
    matches!(opcode, Opcode::AddF | Opcode::SubF | Opcode::MulF | Opcode::Fma)
}

fn takes_floats(opcode: Opcode) -> bool {
    gives_float(opcode)
        || matches!(opcode.code(), code if (Opcode::EqF.code()..=Opcode::LeF.code()).contains(&code))
        || matches!(opcode, Opcode::F2U | Opcode::F2S)
}

/// The float registers of a program: a bit for each code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FloatRegisters(u32);

impl FloatRegisters {
    pub(super) fn of(code: &[Instruction]) -> FloatRegisters {
        let mut registers = FloatRegisters(u32::MAX);
        loop {
            let before = registers;
            for instruction in code.iter().filter(|instruction| instruction.opcode.form().writes()) {
                if !registers.keeps(instruction) {
                    let words = if instruction.opcode == Opcode::Ld128 { 4 } else { 1 };
                    (instruction.d..instruction.d + words).for_each(|code| registers.0 &= !(1 << code));
                }
            }
            if registers == before {
                return registers;
            }
        }
    }

    pub(super) fn has(self, code: u8) -> bool {
        self.0.checked_shr(code.into()).is_some_and(|bits| bits & 1 != 0)
    }

    /// Whether what an instruction writes may be in a float register.
    fn keeps(self, instruction: &Instruction) -> bool {
        match instruction.opcode {
            Opcode::U2F | Opcode::S2F | Opcode::SumF | Opcode::LeastF | Opcode::MostF => true,
            Opcode::Mov if Source::from_code(instruction.a) == Some(Source::Immediate) => {
                flushed(instruction.word) == instruction.word
            }
            Opcode::Mov => self.has(instruction.a),
            Opcode::Select => self.has(instruction.b) && self.has(instruction.c()),
            opcode => gives_float(opcode),
        }
    }
}

impl Translator<'_> {
    /// Sources of an instruction on registers: as floats, as bits, or as they lie there.
    pub(super) fn operands(&mut self, instruction: &Instruction, place: usize) -> Result<[Word; 3], Untranslatable> {
        let mut operands = [self.emitter.words(0); 3];
        for (i, (operand, code)) in operands.iter_mut().zip(instruction.sources()).enumerate() {
            let copies = self.floats.has(instruction.d) && matches!(instruction.opcode, Opcode::Mov | Opcode::Select);
            *operand = if copies && (i > 0 || instruction.opcode == Opcode::Mov) {
                self.raw(instruction, code, place)
            } else if takes_floats(instruction.opcode) {
                self.float(instruction, code, place)?
            } else {
                self.source(instruction, code, place)?
            };
        }
        Ok(operands)
    }

    /// A source of an instruction on floats.
    fn float(&mut self, instruction: &Instruction, code: u8, place: usize) -> Result<Word, Untranslatable> {
        if Source::from_code(code) == Some(Source::Immediate) {
            return Ok(self.emitter.words(flushed(instruction.word)));
        }
        let value = self.raw(instruction, code, place);
        if self.floats.has(code) { Ok(value) } else { self.emitter.call("flush", &[value]) }
    }

    /// What an instruction computes from its operands, as it may lie in its register.
    pub(super) fn result(&mut self, instruction: &Instruction, operands: &[Word]) -> Result<Word, Untranslatable> {
        let Instruction { opcode, d, .. } = *instruction;
        let exact = format!("exact_{}", opcode.name());
        let FloatMode { subnormal, keeps_nan } = self.emitter.floats;
        let piece = if keeps_nan && self.emitter.has(&exact) { &exact } else { opcode.name() };
        let mut value = self.emitter.call(piece, operands)?;
        let flushed = subnormal == Subnormal::Module || subnormal == Subnormal::Device && is_tried(opcode);
        if gives_float(opcode) && !flushed {
            value = self.emitter.call("flush", &[value])?;
        }
        if gives_float(opcode) && !self.floats.has(d) {
            value = self.emitter.call("number", &[value])?;
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use vyre_protocol::vir0::assemble;

    use super::*;

    #[test]
    fn float_registers_hold_results_of_floats_alone() {
        let text = ".resource read\nget v0, lane\nu2f v1, v0\nmov v2, 0\nmov v3, 1\nmov v4, v1\nmulf v2, v1, v1\naddf v5, v1, v2\n\
                    eqf v5, v1, v2\nmov v6, v5\nselect v7, v0, v1, v2\nselect v8, v0, v1, v6\nld128 v9, r0[v0]\naddf v12, v1, v1\n\
                    mov v13, v4\nsumf s0, v1\nget s1, length\nend";
        let found = FloatRegisters::of(&assemble(text).unwrap().parts().code);
        let vectors: Vec<u8> = (0..16).filter(|code| found.has(*code)).collect();
        assert_eq!(vectors, [1, 2, 4, 7, 13, 14, 15], "of those that are written");
        assert_eq!([16, 17, 32].map(|code| found.has(code)), [true, false, false]);
    }
}
