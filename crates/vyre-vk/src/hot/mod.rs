//! Hot programs: VIR0 programs that a kernel holds as code of its own, instead of interpreting them.
//!
//! The module of such a kernel is built with a hook that the interpreter asks first, and with the pieces of the interpreter as functions
//! that know the instruction. [`translate`] puts a program together from calls of these, so there is one definition of what an instruction
//! does, and the drivers' compilers see straight code. How a kernel knows a program: by the tag that the runtime wrote into it when it was
//! loaded ([`vyre_protocol::vir0::TAG`]).

mod emitter;
mod floats;
mod loops;
mod memory;
mod ranges;
mod translate;
mod waiting;

use std::sync::Arc;

use vyre_protocol::vir0::{Form, GROUP, Instruction, Program};

use self::emitter::Emitter;
pub(crate) use self::floats::flushed;
use self::translate::{UNKNOWN, translate};

/// Most programs that a kernel holds translated: each makes it larger, and on llvmpipe each tile passes by all of them.
pub const MAX_HOT_PROGRAMS: usize = 8;

/// Most instructions times places of a hardware lane, in all programs of a kernel. Drivers take each for some dozen instructions of their
/// own: llvmpipe compiles for minutes where there are more, and SwiftShader's optimizer ends the process.
const MAX_STEPS: usize = 1024;

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
    /// The kernel has no room for it beside the programs before it.
    #[error("it has {needed} {what}, and {left} of the {most} of a kernel are left; split it, or load fewer programs")]
    NoRoom {
        /// What there are too many of.
        what: &'static str,
        /// How many it has.
        needed: usize,
        /// How many were left.
        left: usize,
        /// How many a kernel takes.
        most: usize,
    },
    /// This driver ends all loops after a number of iterations, and a program's fuel would not keep it below that.
    #[error(
        "a turn of the loop at instruction {at} may cost this driver {loops} iterations, one for each loop and two for a sum or scan, and surely \
         pays for {paid}; move instructions to before its first scalar `if`, `loop` or `break`, or sums out of it"
    )]
    Unpaid {
        /// Where the loop begins.
        at: usize,
        /// Iterations of a turn in which no lane enters what it holds: one of its own, and those of the loops behind its first way apart.
        loops: usize,
        /// Fuel that each turn surely takes.
        paid: usize,
    },
    /// The kernel's module lacks something that the translator needs.
    #[error("the kernel's module has no `{0}`; host and shader are not of one build")]
    Piece(String),
}

/// Who takes results for 0 that are subnormal floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subnormal {
    /// The translated program, behind each instruction.
    Shader,
    /// The device does so for sums and products, as [a trial](crate::subnormal) has found; the program for the others.
    Device,
    /// The device, since the module says so.
    Module,
}

/// What translated programs may leave to the device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FloatMode {
    pub(crate) subnormal: Subnormal,
    /// See [`DeviceReport::nan_control`](crate::DeviceReport::nan_control).
    pub(crate) keeps_nan: bool,
}

/// The device that a module is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    /// Lanes of a worker.
    pub(crate) lanes: u32,
    pub(crate) floats: FloatMode,
    /// Workers run on the host's processors, whose shared memory is memory like any other.
    pub(crate) host_threads: bool,
    /// The driver counts the iterations of all loops: see [`DeviceQuirks::fuel_limit`](crate::DeviceQuirks::fuel_limit).
    pub(crate) counts_loops: bool,
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

/// The module with these programs in it; `words`: its own.
pub(crate) fn module(words: &[u32], target: Target, programs: &[HotProgram]) -> Result<Translated, Untranslatable> {
    let broken = || Untranslatable::Piece("program".into());
    let mut emitter = Emitter::new(words, target.floats).ok_or_else(broken)?;
    let places = (GROUP / 4 / target.lanes).max(1) as usize;
    let (mut functions, mut outcomes) = (Vec::new(), Vec::new());
    let mut left = [MAX_STEPS, MAX_LOOPS];
    for HotProgram { tag, program } in programs.iter().take(MAX_HOT_PROGRAMS) {
        let code = &program.parts().code;
        let needed = [code.len() * places, code.iter().map(loops_of).sum()];
        let no_room = (0..needed.len()).find(|i| needed[*i] > left[*i]).map(|i| {
            let (what, most) = [("steps", MAX_STEPS), ("loops", MAX_LOOPS)][i];
            Untranslatable::NoRoom { what, needed: needed[i], left: left[i], most }
        });
        let outcome = match no_room.or_else(|| if target.counts_loops { loops::unpaid(code) } else { None }) {
            Some(reason) => Err(reason),
            None => translate(&mut emitter, program, places, target).map(|function| functions.push((*tag, function))),
        };
        if outcome.is_ok() {
            left = [left[0] - needed[0], left[1] - needed[1]];
        }
        outcomes.push((*tag, outcome));
    }
    let words = emitter.finish(&functions, UNKNOWN).ok_or_else(broken)?;
    Ok((HotModule { words, loops: (MAX_LOOPS - left[1]) as u32 }, outcomes))
}

#[cfg(test)]
mod tests {
    use vyre_protocol::vir0::{Opcode, assemble};

    use super::*;
    use crate::kernel::{SPIRV, module_words};

    fn outcomes(texts: &[String], lanes: u32) -> (HotModule, Vec<Result<(), Untranslatable>>) {
        let program =
            |(i, text): (usize, &String)| HotProgram { tag: i as u32 + 1, program: Arc::new(assemble(text).unwrap()) };
        let programs: Vec<_> = texts.iter().enumerate().map(program).collect();
        let software = lanes <= 8;
        let subnormal = if software { Subnormal::Shader } else { Subnormal::Device };
        let floats = FloatMode { subnormal, keeps_nan: !software };
        let target = Target { lanes, floats, host_threads: software, counts_loops: software };
        let (module, outcomes) = module(&module_words(SPIRV[0]), target, &programs).unwrap();
        (module, outcomes.into_iter().map(|(_, outcome)| outcome).collect())
    }

    #[test]
    fn a_module_has_its_programs_and_nothing_else() {
        let none = outcomes(&[], 8).0;
        assert!(none.words.len() < SPIRV[0].len() / 4, "pieces that nothing calls are gone");
        let text =
            "get s0, length\nmov s1, 0\nloop\n eq s2, s0, s1\n break s2\n add s1, s1, 1\nendloop\nend".to_owned();
        let (one, found) = outcomes(std::slice::from_ref(&text), 8);
        assert_eq!((found, one.loops), (vec![Ok(())], 1));
        assert!(one.words.len() > none.words.len());
        assert!(outcomes(&[text.clone(), text], 8).0.words.len() > one.words.len());
    }

    #[test]
    fn every_instruction_has_a_translation() {
        let line = |opcode: &Opcode| {
            let operands = match opcode.form() {
                Form::Unary | Form::Scan => "v1, v0",
                Form::Binary | Form::Shuffle => "v1, v0, v0",
                Form::Ternary => "v1, v0, v0, v0",
                Form::Get => "v1, lane",
                Form::Load => "v4, r0[v0]",
                Form::Store => "r0[v0], v4",
                Form::Atomic => "v1, r0[v0], v0",
                Form::Swap => "v1, r0[v0], v0, v0",
                Form::Reduce => "s0, v0",
                Form::If | Form::Break => "v0",
                Form::Trap => "v0, 1",
                Form::Print => "1, s0, s0",
                Form::Else | Form::EndIf | Form::Loop | Form::EndLoop | Form::End => "",
            };
            format!("{} {operands}\n", opcode.name())
        };
        let is_control =
            |opcode: &Opcode| !matches!(opcode.form(), Form::Trap | Form::Print) && opcode.code() >= Opcode::If.code();
        let (control, others): (Vec<_>, Vec<_>) = Opcode::ALL.iter().partition(|opcode| is_control(opcode));
        let text: String = others.into_iter().chain(control).map(line).collect();
        let text = format!(".resource read write atomic\nget v0, lane\nld128 v4, r0[v0]\nmov s0, 1\n{text}");
        // Both with and without the device's own way with floats.
        assert_eq!([8, 64].map(|lanes| outcomes(std::slice::from_ref(&text), lanes).1), [[Ok(())], [Ok(())]]);
    }

    #[test]
    fn what_is_too_much_stays_interpreted() {
        let no_room = |what, needed, left, most| Err(Untranslatable::NoRoom { what, needed, left, most });
        let long = format!("get v0, lane\n{}end", "add v0, v0, 1\n".repeat(300));
        assert_eq!(outcomes(std::slice::from_ref(&long), 8).1, [no_room("steps", 2416, 1024, 1024)]);
        assert_eq!(outcomes(&[long], 64).1, [Ok(())], "it depends on the places of a lane");
        let sums = format!("get v0, lane\n{}end", "sum s0, v0\n".repeat(14));
        let (module, found) = outcomes(&[sums.clone(), sums, "end".into()], 8);
        assert_eq!(found, [Ok(()), no_room("loops", 28, 20, 48), Ok(())]);
        assert_eq!(module.loops, 28);
    }

    #[test]
    fn loops_that_a_turn_passes_by_are_paid_or_the_program_stays_interpreted() {
        let text = |before: &str, sums: usize| {
            format!(
                "get v0, lane\nmov s0, 0\nloop\n{before}  eq s1, s0, 9\n  if s1\n{}  endif\n  add s0, s0, 1\n  eq s2, s0, s1\n  \
                 break s2\nendloop\nend",
                "    sum s3, v0\n".repeat(sums)
            )
        };
        let unpaid = |loops, paid| Err(Untranslatable::Unpaid { at: 2, loops, paid });
        let sums = [text("", 1), text("", 2), text("  add v1, v0, 1\n", 2), text("  sum s4, v0\n", 2)];
        assert_eq!(outcomes(&sums, 8).1, [Ok(()), unpaid(5, 4), Ok(()), unpaid(5, 4)]);
        assert_eq!(outcomes(&sums, 64).1, [Ok(()), Ok(()), Ok(()), Ok(())]);
        let library = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../programs");
        for path in std::fs::read_dir(library).unwrap().map(|entry| entry.unwrap().path()) {
            if path.extension().is_some_and(|extension| extension == "vir") {
                let program = assemble(&std::fs::read_to_string(&path).unwrap()).unwrap();
                assert_eq!(loops::unpaid(&program.parts().code), None, "{}", path.display());
            }
        }
    }
}
