//! From a program to its text.

use alloc::string::String;
use core::fmt::{self, Display, Formatter, Write};

use super::ACCESS;
use crate::vir0::{Form, Instruction, Kind, Opcode, Operand, Parts, Program};

/// The program's text, which assembles to the same bytes.
#[must_use]
pub fn disassemble(program: &Program) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_program(&mut out, program.parts());
    out
}

fn write_program(out: &mut String, parts: &Parts) -> fmt::Result {
    for access in &parts.resources {
        out.push_str(".resource");
        for (name, _) in ACCESS.iter().filter(|(_, bit)| access & bit != 0) {
            write!(out, " {name}")?;
        }
        out.push('\n');
    }
    for (name, count) in [("params", parts.parameters), ("scratch", parts.scratch)] {
        if count != 0 {
            writeln!(out, ".{name} {count}")?;
        }
    }
    writeln!(out, ".fuel {}", parts.fuel)?;
    for row in parts.constants.chunks(8) {
        for (i, word) in row.iter().enumerate() {
            write!(out, "{}{word:#010x}", if i == 0 { ".const " } else { ", " })?;
        }
        out.push('\n');
    }
    let mut indent = 0_usize;
    for instruction in &parts.code {
        let form = instruction.opcode.form();
        indent -= usize::from(matches!(form, Form::Else | Form::EndIf | Form::EndLoop)).min(indent);
        writeln!(out, "{:1$}{instruction}", "", 2 * indent)?;
        indent += usize::from(matches!(form, Form::If | Form::Else | Form::Loop));
    }
    Ok(())
}

impl Display for Instruction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.opcode.name())?;
        for (i, operand) in self.operands().enumerate() {
            f.write_str(if i == 0 { " " } else { ", " })?;
            match operand {
                Operand::Register(register) => register.fmt(f)?,
                Operand::Immediate(word) => write_number(f, self.opcode, word)?,
                Operand::Special(special) => f.write_str(special.name())?,
                Operand::Memory { place, index, offset } => match (index, offset) {
                    (None, offset) => write!(f, "{place}[{offset}]")?,
                    (Some(index), 0) => write!(f, "{place}[{index}]")?,
                    (Some(index), offset) => write!(f, "{place}[{index} + {offset}]")?,
                },
            }
        }
        Ok(())
    }
}

fn write_number(f: &mut Formatter<'_>, opcode: Opcode, word: u32) -> fmt::Result {
    let float = f32::from_bits(word);
    match opcode.kind() {
        Kind::Float if float.is_finite() => write!(f, "{float:?}"),
        Kind::Signed => write!(f, "{}", word.cast_signed()),
        Kind::Word if word < 0x1_0000 => write!(f, "{word}"),
        Kind::Word | Kind::Float => write!(f, "{word:#010x}"),
    }
}
