//! The check of a program. It walks the code once, in order.

use alloc::vec::Vec;

use super::operand::{Place, Register, Source};
use super::{
    Form, Instruction, MAX_CONSTANTS, MAX_FUEL, MAX_INSTRUCTIONS, MAX_NESTING, MAX_SCRATCH, OPERAND_WORDS, Opcode,
    Parts, RESOURCES, Special, VECTORS,
};
use crate::resource::{ATOMIC, READ, WRITE};

/// Why a program is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// A count or a limit is outside what is possible.
    #[error("{what} is {given}, possible is {least} to {most}")]
    Limit {
        /// What.
        what: &'static str,
        /// The number given.
        given: u32,
        /// Least possible.
        least: u32,
        /// Most possible.
        most: u32,
    },
    /// A resource is declared with bits that are no access, or none.
    #[error(
        "resource {index} is declared with the access bits {access:#x}; use read, write and atomic, which needs write"
    )]
    Access {
        /// The resource.
        index: usize,
        /// The bits.
        access: u32,
    },
    /// An instruction is wrong.
    #[error("instruction {at}: {error}")]
    Code {
        /// Its index.
        at: usize,
        /// What is wrong.
        error: CodeError,
    },
}

/// What is wrong with an instruction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// A field names nothing, or something that cannot stand there.
    #[error("field {field} is {value}, expected is {expected}")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: u32,
        /// What it must be.
        expected: &'static str,
    },
    /// A register is read that need not have been written.
    #[error("{0} is read here and not written on every way to here; write it before")]
    Unwritten(Register),
    /// A scalar would get a value that differs from lane to lane.
    #[error("the scalar {0} cannot take what differs from lane to lane; use a vector, or a reduction")]
    ScalarOfVector(Register),
    /// All lanes would store different values in one place.
    #[error("a vector is stored at an index that is the same in all lanes; use a vector index")]
    SamePlace,
    /// The place is not declared.
    #[error("{0} is not declared")]
    Undeclared(Place),
    /// The place does not allow it.
    #[error("{place} is not declared {access}, which this instruction needs")]
    Denied {
        /// The place.
        place: Place,
        /// What is missing.
        access: &'static str,
    },
    /// A parameter or a resource's size that there is not.
    #[error("'{}' needs a declaration that is not there", .0.name())]
    NoSuchValue(Special),
    /// An end without its beginning, or an `else` where none can be.
    #[error("there is nothing open that `{}` could belong to", .0.name())]
    Unopened(Opcode),
    /// A beginning without its end.
    #[error("this `{}` has no end", .0.name())]
    Unclosed(Opcode),
    /// Branches and loops are nested too deep.
    #[error("branches and loops are nested more than {MAX_NESTING} deep; use fewer")]
    Nesting,
    /// A loop that nothing leaves.
    #[error("this loop has no `break`, so it never ends")]
    Endless,
    /// `end` is missing at the end, or is elsewhere.
    #[error("the last instruction is `end`, and no other is")]
    End,
}

/// A branch or loop that is open.
struct Frame {
    at: usize,
    /// The instruction that opened it, or its `else`.
    opener: Instruction,
    /// Depth of masks before it.
    depth: u8,
    /// Registers written before it.
    before: u32,
    /// Registers written at the end of the branch's other side, or at all breaks of the loop so far.
    merged: Option<u32>,
    /// The `else`, or the breaks so far.
    inner: Vec<usize>,
    /// A break of this loop is a vector's.
    divergent: bool,
}

struct Walk<'a> {
    parts: &'a Parts,
    at: usize,
    /// Registers that are written on every way to here, a bit each.
    written: u32,
    /// Depth of masks.
    depth: u8,
    frames: Vec<Frame>,
}

impl Frame {
    /// Registers that its sides write whatever the lanes do: scalars, where the lanes part.
    fn unconditional(&self) -> u32 {
        if self.opener.is_vector() { !VECTOR_BITS } else { 0 }
    }
}

const VECTOR_BITS: u32 = (1 << VECTORS) - 1;

pub(super) fn check(parts: &Parts) -> Result<(), ProgramError> {
    check_limits(parts)?;
    let mut walk = Walk { parts, at: 0, written: 0, depth: 0, frames: Vec::new() };
    for (at, instruction) in parts.code.iter().enumerate() {
        walk.at = at;
        walk.step(instruction).map_err(|error| ProgramError::Code { at, error })?;
    }
    Ok(())
}

fn check_limits(parts: &Parts) -> Result<(), ProgramError> {
    let further = (parts.resources.len() as u32).saturating_sub(2);
    let limits = [
        ("the number of instructions", parts.code.len() as u32, 1, MAX_INSTRUCTIONS as u32),
        ("the number of constants", parts.constants.len() as u32, 0, MAX_CONSTANTS as u32),
        ("the number of scratch words", parts.scratch, 0, MAX_SCRATCH),
        ("the fuel limit", parts.fuel, 1, MAX_FUEL),
        ("the number of resources", parts.resources.len() as u32, 0, RESOURCES.into()),
        ("the number of parameters", parts.parameters, 0, OPERAND_WORDS.saturating_sub(further)),
    ];
    for (what, given, least, most) in limits {
        if given < least || given > most {
            return Err(ProgramError::Limit { what, given, least, most });
        }
    }
    for (index, &access) in parts.resources.iter().enumerate() {
        let alone = access & ATOMIC != 0 && access & WRITE == 0;
        if access == 0 || access & !(READ | WRITE | ATOMIC) != 0 || alone {
            return Err(ProgramError::Access { index, access });
        }
    }
    Ok(())
}

/// Fails unless a field fits.
fn field(fits: bool, field: &'static str, value: impl Into<u32>, expected: &'static str) -> Result<(), CodeError> {
    if fits { Ok(()) } else { Err(CodeError::Field { field, value: value.into(), expected }) }
}

impl Walk<'_> {
    fn step(&mut self, instruction: &Instruction) -> Result<(), CodeError> {
        let form = instruction.opcode.form();
        self.check_sources(instruction)?;
        if form.is_memory() {
            self.check_memory(instruction)?;
        }
        if form.writes() {
            self.check_destination(instruction)?;
        }
        match form {
            Form::Get => self.check_special(instruction)?,
            Form::If => self.open(instruction)?,
            Form::Loop => {
                field(matches!(instruction.a, 0 | VECTORS), "a", instruction.a, "0 or 16")?;
                self.open(instruction)?;
            }
            Form::Else => self.turn(instruction)?,
            Form::EndIf => self.close_branch(instruction)?,
            Form::Break => self.leave(instruction)?,
            Form::EndLoop => self.close_loop(instruction)?,
            Form::Trap | Form::Print | Form::End => field(instruction.d == 0, "d", instruction.d, "0")?,
            _ => {}
        }
        let last = self.at + 1 == self.parts.code.len();
        if last && let Some(frame) = self.frames.last() {
            return Err(CodeError::Unclosed(frame.opener.opcode));
        }
        if last == (form == Form::End) { Ok(()) } else { Err(CodeError::End) }
    }

    fn check_sources(&self, instruction: &Instruction) -> Result<(), CodeError> {
        let Instruction { a, b, word, .. } = *instruction;
        let form = instruction.opcode.form();
        let may = |field: usize| match form {
            Form::Unary | Form::Binary => true,
            Form::Shuffle => field == 1,
            Form::Load | Form::Store | Form::Atomic | Form::Swap => field == 0,
            _ => false,
        };
        let mut immediate = false;
        for (i, code) in instruction.sources().enumerate() {
            let name = ["a", "b", "c"][i];
            match Source::from_code(code) {
                Some(Source::Register(register)) => self.check_read(register)?,
                Some(Source::Immediate) if may(i) && !immediate => immediate = true,
                Some(Source::Immediate) => field(false, name, code, "a register")?,
                None => field(false, name, code, "a register or the immediate")?,
            }
        }
        let across = matches!(form, Form::Reduce | Form::Scan | Form::Shuffle);
        field(!across || Source::is_vector_code(a), "a", a, "a vector register")?;
        for (name, code) in [("a", a), ("b", b)] {
            let fits = form != Form::Print || !Source::is_vector_code(code);
            field(fits, name, code, "a scalar register; `shuffle` and the reductions fetch what lanes hold")?;
        }
        // What is not used is 0, so that a program has one encoding.
        let sources = form.sources();
        let own_a = sources > 0 || matches!(form, Form::Else | Form::EndIf | Form::Loop);
        field(own_a || a == 0, "a", a, "0")?;
        field(sources > 1 || b == 0, "b", b, "0")?;
        let expected = match form {
            Form::Ternary => word & 0xff,
            Form::Swap => word,
            Form::Load | Form::Store | Form::Atomic => word & !0xff00,
            Form::Unary | Form::Binary | Form::Shuffle if immediate => word,
            Form::Get | Form::If | Form::Else | Form::Break | Form::EndLoop | Form::Trap | Form::Print => word,
            _ => 0,
        };
        field(word == expected, "word", word, "0 in the bits that are not used")
    }

    fn check_read(&self, register: Register) -> Result<(), CodeError> {
        if self.written >> register.code() & 1 == 1 { Ok(()) } else { Err(CodeError::Unwritten(register)) }
    }

    /// The destination exists, fits the sources, and is written from here on.
    fn check_destination(&mut self, instruction: &Instruction) -> Result<(), CodeError> {
        let form = instruction.opcode.form();
        let register = Register::from_code(instruction.d);
        let register =
            register.ok_or(CodeError::Field { field: "d", value: instruction.d.into(), expected: "a register" })?;
        let vector_source = match form {
            // These gather lanes: only the other source counts.
            Form::Reduce => false,
            Form::Shuffle => Source::is_vector_code(instruction.b),
            _ => instruction.sources().any(Source::is_vector_code),
        };
        if !register.is_vector() && vector_source && form != Form::Scan {
            return Err(CodeError::ScalarOfVector(register));
        }
        field(form != Form::Reduce || !register.is_vector(), "d", instruction.d, "a scalar register")?;
        field(form != Form::Scan || register.is_vector(), "d", instruction.d, "a vector register")?;
        let count = if instruction.opcode == Opcode::Ld128 { 4 } else { 1 };
        field(count == 1 || instruction.d + 4 <= VECTORS, "d", instruction.d, "a vector register from v0 to v12")?;
        self.written |= ((1 << count) - 1) << register.code();
        Ok(())
    }

    fn check_special(&self, instruction: &Instruction) -> Result<(), CodeError> {
        let Instruction { d, word, .. } = *instruction;
        let special = u8::try_from(word).ok().and_then(Special::from_code);
        let special =
            special.ok_or(CodeError::Field { field: "word", value: word, expected: "the number of a name" })?;
        if let Some(register) = Register::from_code(d)
            && special.is_vector()
            && !register.is_vector()
        {
            return Err(CodeError::ScalarOfVector(register));
        }
        let parameter = special.parameter().is_none_or(|index| index < self.parts.parameters);
        let resource = special.resource().is_none_or(|index| (index as usize) < self.parts.resources.len());
        if parameter && resource { Ok(()) } else { Err(CodeError::NoSuchValue(special)) }
    }

    fn check_memory(&self, instruction: &Instruction) -> Result<(), CodeError> {
        let Instruction { opcode, d, a, b, word } = *instruction;
        let place = Place::from_code(word as u8);
        let place = place.ok_or(CodeError::Field { field: "place", value: word & 0xff, expected: "0 to 5" })?;
        let needed = match opcode {
            Opcode::Ld8 | Opcode::Ld16 | Opcode::Ld32 | Opcode::Ld128 => READ,
            Opcode::St32 | Opcode::St128 => WRITE,
            _ => WRITE | ATOMIC,
        };
        let allowed = match place {
            Place::Resource(index) => self.parts.resources.get(usize::from(index)).copied().unwrap_or(0),
            Place::Constants if self.parts.constants.is_empty() => 0,
            Place::Constants => READ,
            Place::Scratch if self.parts.scratch == 0 => 0,
            Place::Scratch => READ | WRITE | ATOMIC,
        };
        if allowed == 0 {
            return Err(CodeError::Undeclared(place));
        }
        let names = [(READ, "read"), (WRITE, "write"), (ATOMIC, "atomic")];
        if let Some((_, access)) = names.into_iter().find(|(bit, _)| needed & !allowed & bit != 0) {
            return Err(CodeError::Denied { place, access });
        }
        if opcode.form() == Form::Store {
            if Source::is_vector_code(b) && !Source::is_vector_code(a) {
                return Err(CodeError::SamePlace);
            }
            field(opcode != Opcode::St128 || b + 4 <= VECTORS, "b", b, "a vector register from v0 to v12")?;
            if opcode == Opcode::St128 {
                (b..b + 4).filter_map(Register::from_code).try_for_each(|register| self.check_read(register))?;
            }
            return field(d == 0, "d", d, "0");
        }
        // The index is read again for each of the four words.
        let apart = opcode != Opcode::Ld128 || !(d..d.saturating_add(4)).contains(&a);
        field(apart, "a", a, "no register that the instruction writes")?;
        Ok(())
    }

    fn open(&mut self, instruction: &Instruction) -> Result<(), CodeError> {
        if self.frames.len() == MAX_NESTING {
            return Err(CodeError::Nesting);
        }
        let (at, opener, depth, before) = (self.at, *instruction, self.depth, self.written);
        self.depth += u8::from(instruction.is_vector());
        field(instruction.d == self.depth, "d", instruction.d, "the depth of masks")?;
        self.frames.push(Frame { at, opener, depth, before, merged: None, inner: Vec::new(), divergent: false });
        Ok(())
    }

    /// The other side of a branch.
    fn turn(&mut self, instruction: &Instruction) -> Result<(), CodeError> {
        let frame = self.frames.last_mut().filter(|frame| frame.opener.opcode == Opcode::If && frame.inner.is_empty());
        let frame = frame.ok_or(CodeError::Unopened(Opcode::Else))?;
        field(instruction.a == frame.opener.a, "a", instruction.a, "that of the `if`")?;
        field(instruction.d == self.depth, "d", instruction.d, "the depth of masks")?;
        let target = self.at as u32 + 1;
        field(frame.opener.word == target, "word of the `if`", frame.opener.word, "the instruction behind the `else`")?;
        frame.merged = Some(self.written);
        frame.inner.push(self.at);
        self.written = frame.before | self.written & frame.unconditional();
        Ok(())
    }

    fn close_branch(&mut self, instruction: &Instruction) -> Result<(), CodeError> {
        let frame = self.frames.pop().filter(|frame| frame.opener.opcode == Opcode::If);
        let frame = frame.ok_or(CodeError::Unopened(Opcode::EndIf))?;
        field(instruction.a == frame.opener.a, "a", instruction.a, "that of the `if`")?;
        self.depth = frame.depth;
        field(instruction.d == self.depth, "d", instruction.d, "the depth of masks")?;
        let jump = frame.inner.first().and_then(|at| self.parts.code.get(*at)).unwrap_or(&frame.opener);
        field(jump.word == self.at as u32, "word of the branch", jump.word, "its `endif`")?;
        self.written &= frame.merged.unwrap_or(frame.before) | frame.unconditional();
        Ok(())
    }

    fn leave(&mut self, instruction: &Instruction) -> Result<(), CodeError> {
        let found = self.frames.iter().rposition(|frame| frame.opener.opcode == Opcode::Loop);
        let index = found.ok_or(CodeError::Unopened(Opcode::Break))?;
        let mut written = self.written;
        if !instruction.is_vector() {
            // All lanes leave, those too that stand aside in a branch: for them only what was written before it counts.
            let branch = self.frames[index + 1..].iter().find(|frame| frame.opener.is_vector());
            written &= branch.map_or(u32::MAX, |branch| branch.before | !VECTOR_BITS);
        }
        let (at, frame) = (self.at, &mut self.frames[index]);
        let depth = frame.depth + u8::from(instruction.is_vector());
        field(instruction.d == depth, "d", instruction.d, "the depth of masks of the loop, or before it")?;
        frame.merged = Some(frame.merged.unwrap_or(u32::MAX) & written);
        frame.inner.push(at);
        frame.divergent |= instruction.is_vector();
        Ok(())
    }

    fn close_loop(&mut self, instruction: &Instruction) -> Result<(), CodeError> {
        let frame = self.frames.pop().filter(|frame| frame.opener.opcode == Opcode::Loop);
        let frame = frame.ok_or(CodeError::Unopened(Opcode::EndLoop))?;
        self.written = frame.merged.ok_or(CodeError::Endless)?;
        let a = frame.opener.a;
        field(frame.divergent == (a == 0), "a of the `loop`", a, "0 if a vector leaves it, else 16")?;
        field(instruction.d == self.depth, "d", instruction.d, "the depth of masks")?;
        field(
            instruction.word as usize == frame.at + 1,
            "word",
            instruction.word,
            "the instruction behind the `loop`",
        )?;
        for at in frame.inner {
            let word = self.parts.code[at].word;
            field(word as usize == self.at + 1, "word of the `break`", word, "the instruction behind the `endloop`")?;
        }
        self.depth = frame.depth;
        Ok(())
    }
}
