//! Putting programs together: operands to fields, and the targets of branches and loops.

use alloc::vec::Vec;

use super::operand::{IMMEDIATE, Place, Register, Source};
use super::{Form, Instruction, MAX_FUEL, Opcode, Parts, Program, ProgramError, RESOURCES, Role, Special, VECTORS};

/// An operand, as the text has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// A register.
    Register(Register),
    /// A number.
    Immediate(u32),
    /// What `get` reads.
    Special(Special),
    /// Memory.
    Memory {
        /// Where.
        place: Place,
        /// Index of an element; none is 0.
        index: Option<Register>,
        /// Elements behind it.
        offset: u16,
    },
}

impl From<Register> for Operand {
    fn from(register: Register) -> Self {
        Operand::Register(register)
    }
}
impl From<u32> for Operand {
    fn from(word: u32) -> Self {
        Operand::Immediate(word)
    }
}
impl From<i32> for Operand {
    fn from(number: i32) -> Self {
        Operand::Immediate(number.cast_unsigned())
    }
}
impl From<f32> for Operand {
    fn from(number: f32) -> Self {
        Operand::Immediate(number.to_bits())
    }
}
impl From<Special> for Operand {
    fn from(special: Special) -> Self {
        Operand::Special(special)
    }
}

/// Operands that an instruction does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperandError {
    /// Too many or too few.
    #[error("`{}` takes {expected} operands, given are {given}", .opcode.name())]
    Count {
        /// The instruction.
        opcode: Opcode,
        /// Operands that it takes.
        expected: usize,
        /// Operands given.
        given: usize,
    },
    /// One of another sort.
    #[error("operand {} of `{}` must be {}", index + 1, .opcode.name(), expectation(*.role))]
    Sort {
        /// The instruction.
        opcode: Opcode,
        /// Index of the operand.
        index: usize,
        /// What it must be.
        role: Role,
    },
    /// A second number.
    #[error("an instruction holds one number; put the other into a register")]
    TwoImmediates,
}

const fn expectation(role: Role) -> &'static str {
    match role {
        Role::D | Role::C => "a register",
        Role::A | Role::B => "a register or a number",
        Role::Name => "a name, such as `lane` or `p0`",
        Role::Memory => "memory, such as `r0[v1]`",
        Role::Code => "a number",
    }
}

impl Instruction {
    /// An instruction with its operands. Branches and loops get their targets from [`Builder::finish`].
    ///
    /// # Errors
    /// [`OperandError`] if it does not take these.
    pub fn with_operands(opcode: Opcode, operands: &[Operand]) -> Result<Instruction, OperandError> {
        let roles = opcode.form().roles();
        if roles.len() != operands.len() {
            return Err(OperandError::Count { opcode, expected: roles.len(), given: operands.len() });
        }
        let mut made = Instruction::new(opcode);
        let mut immediate = false;
        for (index, (&role, &operand)) in roles.iter().zip(operands).enumerate() {
            let source = match operand {
                Operand::Register(register) => register.code(),
                _ => IMMEDIATE,
            };
            match (role, operand) {
                (Role::D, Operand::Register(register)) => made.d = register.code(),
                (Role::A, Operand::Register(_) | Operand::Immediate(_)) => made.a = source,
                (Role::B, Operand::Register(_) | Operand::Immediate(_)) => made.b = source,
                (Role::C, Operand::Register(register)) if opcode.form() == Form::Swap => {
                    made.word |= u32::from(register.code()) << 8;
                }
                (Role::C, Operand::Register(register)) => made.word = register.code().into(),
                (Role::Name, Operand::Special(special)) => made.word = special.code().into(),
                (Role::Memory, Operand::Memory { place, index, offset }) => {
                    made.a = index.map_or(IMMEDIATE, Register::code);
                    made.word = u32::from(place.code()) | u32::from(offset) << 16;
                }
                (Role::Code, Operand::Immediate(_)) => {}
                _ => return Err(OperandError::Sort { opcode, index, role }),
            }
            if let Operand::Immediate(word) = operand {
                if immediate || opcode.form().is_memory() {
                    return Err(OperandError::TwoImmediates);
                }
                immediate = true;
                made.word = word;
            }
        }
        Ok(made)
    }

    /// The operands, in the order of the text. Fields that name nothing are left out; a [`Program`] has none.
    pub fn operands(&self) -> impl Iterator<Item = Operand> + use<'_> {
        let source = |code| match Source::from_code(code)? {
            Source::Register(register) => Some(Operand::Register(register)),
            Source::Immediate => Some(Operand::Immediate(self.word)),
        };
        self.opcode.form().roles().iter().filter_map(move |role| match role {
            Role::D => Register::from_code(self.d).map(Operand::Register),
            Role::A => source(self.a),
            Role::B => source(self.b),
            Role::C => source(self.c()),
            Role::Name => u8::try_from(self.word).ok().and_then(Special::from_code).map(Operand::Special),
            Role::Memory => {
                let index = Register::from_code(self.a);
                Place::from_code(self.word as u8).map(|place| Operand::Memory {
                    place,
                    index,
                    offset: (self.word >> 16) as u16,
                })
            }
            Role::Code => Some(Operand::Immediate(self.word)),
        })
    }
}

/// Builds a program. The first mistake is kept and reported by [`finish`](Self::finish), so calls can be chained.
///
/// ```
/// use vyre_protocol::resource::WRITE;
/// use vyre_protocol::vir0::{Builder, Opcode, Register, Special};
///
/// let (lane, square) = (Register::vector(0).unwrap(), Register::vector(1).unwrap());
/// let mut builder = Builder::new();
/// builder.resource(0x1).resource(WRITE);
/// builder.push(Opcode::Get, &[lane.into(), Special::Item.into()]);
/// builder.push(Opcode::Mul, &[square.into(), lane.into(), lane.into()]);
/// builder.store(Opcode::St32, 1, lane, square);
/// let program = builder.finish().unwrap();
/// assert_eq!(program.parts().code.len(), 4);
/// ```
#[derive(Debug, Clone)]
pub struct Builder {
    parts: Parts,
    error: Option<(usize, OperandError)>,
}

/// Why a builder has no program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// An instruction got operands that it does not take.
    #[error("instruction {at}: {error}")]
    Operands {
        /// Index of the instruction.
        at: usize,
        /// What is wrong.
        error: OperandError,
    },
    /// The program is not valid.
    #[error(transparent)]
    Program(#[from] ProgramError),
}

impl Default for Builder {
    fn default() -> Self {
        Builder { parts: Parts { fuel: MAX_FUEL, ..Parts::default() }, error: None }
    }
}

impl Builder {
    /// A builder of a program without resources that may use the most fuel.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares the next resource, with the access that it must allow.
    pub fn resource(&mut self, access: u32) -> &mut Self {
        self.parts.resources.push(access);
        self
    }

    /// Declares how many parameters a slot carries.
    pub fn parameters(&mut self, count: u32) -> &mut Self {
        self.parts.parameters = count;
        self
    }

    /// Declares words of scratch.
    pub fn scratch(&mut self, words: u32) -> &mut Self {
        self.parts.scratch = words;
        self
    }

    /// Limits the fuel of a tile.
    pub fn fuel(&mut self, fuel: u32) -> &mut Self {
        self.parts.fuel = fuel;
        self
    }

    /// Adds constants.
    pub fn constants(&mut self, words: &[u32]) -> &mut Self {
        self.parts.constants.extend_from_slice(words);
        self
    }

    /// Adds an instruction.
    pub fn push(&mut self, opcode: Opcode, operands: &[Operand]) -> &mut Self {
        let at = self.parts.code.len();
        match Instruction::with_operands(opcode, operands) {
            Ok(instruction) => self.parts.code.push(instruction),
            Err(error) => {
                self.error.get_or_insert((at, error));
            }
        }
        self
    }

    /// Adds a load from resource `resource` at an index.
    pub fn load(&mut self, opcode: Opcode, d: Register, resource: u8, index: Register) -> &mut Self {
        self.push(opcode, &[d.into(), memory(resource, index)])
    }

    /// Adds a store to resource `resource` at an index.
    pub fn store(&mut self, opcode: Opcode, resource: u8, index: Register, value: Register) -> &mut Self {
        self.push(opcode, &[memory(resource, index), value.into()])
    }

    /// Adds a branch for the lanes in which `condition` is not 0.
    pub fn branch(&mut self, condition: Register, body: impl FnOnce(&mut Self)) -> &mut Self {
        self.push(Opcode::If, &[condition.into()]);
        body(self);
        self.push(Opcode::EndIf, &[])
    }

    /// Adds a loop, which its body leaves by [`Opcode::Break`].
    pub fn repeat(&mut self, body: impl FnOnce(&mut Self)) -> &mut Self {
        self.push(Opcode::Loop, &[]);
        body(self);
        self.push(Opcode::EndLoop, &[])
    }

    /// Ends the program and checks it.
    ///
    /// # Errors
    /// [`BuildError`] names the first thing that is wrong.
    pub fn finish(&mut self) -> Result<Program, BuildError> {
        if let Some((at, error)) = self.error.take() {
            return Err(BuildError::Operands { at, error });
        }
        let mut parts = core::mem::take(&mut self.parts);
        parts.code.push(Instruction::new(Opcode::End));
        link(&mut parts.code);
        Ok(Program::new(parts)?)
    }
}

fn memory(resource: u8, index: Register) -> Operand {
    // What is beyond the last resource is undeclared anyway.
    let place = Place::Resource(resource.min(RESOURCES - 1));
    Operand::Memory { place, index: Some(index), offset: 0 }
}

/// Gives branches and loops their targets and depths. What does not nest stays as it is, for the check to report.
pub(super) fn link(code: &mut [Instruction]) {
    link_targets(code);
    link_depths(code);
}

fn link_targets(code: &mut [Instruction]) {
    // What is open, and the instructions whose target is its end.
    let mut open: Vec<(usize, Vec<usize>)> = Vec::new();
    for at in 0..code.len() {
        match code[at].opcode {
            Opcode::If => open.push((at, [at].to_vec())),
            Opcode::Loop => {
                code[at].a = VECTORS;
                open.push((at, Vec::new()));
            }
            Opcode::Else | Opcode::EndIf => {
                let Some((begin, jumps)) = open.last_mut() else { continue };
                code[at].a = code[*begin].a;
                let behind = u32::from(code[at].opcode == Opcode::Else);
                for jump in jumps.drain(..) {
                    code[jump].word = at as u32 + behind;
                }
                if behind == 1 {
                    jumps.push(at);
                } else {
                    open.pop();
                }
            }
            Opcode::Break => {
                let innermost = open.iter_mut().rev().find(|(begin, _)| code[*begin].opcode == Opcode::Loop);
                let Some((begin, jumps)) = innermost else { continue };
                jumps.push(at);
                if code[at].is_vector() {
                    code[*begin].a = 0;
                }
            }
            Opcode::EndLoop => {
                let Some((begin, jumps)) = open.pop() else { continue };
                code[at].word = begin as u32 + 1;
                for jump in jumps {
                    code[jump].word = at as u32 + 1;
                }
            }
            _ => {}
        }
    }
}

fn link_depths(code: &mut [Instruction]) {
    let (mut depth, mut open): (u8, Vec<(u8, Opcode)>) = (0, Vec::new());
    for instruction in code {
        let deeper = u8::from(instruction.is_vector());
        match instruction.opcode {
            Opcode::If | Opcode::Loop => {
                open.push((depth, instruction.opcode));
                depth = depth.saturating_add(deeper);
                instruction.d = depth;
            }
            Opcode::Else => instruction.d = depth,
            Opcode::EndIf | Opcode::EndLoop => {
                let inside = depth;
                depth = open.pop().map_or(0, |(before, _)| before);
                instruction.d = if instruction.opcode == Opcode::EndIf { depth } else { inside };
            }
            Opcode::Break => {
                let innermost = open.iter().rev().find(|(_, opcode)| *opcode == Opcode::Loop);
                instruction.d = innermost.map_or(0, |(before, _)| before.saturating_add(deeper));
            }
            _ => {}
        }
    }
}
