//! Loops.
//!
//! From most, lanes leave together: a `break` with a vector condition is a vote, since what is done once for the group and what lanes do to
//! each other goes on until the last has left. Where a loop has nothing of the latter, each hardware lane leaves *by itself*. What the
//! group shares, fuel and scalars, is then as the lane has it that went farthest, and the others are told behind the loop.

use std::ops::BitOr;

use rspirv::spirv::{Op, Word};
use vyre_protocol::vir0::{Form, Instruction, Opcode, VECTORS};

use super::translate::{Frame, SEEN, SHORT, Since, Translator};
use super::{Untranslatable, loops_of};

/// The lane that went farthest, and whether it was short of fuel, as `hot_last` gives them.
const LAST_LANE: u32 = 0xff;
const LAST_SHORT: u32 = 1 << 31;

/// Whether lanes may leave the loop by themselves that begins with this instruction and has this body.
fn is_free(head: &Instruction, body: &[Instruction]) -> bool {
    let alone = |form| {
        matches!(form, Form::Unary | Form::Binary | Form::Ternary | Form::Get)
            || matches!(form, Form::If | Form::Else | Form::EndIf | Form::Break)
    };
    head.is_vector() && body.iter().all(|instruction| alone(instruction.opcode.form()))
}

/// What lies between a `loop` and its `endloop`.
fn body(code: &[Instruction], at: usize) -> &[Instruction] {
    let ends = |other: &Instruction| other.opcode == Opcode::EndLoop && other.word as usize == at + 1;
    let end = code.iter().position(ends).unwrap_or(at + 1);
    &code[at + 1..end]
}

/// The first loop of which a turn may be counted for more iterations than it pays for, on a driver that runs once through each loop in it that
/// no lane enters. What it surely pays for goes up to its first branch, way out or inner loop.
pub(super) fn unpaid(code: &[Instruction]) -> Option<Untranslatable> {
    let loops = (0..code.len()).filter(|at| code[*at].opcode == Opcode::Loop);
    let mut turns = loops.map(|at| {
        let body = body(code, at);
        let parts = |line: &Instruction| {
            matches!(line.opcode.form(), Form::Break | Form::Loop) || line.opcode == Opcode::If && !line.is_vector()
        };
        let first = body.iter().position(parts).unwrap_or(body.len());
        let (before, behind) = body.split_at(first);
        let parting = behind.first().map_or(0, Instruction::fuel);
        // A loop of an instruction that is always run is paid by that.
        let paid: u32 = before.iter().filter(|line| loops_of(line) == 0).map(Instruction::fuel).sum();
        (at, 1 + behind.iter().map(loops_of).sum::<usize>(), (paid + parting) as usize)
    });
    let unpaid = turns.find(|(_, loops, paid)| loops > paid);
    unpaid.map(|(at, loops, paid)| Untranslatable::Unpaid { at, loops, paid })
}

impl Translator<'_> {
    pub(super) fn begin_loop(&mut self, at: usize, instruction: &Instruction) -> Result<(), Untranslatable> {
        self.pay()?;
        let depth = self.depth;
        self.depth = instruction.d;
        if instruction.is_vector() {
            for place in 0..self.places.len() {
                let mask = self.mask_at(depth, place);
                self.write_mask(self.depth, place, mask);
            }
        }
        let body = body(self.code, at);
        let (inside, free) =
            (body.iter().map(Since::of).fold(Since::default(), Since::bitor), is_free(instruction, body));
        self.since = self.since | inside;
        let short = free.then(|| self.emitter.variable(self.emitter.types.uint));
        if let Some(short) = short {
            let no = self.emitter.word(0);
            self.emitter.store(short, no);
        }
        let [head, again, merge] = [(); 3].map(|()| self.emitter.id());
        self.emitter.branch(head);
        self.emitter.label(head);
        self.emitter.enter_loop(merge, again);
        self.frames.push(Frame::Loop { head, again, merge, depth, since: self.since, short });
        Ok(())
    }

    pub(super) fn leave_loop(&mut self, instruction: &Instruction) -> Result<(), Untranslatable> {
        let (merge, short) = self.innermost().unwrap_or_default();
        let leaves = if instruction.is_vector() {
            let stays = self.part(instruction);
            let stays = if short.is_some() {
                stays
            } else {
                let vote = self.vote(stays)?;
                self.emitter.has_bits(vote, SEEN)
            };
            self.emitter.not(stays)
        } else {
            let value = self.scalar(instruction.a);
            self.emitter.is_set(value)
        };
        let (way_out, goes_on) = (self.emitter.id(), self.emitter.id());
        self.emitter.fork(leaves, way_out, goes_on, goes_on);
        self.emitter.label(way_out);
        let due = self.due;
        self.pay()?;
        self.due = due;
        self.emitter.branch(merge);
        self.emitter.label(goes_on);
        Ok(())
    }

    /// Takes lanes out of the masks from a loop's on; gives whether any of the hardware lane's stays in it.
    fn part(&mut self, instruction: &Instruction) -> Word {
        let (mut stay, bvec4) = (self.emitter.types.no, self.emitter.types.bvec4);
        for place in 0..self.places.len() {
            let leaves = self.condition(instruction, place);
            let rest = self.emitter.op(Op::LogicalNot, bvec4, &[leaves]);
            for depth in instruction.d..=self.depth {
                let mask = self.mask_at(depth, place);
                let mask = self.emitter.op(Op::LogicalAnd, bvec4, &[mask, rest]);
                self.write_mask(depth, place, mask);
                if depth == instruction.d {
                    stay = self.emitter.any(mask, stay);
                }
            }
        }
        stay
    }

    pub(super) fn end_loop(&mut self, at: usize, instruction: &Instruction) -> Result<(), Untranslatable> {
        self.pay()?;
        if let Some(Frame::Loop { head, again, merge, depth, since, short }) = self.frames.pop() {
            self.emitter.branch(again);
            self.emitter.label(again);
            self.emitter.branch(head);
            self.emitter.label(merge);
            self.since = since;
            self.depth = depth;
            if let Some(short) = short {
                self.come_together((instruction.word as usize).saturating_sub(1), at, short)?;
            }
        }
        Ok(())
    }

    /// Behind a loop, from instruction `from` to `to`, that each lane left by itself.
    fn come_together(&mut self, from: usize, to: usize, short: Word) -> Result<(), Untranslatable> {
        let short = self.emitter.load(self.emitter.types.uint, short);
        let short = self.emitter.is_set(short);
        let last = self.emitter.call("last", &[self.group, short])?;
        let short = self.emitter.has_bits(last, LAST_SHORT);
        self.emitter.give_if(short, SHORT);
        let lanes = self.emitter.word(LAST_LANE);
        let by = self.emitter.op(Op::BitwiseAnd, self.emitter.types.uint, &[last, lanes]);
        for scalar in self.scalars_of(from, to) {
            let value = self.scalar(scalar);
            let value = self.emitter.call("told", &[self.group, value, by])?;
            self.write_scalar(scalar, value);
        }
        Ok(())
    }

    /// The scalars that a loop writes and that may be read behind it.
    fn scalars_of(&self, from: usize, to: usize) -> Vec<u8> {
        let nested = self.frames.iter().any(|frame| matches!(frame, Frame::Loop { .. }));
        let (loop_, behind) = (&self.code[from..to], &self.code[to..]);
        let written = |code: &u8| loop_.iter().any(|line| line.opcode.form().writes() && line.d == *code);
        let read = |code: &u8| nested || behind.iter().any(|line| line.sources().any(|source| source == *code));
        (VECTORS..vyre_protocol::vir0::IMMEDIATE).filter(written).filter(read).collect()
    }
}
