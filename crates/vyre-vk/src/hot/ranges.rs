//! How large the words of a register can be, where that is easily seen: an index that is masked needs no look at whether it lies inside.

use vyre_protocol::vir0::{Form, GROUP, IMMEDIATE, Instruction, Opcode, Special};

/// The largest word that each register can have in the lanes that are active.
#[derive(Debug, Clone)]
pub(super) struct Ranges([u32; IMMEDIATE as usize]);

impl Ranges {
    /// Nothing is known.
    pub(super) fn new() -> Ranges {
        Ranges([u32::MAX; IMMEDIATE as usize])
    }

    /// The largest word of a source.
    pub(super) fn of(&self, instruction: &Instruction, code: u8) -> u32 {
        self.0.get(usize::from(code)).copied().unwrap_or(instruction.word)
    }

    /// What holds behind an instruction.
    pub(super) fn step(&mut self, instruction: &Instruction) {
        match instruction.opcode.form() {
            // Lanes come back, or the code before is not what is above.
            Form::Else | Form::EndIf | Form::Loop | Form::EndLoop => *self = Ranges::new(),
            form if form.writes() => {
                let most = self.most(instruction);
                let words = if instruction.opcode == Opcode::Ld128 { 4 } else { 1 };
                for d in instruction.d..instruction.d + words {
                    if let Some(range) = self.0.get_mut(usize::from(d)) {
                        *range = most;
                    }
                }
            }
            _ => {}
        }
    }

    fn most(&self, instruction: &Instruction) -> u32 {
        let [a, b, c] = [instruction.a, instruction.b, instruction.c()].map(|code| self.of(instruction, code));
        let fixed = (instruction.b == IMMEDIATE).then_some(instruction.word);
        match instruction.opcode {
            Opcode::Get if instruction.word == u32::from(Special::Lane.code()) => GROUP - 1,
            Opcode::Ld8 => u8::MAX.into(),
            Opcode::Ld16 => u16::MAX.into(),
            Opcode::Mov => a,
            Opcode::And | Opcode::MinU => a.min(b),
            Opcode::MaxU => a.max(b),
            Opcode::Select => b.max(c),
            Opcode::Add => a.saturating_add(b),
            Opcode::Mul => a.saturating_mul(b),
            Opcode::Shr => fixed.map_or(a, |count| a >> (count % u32::BITS)),
            Opcode::Or | Opcode::Xor => u32::MAX.checked_shr((a | b).leading_zeros()).unwrap_or(0),
            Opcode::RemU => fixed.filter(|divisor| *divisor != 0).map_or(a, |divisor| a.min(divisor - 1)),
            opcode if is_comparison(opcode) => 1,
            _ => u32::MAX,
        }
    }
}

/// Whether the result is 0 or 1.
fn is_comparison(opcode: Opcode) -> bool {
    use Opcode::{Eq, EqF, LeF, LeS, LeU, LtF, LtS, LtU, Ne, NeF};
    matches!(opcode, Eq | Ne | LtU | LeU | LtS | LeS | EqF | NeF | LtF | LeF)
}

#[cfg(test)]
mod tests {
    use vyre_protocol::vir0::assemble;

    use super::*;

    #[test]
    fn a_range_holds_until_lanes_come_back() {
        let text = "get v0, lane\nnot v1, v0\nand v2, v1, 255\nadd v3, v2, 4\nshr v4, v1, 24\nif v0\n  and v5, v1, 7\n  mov v6, v5\nendif\n\
                    remu v7, v1, 10\nend";
        let code = assemble(text).unwrap().parts().code.clone();
        let mut ranges = Ranges::new();
        let mut inside = Vec::new();
        for instruction in &code {
            if instruction.opcode == Opcode::EndIf {
                inside = (0..7).map(|code| ranges.of(instruction, code)).collect();
            }
            ranges.step(instruction);
        }
        assert_eq!(inside, [255, u32::MAX, 255, 259, 255, 7, 7]);
        let end = Instruction::new(Opcode::End);
        assert_eq!([2, 5, 7].map(|code| ranges.of(&end, code)), [u32::MAX, u32::MAX, 9]);
    }
}
