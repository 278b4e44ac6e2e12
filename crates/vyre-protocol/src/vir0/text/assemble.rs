//! From text to a program.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Range;

use super::ACCESS;
use crate::vir0::builder::link;
use crate::vir0::{
    CodeError, Instruction, Kind, MAX_FUEL, Opcode, Operand, OperandError, Parts, Place, Program, ProgramError,
    RESOURCES, Register, SCALARS, Special, VECTORS,
};

/// What is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Something else stands there.
    #[error("expected is {0}")]
    Expected(&'static str),
    /// There is no such instruction.
    #[error("there is no instruction `{0}`")]
    UnknownInstruction(String),
    /// There is no such declaration.
    #[error("there is no declaration `.{0}`; there are .resource, .params, .scratch, .fuel and .const")]
    UnknownDeclaration(String),
    /// There is no such register or name.
    #[error("`{0}` is no register (v0 to v15, s0 to s15), no number and no name")]
    UnknownOperand(String),
    /// A number that does not fit.
    #[error("`{0}` is no number of 32 bits")]
    Number(String),
    /// Operands that the instruction does not take.
    #[error(transparent)]
    Operands(#[from] OperandError),
    /// The instruction is not valid where it stands.
    #[error(transparent)]
    Code(CodeError),
    /// The program is not valid.
    #[error(transparent)]
    Program(ProgramError),
}

/// Where a text is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {error}")]
pub struct AssembleError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Bytes of the text.
    pub span: Range<usize>,
    /// What is wrong there.
    pub error: TextError,
}

/// A mistake and the bytes where it is.
type Mistake = (Range<usize>, TextError);

/// Assembles a program.
///
/// # Errors
/// [`AssembleError`] says what is wrong, and where.
pub fn assemble(text: &str) -> Result<Program, AssembleError> {
    read(text).map_err(|(span, error)| {
        let before = text.get(..span.start).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        AssembleError { line, column, span, error }
    })
}

fn read(text: &str) -> Result<Program, Mistake> {
    let mut parts = Parts { fuel: MAX_FUEL, ..Parts::default() };
    let mut spans = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let code = line.split(['\n', ';']).next().unwrap_or_default();
        let mut cursor = Cursor { text, at: start, end: start + code.len() };
        start += line.len();
        cursor.skip_blanks();
        if cursor.rest().is_empty() {
            continue;
        }
        let begin = cursor.at;
        if cursor.eat('.') {
            declare(&mut cursor, &mut parts)?;
        } else {
            parts.code.push(instruction(&mut cursor)?);
            spans.push(begin..begin + text[begin..cursor.end].trim_end().len());
        }
        if !cursor.rest().is_empty() {
            return Err((cursor.at..cursor.end, TextError::Expected("the end of the line")));
        }
    }
    link(&mut parts.code);
    Program::new(parts).map_err(|error| match error {
        ProgramError::Code { at, error } => (spans.get(at).cloned().unwrap_or(0..0), TextError::Code(error)),
        // Counts and limits belong to no one place.
        other => (0..0, TextError::Program(other)),
    })
}

fn declare(cursor: &mut Cursor<'_>, parts: &mut Parts) -> Result<(), Mistake> {
    let (span, name) = cursor.word();
    match name {
        "resource" => {
            let mut access = 0;
            while !cursor.rest().is_empty() {
                let (span, name) = cursor.word();
                let found = ACCESS.iter().find(|(known, _)| *known == name);
                access |= found.ok_or((span, TextError::Expected("read, write or atomic")))?.1;
            }
            parts.resources.push(access);
        }
        "params" => parts.parameters = cursor.number(Kind::Word)?,
        "scratch" => parts.scratch = cursor.number(Kind::Word)?,
        "fuel" => parts.fuel = cursor.number(Kind::Word)?,
        "const" => {
            parts.constants.push(cursor.number(Kind::Word)?);
            while cursor.eat(',') {
                parts.constants.push(cursor.number(Kind::Word)?);
            }
        }
        other => return Err((span, TextError::UnknownDeclaration(other.to_string()))),
    }
    Ok(())
}

fn instruction(cursor: &mut Cursor<'_>) -> Result<Instruction, Mistake> {
    let begin = cursor.at;
    let (span, name) = cursor.word();
    let opcode = Opcode::ALL.iter().copied().find(|opcode| opcode.name() == name);
    let opcode = opcode.ok_or_else(|| (span, TextError::UnknownInstruction(name.to_string())))?;
    let (mut operands, mut spans) = (Vec::new(), Vec::new());
    while !cursor.rest().is_empty() && (operands.is_empty() || cursor.eat(',')) {
        let begin = cursor.at;
        operands.push(operand(cursor, opcode.kind())?);
        spans.push(begin..cursor.at);
    }
    if !cursor.rest().is_empty() {
        return Err((cursor.here(), TextError::Expected("`,` or the end of the line")));
    }
    Instruction::with_operands(opcode, &operands).map_err(|error| {
        let span = match &error {
            OperandError::Sort { index, .. } => spans.get(*index).cloned(),
            _ => None,
        };
        (span.unwrap_or(begin..cursor.at), error.into())
    })
}

fn operand(cursor: &mut Cursor<'_>, kind: Kind) -> Result<Operand, Mistake> {
    if cursor.rest().starts_with(|c: char| c.is_ascii_digit() || c == '-') {
        return cursor.number(kind).map(Operand::Immediate);
    }
    let (span, name) = cursor.word();
    if let Some(register) = register(name) {
        return Ok(Operand::Register(register));
    }
    if let Some(special) = Special::ALL.iter().find(|special| special.name() == name) {
        return Ok(Operand::Special(*special));
    }
    let places = (0..=RESOURCES + 1).filter_map(Place::from_code);
    let place = places.into_iter().find(|place| place.to_string() == name);
    let place = place.ok_or_else(|| (span, TextError::UnknownOperand(name.to_string())))?;
    cursor.expect('[', "`[`")?;
    let (mut index, mut offset) = (None, 0);
    if cursor.rest().starts_with(|c: char| c.is_ascii_digit()) {
        offset = cursor.offset()?;
    } else {
        let (span, name) = cursor.word();
        index = Some(register(name).ok_or((span, TextError::Expected("a register or a number")))?);
        if cursor.eat('+') {
            offset = cursor.offset()?;
        }
    }
    cursor.expect(']', "`]`")?;
    Ok(Operand::Memory { place, index, offset })
}

fn register(name: &str) -> Option<Register> {
    let (vectors, scalars) = ((0..VECTORS).filter_map(Register::vector), (0..SCALARS).filter_map(Register::scalar));
    vectors.chain(scalars).find(|register| register.to_string() == name)
}

/// The word of a number in the text: whole, of either sign, hexadecimal after `0x`, or a float with a point or an exponent.
#[must_use]
pub fn number(text: &str) -> Option<u32> {
    parse(text, Kind::Word)
}

/// For instructions on floats whole decimal numbers are floats.
fn parse(text: &str, kind: Kind) -> Option<u32> {
    if let Some(digits) = text.strip_prefix("0x") {
        return u32::from_str_radix(digits, 16).ok();
    }
    if kind != Kind::Float && !text.contains(['.', 'e', 'E']) {
        return text.parse().ok().or_else(|| text.parse::<i32>().ok().map(i32::cast_unsigned));
    }
    let number = text.starts_with(|c: char| c.is_ascii_digit() || c == '-').then(|| text.parse::<f32>().ok())?;
    number.filter(|number| number.is_finite()).map(f32::to_bits)
}

/// A place in a line.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
    end: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..self.end).unwrap_or_default()
    }

    /// Goes on behind `bytes` bytes and the blanks that follow.
    fn advance(&mut self, bytes: usize) {
        self.at += bytes;
        self.skip_blanks();
    }

    fn skip_blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.rest().starts_with(c);
        if found {
            self.advance(c.len_utf8());
        }
        found
    }

    fn expect(&mut self, c: char, what: &'static str) -> Result<(), Mistake> {
        let here = self.here();
        if self.eat(c) { Ok(()) } else { Err((here, TextError::Expected(what))) }
    }

    /// The next character, or the end of the line.
    fn here(&self) -> Range<usize> {
        self.at..self.at + self.rest().chars().next().map_or(0, char::len_utf8)
    }

    /// The bytes up to the first that does not belong.
    fn take(&mut self, belongs: impl Fn(&str, char) -> bool) -> (Range<usize>, &'a str) {
        let rest = self.rest();
        let end = rest.char_indices().find(|(i, c)| !belongs(&rest[..*i], *c)).map_or(rest.len(), |(i, _)| i);
        // Something that belongs nowhere is at least itself.
        let end = if end == 0 { self.here().len() } else { end };
        let span = self.at..self.at + end;
        self.advance(end);
        (span, &rest[..end])
    }

    fn word(&mut self) -> (Range<usize>, &'a str) {
        self.take(|_, c| c.is_ascii_alphanumeric() || c == '_')
    }

    /// A number as a word.
    fn number(&mut self, kind: Kind) -> Result<u32, Mistake> {
        let exponent = |before: &str| !before.starts_with("0x") && before.ends_with(['e', 'E']);
        let (span, text) = self.take(|before, c| {
            c.is_ascii_alphanumeric() || c == '.' || (matches!(c, '-' | '+') && (before.is_empty() || exponent(before)))
        });
        parse(text, kind).ok_or_else(|| (span, TextError::Number(text.to_string())))
    }

    /// A number of elements behind an index.
    fn offset(&mut self) -> Result<u16, Mistake> {
        let begin = self.at;
        let number = self.number(Kind::Word)?;
        u16::try_from(number).map_err(|_| (begin..self.at, TextError::Expected("a number up to 65535")))
    }
}
