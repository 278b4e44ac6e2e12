//! What lanes that wait still need.
//!
//! A lane that is not active waits: for the other side of its branch, the end of that, or the end of a loop that it has left. What the
//! active ones write meanwhile must not reach its registers, if it reads them before it writes them itself. Most it does not, and then a
//! write needs no mask.

use vyre_protocol::vir0::{Form, Instruction, Opcode, VECTORS};

/// Vector registers, a bit for each code.
type Registers = u16;

/// For each instruction, the registers that lanes need which do not run it.
#[derive(Debug)]
pub(super) struct Waiting(Vec<Registers>);

impl Waiting {
    pub(super) fn of(code: &[Instruction]) -> Waiting {
        let ends = ends(code);
        let needed = needed(code, &ends);
        let at = |place: usize| needed.get(place).copied().unwrap_or(0);
        // Of each branch and loop that is open, where lanes wait for it, whether there are such, and whether it is a loop.
        let mut open: Vec<(usize, bool, bool)> = Vec::new();
        let waiting = code.iter().enumerate().map(|(i, instruction)| {
            match instruction.opcode.form() {
                form @ (Form::If | Form::Loop) => open.push((ends[i], instruction.is_vector(), form == Form::Loop)),
                Form::Else => open.iter_mut().last().into_iter().for_each(|last| last.0 = ends[i]),
                Form::EndIf | Form::EndLoop => _ = open.pop(),
                _ => {}
            }
            // A `break` for all takes those along that wait inside the loop, so its end counts where anybody waits.
            let anybody = open.iter().any(|(_, waits, _)| *waits);
            let places = open.iter().filter(|(_, waits, is_loop)| *waits || anybody && *is_loop);
            places.fold(0, |registers, (end, ..)| registers | at(*end))
        });
        Waiting(waiting.collect())
    }

    /// Whether a lane that does not run the instruction needs the register.
    pub(super) fn need(&self, at: usize, code: u8) -> bool {
        self.0.get(at).is_none_or(|registers| registers & bit(code) != 0)
    }
}

/// A register's bit; none for what is no vector.
fn bit(code: u8) -> Registers {
    if code < VECTORS { 1 << code } else { 0 }
}

/// Where lanes go on that an `if`, `else` or `loop` leaves out: behind the `else`, at the `endif`, behind the `endloop`. For an `endloop` and a
/// `break`, the loop.
fn ends(code: &[Instruction]) -> Vec<usize> {
    let mut ends = vec![code.len(); code.len()];
    let (mut open, mut loops) = (Vec::new(), Vec::new());
    for (i, instruction) in code.iter().enumerate() {
        match instruction.opcode.form() {
            Form::If => open.push(i),
            Form::Loop => loops.push(i),
            Form::Else => {
                open.pop().into_iter().for_each(|start: usize| ends[start] = i + 1);
                open.push(i);
            }
            Form::EndIf => open.pop().into_iter().for_each(|start| ends[start] = i),
            Form::Break => ends[i] = loops.last().copied().unwrap_or(code.len()),
            Form::EndLoop => loops.pop().into_iter().for_each(|start: usize| (ends[start], ends[i]) = (i + 1, start)),
            _ => {}
        }
    }
    ends
}

/// The registers that a lane needs which comes to each instruction: it reads them before it writes them.
fn needed(code: &[Instruction], ends: &[usize]) -> Vec<Registers> {
    let mut needed = vec![0; code.len()];
    loop {
        let before = needed.clone();
        for (i, instruction) in code.iter().enumerate().rev() {
            let at = |place: usize| needed.get(place).copied().unwrap_or(0);
            let behind = match instruction.opcode.form() {
                Form::If => at(i + 1) | at(ends[i]),
                Form::Else | Form::EndLoop => at(ends[i]),
                Form::Break => at(i + 1) | ends.get(ends[i]).map_or(0, |behind| at(*behind)),
                Form::End => 0,
                _ => at(i + 1),
            };
            needed[i] = behind & !written(instruction) | read(instruction);
        }
        if needed == before {
            return needed;
        }
    }
}

fn written(instruction: &Instruction) -> Registers {
    let words = if instruction.opcode == Opcode::Ld128 { 4 } else { 1 };
    let writes = instruction.opcode.form().writes();
    (instruction.d..instruction.d + words).filter(|_| writes).fold(0, |registers, code| registers | bit(code))
}

fn read(instruction: &Instruction) -> Registers {
    let wide = (instruction.opcode == Opcode::St128).then_some(instruction.b);
    let further = wide.into_iter().flat_map(|first| first..first + 4);
    instruction.sources().chain(further).fold(0, |registers, code| registers | bit(code))
}

#[cfg(test)]
mod tests {
    use vyre_protocol::vir0::assemble;

    use super::*;

    /// For each write under a mask in the text, the number of its register, if lanes that wait need that.
    fn masked(text: &str) -> Vec<u8> {
        let program = assemble(&format!(".resource read write\n{text}\nend")).unwrap();
        let code = &program.parts().code;
        let waiting = Waiting::of(code);
        let writes = code.iter().enumerate().filter(|(_, instruction)| instruction.opcode.form().writes());
        writes
            .map(|(at, instruction)| (at, instruction.d))
            .filter(|(at, d)| waiting.need(*at, *d))
            .map(|(_, d)| d)
            .collect()
    }

    #[test]
    fn what_is_read_behind_a_branch_is_needed() {
        let text = "get v0, lane\nmov v1, v0\nmov v2, v0\nif v0\n  mov v1, 1\n  mov v2, 2\n  mov v3, v2\nendif\nadd v4, v1, v0";
        assert_eq!(masked(text), [1]);
        // The other side reads v2 first, and v3 is its own.
        let text = "get v0, lane\nmov v1, v0\nmov v2, v0\nif v0\n  mov v2, 2\n  mov v3, v2\nelse\n  mov v3, v2\n  mov v1, v3\nendif\n\
                    add v4, v1, v0";
        assert_eq!(masked(text), [2, 1]);
    }

    #[test]
    fn what_is_read_behind_a_loop_or_in_its_next_turn_is_needed() {
        let text = "get v0, lane\nmov v1, 0\nmov v2, 0\nloop\n  eq v3, v1, v0\n  break v3\n  add v1, v1, 1\n  add v2, v2, v1\nendloop\n\
                    add v4, v2, v0";
        assert_eq!(masked(text), [2]);
        let text = "get v0, lane\nmov v1, 0\nmov v2, 0\nloop\n  eq v3, v1, v0\n  break v3\n  if v2\n    mov v2, v1\n    mov v3, v1\n  endif\n  \
                    add v1, v1, 1\nendloop\nmov v4, v0";
        assert_eq!(masked(text), [2], "v2 in the next turn, by lanes that the branch leaves out");
    }

    #[test]
    fn who_waits_in_a_loop_that_all_leave_reads_behind_it() {
        let text = "get v0, lane\nmov v1, v0\nmov s0, 1\nloop\n  if v0\n    mov v1, 5\n    break s0\n  endif\n  mov v1, 6\nendloop\n\
                    st32 r0[v0], v1";
        assert_eq!(masked(text), [1]);
    }

    #[test]
    fn four_registers_are_read_and_written_at_once() {
        let text = "get v0, lane\nld128 v4, r0[v0]\nif v0\n  ld128 v4, r0[v0]\nendif\nst128 r0[v0], v4\nmov v1, v0";
        let program = assemble(&format!(".resource read write\n{text}\nend")).unwrap();
        let waiting = Waiting::of(&program.parts().code);
        assert_eq!([3, 4, 5, 6, 7, 8].map(|code| waiting.need(3, code)), [false, true, true, true, true, false]);
    }
}
