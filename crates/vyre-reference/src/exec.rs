//! EXEC: the counterpart of `op_exec.glsl`.

use vyre_protocol::fault::Fault;
use vyre_protocol::resource::EXECUTE;
use vyre_protocol::slot::{Operand, Slot};
use vyre_protocol::vir0::{
    Form, GROUP, HEADER_BYTES, Instruction, OPERAND_WORDS, Opcode, Parts, Place, Register, SCALARS, Source, Special,
    VECTORS,
};

use crate::arithmetic::evaluate;
use crate::claim::Claim;
use crate::execute::{Refusal, Resolved, covers};
use crate::ops::Backing;
use crate::worker::Worker;

const LANES: usize = GROUP as usize;

/// A word of each lane.
type Vector = [u32; LANES];

/// A group that executes a program.
struct Group<'a> {
    parts: &'a Parts,
    slot: &'a Slot,
    tile: u32,
    resources: Vec<Resolved>,
    vectors: [Vector; VECTORS as usize],
    scalars: [u32; SCALARS as usize],
    /// Bit `d` of a lane: it is active at depth `d` of masks.
    masks: Vector,
    depth: u8,
    scratch: Vec<u32>,
    fuel: u32,
    /// Writes a line to the debug log.
    print: &'a dyn Fn(u32, [u32; 2]),
}

impl Worker<'_> {
    /// Checks the slot and what the program declares, and runs the program.
    pub(crate) fn run_exec(&self, claim: Claim, slot: &Slot) -> Result<(), Refusal> {
        if slot.tile_span == 0 {
            return Err((Fault::BadArgument, 0));
        }
        if !covers(slot.tiles, slot.tile_span, slot.length) {
            return Err((Fault::BadArgument, slot.tiles));
        }
        let operand = Operand { handle: slot.args[0], offset: 0 };
        let program = self.resolve(slot, operand, HEADER_BYTES, EXECUTE)?.backing;
        // Only programs are bound with that access.
        let Backing::Program(program) = program else { return Err((Fault::AccessDenied, operand.handle)) };
        let parts = program.parts();
        let resources = parts.resources.iter().enumerate().map(|(index, access)| {
            let operand = match index {
                0 => slot.input,
                1 => slot.output,
                further => Operand { handle: slot.args[further - 1], offset: 0 },
            };
            self.resolve(slot, operand, 0, *access)
        });
        let mut group = Group {
            parts,
            slot,
            tile: claim.tile,
            resources: resources.collect::<Result<_, _>>()?,
            vectors: [[0; LANES]; VECTORS as usize],
            scalars: [0; SCALARS as usize],
            masks: [1; LANES],
            depth: 0,
            scratch: vec![0; parts.scratch as usize],
            fuel: parts.fuel,
            print: &|format, args| self.print(claim, slot.tenant, format, &args),
        };
        group.run()
    }
}

impl Group<'_> {
    fn run(&mut self) -> Result<(), Refusal> {
        let mut at = 0;
        while let Some(instruction) = self.parts.code.get(at) {
            let left = self.fuel.checked_sub(instruction.fuel());
            self.fuel = left.ok_or((Fault::OutOfFuel, at as u32))?;
            at = match instruction.opcode.form() {
                Form::End => break,
                Form::If | Form::Else | Form::EndIf | Form::Loop | Form::Break | Form::EndLoop => {
                    self.control(instruction).unwrap_or(at + 1)
                }
                _ => {
                    self.step(instruction)?;
                    at + 1
                }
            };
        }
        Ok(())
    }

    fn step(&mut self, instruction: &Instruction) -> Result<(), Refusal> {
        let form = instruction.opcode.form();
        match form {
            Form::Load | Form::Store | Form::Atomic | Form::Swap => return self.access(instruction),
            Form::Reduce => self.scalars[usize::from(instruction.d - VECTORS)] = self.reduce(instruction),
            Form::Scan => self.scan(instruction),
            Form::Trap if self.lanes(instruction).any(|lane| self.source(instruction, instruction.a, lane) != 0) => {
                return Err((Fault::Trap, instruction.word));
            }
            Form::Trap => {}
            Form::Print => {
                let Instruction { a, b, word, .. } = *instruction;
                (self.print)(word, [a, b].map(|code| self.source(instruction, code, 0)));
            }
            _ => {
                // All lanes read before one writes.
                let results: Vec<_> =
                    self.lanes(instruction).map(|lane| (lane, self.value(instruction, lane))).collect();
                results.into_iter().for_each(|(lane, value)| self.write(instruction.d, lane, value));
            }
        }
        Ok(())
    }

    /// The lanes that an instruction works in: those that are active, or one for what happens once for the group.
    fn lanes(&self, instruction: &Instruction) -> impl Iterator<Item = usize> + use<> {
        let (vector, depth, masks) = (instruction.is_vector(), self.depth, self.masks);
        (0..if vector { LANES } else { 1 }).filter(move |lane| !vector || masks[*lane] >> depth & 1 == 1)
    }

    fn is_active(&self, lane: usize) -> bool {
        self.masks[lane] >> self.depth & 1 == 1
    }

    fn source(&self, instruction: &Instruction, code: u8, lane: usize) -> u32 {
        match Source::from_code(code) {
            Some(Source::Register(register)) if register.is_vector() => self.vectors[usize::from(code)][lane],
            Some(Source::Register(_)) => self.scalars[usize::from(code - VECTORS)],
            _ => instruction.word,
        }
    }

    fn write(&mut self, code: u8, lane: usize, value: u32) {
        match Register::from_code(code) {
            Some(register) if register.is_vector() => self.vectors[usize::from(code)][lane] = value,
            Some(_) => self.scalars[usize::from(code - VECTORS)] = value,
            None => {}
        }
    }

    /// What an instruction gives in a lane.
    fn value(&self, instruction: &Instruction, lane: usize) -> u32 {
        let source = |code| self.source(instruction, code, lane);
        match instruction.opcode.form() {
            Form::Get => u8::try_from(instruction.word)
                .ok()
                .and_then(Special::from_code)
                .map_or(0, |special| self.special(special, lane)),
            Form::Shuffle => {
                let from = source(instruction.b) as usize % LANES;
                if self.is_active(from) { self.vectors[usize::from(instruction.a)][from] } else { 0 }
            }
            _ => evaluate(instruction.opcode, source(instruction.a), source(instruction.b), source(instruction.c())),
        }
    }

    fn special(&self, special: Special, lane: usize) -> u32 {
        let Slot { tiles, length, tile_span: span, args, .. } = *self.slot;
        let first = (u64::from(self.tile) * u64::from(span)).min(length.into()) as u32;
        match special {
            Special::Lane => lane as u32,
            Special::Item => first.wrapping_add(lane as u32),
            Special::Tile => self.tile,
            Special::Tiles => tiles,
            Special::Length => length,
            Special::Span => span,
            Special::First => first,
            Special::Count => span.min(length - first),
            _ => {
                let further = self.parts.resources.len().saturating_sub(2);
                let parameter =
                    special.parameter().map(|index| args[(1 + further + index as usize).min(OPERAND_WORDS as usize)]);
                let bytes =
                    || special.resource().and_then(|index| self.resources.get(index as usize)).map(|place| place.size);
                parameter.or_else(bytes).unwrap_or(0)
            }
        }
    }

    /// Bytes of a place.
    fn size(&self, place: Place) -> u32 {
        match place {
            Place::Resource(index) => self.resources.get(usize::from(index)).map_or(0, |place| place.size),
            Place::Constants => 4 * self.parts.constants.len() as u32,
            Place::Scratch => 4 * self.scratch.len() as u32,
        }
    }

    /// Lanes whose access lies inside do it, in order; the first whose access does not faults the tile behind them.
    fn access(&mut self, instruction: &Instruction) -> Result<(), Refusal> {
        let Instruction { opcode, a, word, .. } = *instruction;
        let (Some(place), Some(width)) = (Place::from_code(word as u8), opcode.width()) else { return Ok(()) };
        let elements = self.size(place) / width;
        let mut fault = None;
        for lane in self.lanes(instruction) {
            let index = match Source::from_code(a) {
                Some(Source::Immediate) => 0,
                _ => self.source(instruction, a, lane),
            };
            let index = index.wrapping_add(word >> 16);
            if index < elements {
                self.access_lane(instruction, place, lane, index);
            } else {
                fault.get_or_insert((Fault::OutOfRange, index.saturating_mul(width)));
            }
        }
        fault.map_or(Ok(()), Err)
    }

    fn access_lane(&mut self, instruction: &Instruction, place: Place, lane: usize, index: u32) {
        let Instruction { opcode, d, b, .. } = *instruction;
        let value = self.source(instruction, b, lane);
        match opcode {
            Opcode::Ld8 => self.write(d, lane, self.load(place, index / 4) >> (index % 4 * 8) & 0xff),
            Opcode::Ld16 => self.write(d, lane, self.load(place, index / 2) >> (index % 2 * 16) & 0xffff),
            Opcode::Ld32 => self.write(d, lane, self.load(place, index)),
            Opcode::Ld128 => (0..4).for_each(|i| self.write(d + i, lane, self.load(place, 4 * index + u32::from(i)))),
            Opcode::St8 => self.store_part(place, index / 4, 0xff << (index % 4 * 8), value << (index % 4 * 8)),
            Opcode::St16 => self.store_part(place, index / 2, 0xffff << (index % 2 * 16), value << (index % 2 * 16)),
            Opcode::St32 => self.store(place, index, value),
            Opcode::St128 => {
                (0..4).for_each(|i| self.store(place, 4 * index + u32::from(i), self.source(instruction, b + i, lane)));
            }
            _ => {
                let c = self.source(instruction, instruction.c(), lane);
                let before = self.change(place, index, |before| match opcode {
                    Opcode::AtAdd => before.wrapping_add(value),
                    Opcode::AtMin => before.min(value),
                    Opcode::AtMax => before.max(value),
                    Opcode::AtAnd => before & value,
                    Opcode::AtOr => before | value,
                    Opcode::AtXor => before ^ value,
                    Opcode::AtCas if before != value => before,
                    Opcode::AtCas => c,
                    _ => value,
                });
                self.write(d, lane, before);
            }
        }
    }

    fn load(&self, place: Place, word: u32) -> u32 {
        match place {
            Place::Resource(index) => {
                let Resolved { backing, offset, .. } = &self.resources[usize::from(index)];
                backing.load(offset + 4 * word as usize)
            }
            Place::Constants => self.parts.constants.get(word as usize).copied().unwrap_or(0),
            Place::Scratch => self.scratch.get(word as usize).copied().unwrap_or(0),
        }
    }

    fn store(&mut self, place: Place, word: u32, value: u32) {
        match place {
            Place::Resource(index) => {
                let Resolved { backing, offset, .. } = &self.resources[usize::from(index)];
                backing.store(offset + 4 * word as usize, value);
            }
            Place::Constants => {}
            Place::Scratch => self.scratch[word as usize] = value,
        }
    }

    /// Changes a word in one step and gives what was there before.
    fn change(&mut self, place: Place, word: u32, change: impl Fn(u32) -> u32) -> u32 {
        if let Place::Resource(index) = place {
            let Resolved { backing, offset, .. } = &self.resources[usize::from(index)];
            return backing.change(offset + 4 * word as usize, change);
        }
        let before = self.load(place, word);
        self.store(place, word, change(before));
        before
    }

    fn store_part(&mut self, place: Place, word: u32, mask: u32, value: u32) {
        self.change(place, word, |before| before & !mask | value & mask);
    }

    /// Joins the lanes by halves: lane `j` takes in lane `j + 128`, then `j + 64`, down to `j + 1`.
    fn reduce(&self, instruction: &Instruction) -> u32 {
        let Some((join, identity)) = instruction.opcode.reduction() else { return 0 };
        let lane = |lane| if self.is_active(lane) { self.source(instruction, instruction.a, lane) } else { identity };
        let mut values: Vector = std::array::from_fn(lane);
        let mut stride = LANES / 2;
        while stride > 0 {
            for j in 0..stride {
                values[j] = evaluate(join, values[j], values[j + stride], 0);
            }
            stride /= 2;
        }
        values[0]
    }

    fn scan(&mut self, instruction: &Instruction) {
        let mut sum: u32 = 0;
        for lane in self.lanes(instruction) {
            sum = sum.wrapping_add(self.source(instruction, instruction.a, lane));
            self.write(instruction.d, lane, sum);
        }
    }

    /// Runs a branch or loop; gives the instruction to jump to.
    fn control(&mut self, instruction: &Instruction) -> Option<usize> {
        let Instruction { opcode, d, a, word, .. } = *instruction;
        let target = Some(word as usize);
        if !instruction.is_vector() {
            let condition = Register::from_code(a).map_or(0, |_| self.source(instruction, a, 0));
            return match opcode {
                Opcode::If if condition == 0 => target,
                Opcode::Else | Opcode::EndLoop => target,
                Opcode::Break if condition != 0 => {
                    self.depth = d;
                    target
                }
                Opcode::EndIf => {
                    self.depth = d;
                    None
                }
                _ => None,
            };
        }
        match opcode {
            Opcode::If | Opcode::Loop | Opcode::Else => {
                for lane in 0..LANES {
                    let taken = self.masks[lane] >> d & 1 == 1;
                    let goes = match opcode {
                        Opcode::If => self.source(instruction, a, lane) != 0,
                        Opcode::Else => !taken,
                        _ => true,
                    };
                    let outside = self.masks[lane] >> (d - 1) & 1;
                    self.masks[lane] = self.masks[lane] & !(1 << d) | (outside & u32::from(goes)) << d;
                }
                self.depth = d;
                None
            }
            Opcode::Break => {
                for lane in 0..LANES {
                    if self.is_active(lane) && self.source(instruction, a, lane) != 0 {
                        self.masks[lane] &= (1 << d) - 1;
                    }
                }
                if self.masks.iter().any(|mask| mask >> d & 1 == 1) {
                    return None;
                }
                self.depth = d - 1;
                target
            }
            _ => {
                self.depth = d;
                None
            }
        }
    }
}
