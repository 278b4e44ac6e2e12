//! VIR0: programs that a user loads into the running kernel. `docs/vir0.md` is the specification.
//!
//! A *group* of 256 lanes executes a program in step, for each tile of an EXEC slot: an instruction has ended in all lanes before the
//! next begins, whatever number of lanes the hardware has. Each lane has 16 vector registers of 32 bits, the group 16 scalar ones.
//!
//! - [`Program`] is a program that was checked; nothing else runs. It is decoded from a [container](Program::decode), assembled from
//!   [text](assemble), or put together by a [`Builder`].
//! - [`Opcode`] is the instruction set, defined once.
//!
//! What the check proves: every field names something that exists; what is read was written before; branches and loops nest, and their
//! targets and depths are right; every loop can end; resources are used as they are declared. What it cannot prove is looked after
//! while the program runs: each access is held against the size of its place, and each instruction is paid for with fuel.

mod builder;
mod container;
mod instruction;
mod operand;
mod text;
mod validate;

use alloc::vec::Vec;

pub use builder::{BuildError, Builder, Operand, OperandError};
pub use container::{ContainerError, HEADER_BYTES, TAG};
pub use instruction::{
    Form, Instruction, Kind, Opcode, PRINT_FUEL, REDUCE_FUEL, Role, SCAN_FUEL, STEP, SWEEP, Special,
};
pub use operand::{IMMEDIATE, Place, Register, Source};
pub use text::{AssembleError, TextError, assemble, disassemble, number};
pub use validate::{CodeError, ProgramError};

/// Lanes of a group.
pub const GROUP: u32 = 256;
/// Vector registers.
pub const VECTORS: u8 = 16;
/// Scalar registers.
pub const SCALARS: u8 = 16;
/// Most resources of a program: the slot's input, its output, and two more by handle.
pub const RESOURCES: u8 = 4;
/// Words that a slot has for the handles of further resources and for parameters; the first argument names the program.
pub const OPERAND_WORDS: u32 = crate::slot::ARGS as u32 - 1;
/// Most instructions of a program.
pub const MAX_INSTRUCTIONS: usize = 512;
/// Most words of constants.
pub const MAX_CONSTANTS: usize = 1024;
/// Most bytes of a container.
pub const MAX_BYTES: u32 = HEADER_BYTES + (2 * MAX_INSTRUCTIONS + MAX_CONSTANTS) as u32 * crate::WORD_BYTES;
/// Most words of scratch.
pub const MAX_SCRATCH: u32 = 1024;
/// Deepest nesting of branches and loops.
pub const MAX_NESTING: usize = 16;
/// Most fuel of a tile. What needs more has to be cut into more tiles.
pub const MAX_FUEL: u32 = 24_000;

/// What a program is made of, unchecked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parts {
    /// Access that each resource must allow: [`READ`](crate::resource::READ), [`WRITE`](crate::resource::WRITE) and
    /// [`ATOMIC`](crate::resource::ATOMIC). Resource 0 is the slot's input, 1 its output.
    pub resources: Vec<u32>,
    /// Parameters that the slot carries.
    pub parameters: u32,
    /// Words of scratch.
    pub scratch: u32,
    /// Most fuel of a tile.
    pub fuel: u32,
    /// The instructions.
    pub code: Vec<Instruction>,
    /// Words that the program can load.
    pub constants: Vec<u32>,
}

/// A program that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program(Parts);

impl Program {
    /// Checks what a program is made of.
    ///
    /// # Errors
    /// [`ProgramError`] names the first thing that is wrong.
    pub fn new(parts: Parts) -> Result<Program, ProgramError> {
        validate::check(&parts)?;
        Ok(Program(parts))
    }

    /// What it is made of.
    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.0
    }
}
