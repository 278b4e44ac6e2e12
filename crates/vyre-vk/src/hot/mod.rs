//! Hot programs: VIR0 programs that a kernel holds as code of its own, instead of interpreting them.
//!
//! The module of such a kernel is built with a hook that the interpreter asks first, and with the pieces of the interpreter as functions
//! that know the instruction. [`translate`] puts a program together from calls of these, so there is one definition of what an instruction
//! does, and the drivers' compilers see straight code. How a kernel knows a program: by the tag that the runtime wrote into it when it was
//! loaded ([`vyre_protocol::vir0::TAG`]).

mod build;
mod emitter;
mod memory;
mod translate;

use std::sync::Arc;

use vyre_protocol::vir0::{Form, GROUP, Instruction, Opcode, Program};

pub(crate) use self::build::{Builds, Newest, Order};
pub use self::build::{HotBuild, HotError};
use self::emitter::Emitter;
use self::translate::{UNKNOWN, translate};

/// Most programs that a kernel holds translated: each makes it larger, and on llvmpipe each tile passes by all of them.
pub const MAX_HOT_PROGRAMS: usize = 8;

/// Most instructions times places of a hardware lane: what is longer takes drivers too long to compile.
const MAX_STEPS: usize = 2048;

/// Most loops in the translated programs of a kernel. llvmpipe runs each of them once for each tile, whatever that is, and counts that.
const MAX_LOOPS: usize = 48;

/// A program to be translated.
#[derive(Debug, Clone)]
pub struct HotProgram {
    /// What the word [`vyre_protocol::vir0::TAG`] of the loaded program says; not 0.
    pub tag: u32,
    /// The program.
    pub program: Arc<Program>,
}

/// Why a program is interpreted though it was to be translated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untranslatable {
    /// It has an instruction that the translator does not know.
    #[error("instruction {at}, `{}`, is only interpreted", .opcode.name())]
    Instruction {
        /// Index of the instruction.
        at: usize,
        /// The instruction.
        opcode: Opcode,
    },
    /// It is too long.
    #[error(
        "{instructions} instructions are too many on this device, which translates up to {most}; split the program"
    )]
    Long {
        /// Instructions of the program.
        instructions: usize,
        /// Most on this device.
        most: usize,
    },
    /// It has too many loops beside those of the programs before it.
    #[error(
        "{loops} loops are too many: a kernel translates up to {MAX_LOOPS} of all its programs, of which {left} are left"
    )]
    Loops {
        /// Loops of the program, with those of instructions across lanes.
        loops: usize,
        /// How many were left.
        left: usize,
    },
    /// The kernel's module lacks something that the translator needs.
    #[error("the kernel's module has no `{0}`; host and shader are not of one build")]
    Piece(String),
}

/// A module with translated programs.
pub(crate) struct HotModule {
    pub(crate) words: Vec<u32>,
    /// Loops of the programs.
    pub(crate) loops: u32,
}

/// A module, and what became of each program.
pub(crate) type Translated = (HotModule, Vec<(u32, Result<(), Untranslatable>)>);

/// Loops that an instruction has as code.
fn loops_of(instruction: &Instruction) -> usize {
    match instruction.opcode.form() {
        Form::Loop => 1,
        Form::Reduce | Form::Scan => 2,
        _ => 0,
    }
}

/// The module `spirv` with these programs in it, for workers of `lanes` lanes.
pub(crate) fn module(spirv: &[u8], lanes: u32, programs: &[HotProgram]) -> Result<Translated, Untranslatable> {
    let broken = || Untranslatable::Piece("program".into());
    let mut emitter = Emitter::new(spirv).ok_or_else(broken)?;
    let places = (GROUP / 4 / lanes).max(1) as usize;
    let (mut functions, mut outcomes, mut left) = (Vec::new(), Vec::new(), MAX_LOOPS);
    for HotProgram { tag, program } in programs.iter().take(MAX_HOT_PROGRAMS) {
        let (instructions, most) = (program.parts().code.len(), MAX_STEPS / places);
        let loops = program.parts().code.iter().map(loops_of).sum();
        let outcome = if instructions > most {
            Err(Untranslatable::Long { instructions, most })
        } else if loops > left {
            Err(Untranslatable::Loops { loops, left })
        } else {
            translate(&mut emitter, program, places).map(|function| functions.push((*tag, function)))
        };
        left -= if outcome.is_ok() { loops } else { 0 };
        outcomes.push((*tag, outcome));
    }
    let words = emitter.finish(&functions, UNKNOWN).ok_or_else(broken)?;
    Ok((HotModule { words, loops: (MAX_LOOPS - left) as u32 }, outcomes))
}

#[cfg(test)]
mod tests {
    use vyre_protocol::vir0::assemble;

    use super::*;

    const SPIRV: &[u8] = include_bytes!("../../spirv/hot.spv");

    fn outcomes(texts: &[String], lanes: u32) -> (HotModule, Vec<Result<(), Untranslatable>>) {
        let program =
            |(i, text): (usize, &String)| HotProgram { tag: i as u32 + 1, program: Arc::new(assemble(text).unwrap()) };
        let programs: Vec<_> = texts.iter().enumerate().map(program).collect();
        let (module, outcomes) = module(SPIRV, lanes, &programs).unwrap();
        (module, outcomes.into_iter().map(|(_, outcome)| outcome).collect())
    }

    #[test]
    fn a_module_has_its_programs_and_nothing_else() {
        let none = outcomes(&[], 8).0;
        assert!(none.words.len() < SPIRV.len() / 4, "pieces that nothing calls are gone");
        let text =
            "get s0, length\nmov s1, 0\nloop\n eq s2, s0, s1\n break s2\n add s1, s1, 1\nendloop\nend".to_owned();
        let (one, found) = outcomes(std::slice::from_ref(&text), 8);
        assert_eq!((found, one.loops), (vec![Ok(())], 1));
        assert!(one.words.len() > none.words.len());
        assert!(outcomes(&[text.clone(), text], 8).0.words.len() > one.words.len());
    }

    #[test]
    fn what_is_too_much_stays_interpreted() {
        let long = format!("get v0, lane\n{}end", "add v0, v0, 1\n".repeat(300));
        assert_eq!(
            outcomes(std::slice::from_ref(&long), 8).1,
            [Err(Untranslatable::Long { instructions: 302, most: 256 })]
        );
        assert_eq!(outcomes(&[long], 64).1, [Ok(())], "it depends on the places of a lane");
        let sums = format!("get v0, lane\n{}end", "sum s0, v0\n".repeat(14));
        let (module, found) = outcomes(&[sums.clone(), sums, "end".into()], 8);
        assert_eq!(found, [Ok(()), Err(Untranslatable::Loops { loops: 28, left: 20 }), Ok(())]);
        assert_eq!(module.loops, 28);
    }
}
