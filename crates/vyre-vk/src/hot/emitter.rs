//! The kernel's module while functions are added to it.

use std::collections::{BTreeMap, BTreeSet};

use rspirv::binary::Assemble;
use rspirv::dr::{Block, Function, Instruction, Module, Operand, load_words};
use rspirv::spirv::{Capability, ExecutionMode, Op, SelectionControl, StorageClass, Word};

use super::{FloatMode, Subnormal, Untranslatable};

/// What the names of the functions begin with that translated programs are made of.
const PREFIX: &str = "hot_";
/// The one among them that is replaced.
const HOOK: &str = "program";

/// Types and constants that translated code uses.
pub(super) struct Types {
    pub(super) uint: Word,
    pub(super) uvec4: Word,
    pub(super) bvec4: Word,
    bool: Word,
    /// A mask of all lanes.
    pub(super) all: Word,
    /// A mask of the first lane.
    pub(super) one: Word,
    pub(super) no: Word,
}

/// A function that translated programs call.
struct Piece {
    id: Word,
    result: Word,
}

pub(super) struct Emitter {
    module: Module,
    next: Word,
    pieces: BTreeMap<String, Piece>,
    pub(super) types: Types,
    pub(super) floats: FloatMode,
    variables: Vec<Instruction>,
    blocks: Vec<Block>,
}

impl Emitter {
    /// Loads the module whose pieces are kept apart; `None` if it is none.
    pub(super) fn new(words: &[u32], floats: FloatMode) -> Option<Emitter> {
        let module = load_words(words).ok()?;
        let next = module.header.as_ref()?.bound;
        let names = module.debug_names.iter().filter_map(|line| match line.operands.as_slice() {
            [Operand::IdRef(id), Operand::LiteralString(name)] => {
                Some((*id, name.strip_prefix(PREFIX)?.split_once('(')?.0.to_owned()))
            }
            _ => None,
        });
        let results: BTreeMap<Word, Word> = module
            .functions
            .iter()
            .filter_map(|function| function.def.as_ref())
            .filter_map(|def| Some((def.result_id?, def.result_type?)))
            .collect();
        let pieces = names.filter_map(|(id, name)| Some((name, Piece { id, result: *results.get(&id)? }))).collect();
        let types = Types { uint: 0, uvec4: 0, bvec4: 0, bool: 0, all: 0, one: 0, no: 0 };
        let mut emitter = Emitter { module, next, pieces, types, floats, variables: Vec::new(), blocks: Vec::new() };
        emitter.types = emitter.make_types();
        if floats.subnormal == Subnormal::Module {
            emitter.say(Capability::DenormFlushToZero, ExecutionMode::DenormFlushToZero)?;
        }
        if floats.keeps_nan {
            emitter.say(Capability::SignedZeroInfNanPreserve, ExecutionMode::SignedZeroInfNanPreserve)?;
        }
        Some(emitter)
    }

    /// Says of all floats of 32 bits what VIR0 wants.
    fn say(&mut self, capability: Capability, mode: ExecutionMode) -> Option<()> {
        let entry = self.module.entry_points.first()?.operands.get(1)?.clone();
        let capability = vec![Operand::Capability(capability)];
        self.module.capabilities.push(Instruction::new(Op::Capability, None, None, capability));
        let mode = vec![entry, Operand::ExecutionMode(mode), Operand::LiteralBit32(32)];
        self.module.execution_modes.push(Instruction::new(Op::ExecutionMode, None, None, mode));
        Some(())
    }

    fn make_types(&mut self) -> Types {
        let uint = self.global(Op::TypeInt, None, vec![Operand::LiteralBit32(32), Operand::LiteralBit32(0)]);
        let bool = self.global(Op::TypeBool, None, Vec::new());
        let vector = |of| vec![Operand::IdRef(of), Operand::LiteralBit32(4)];
        let uvec4 = self.global(Op::TypeVector, None, vector(uint));
        let bvec4 = self.global(Op::TypeVector, None, vector(bool));
        let yes = self.global(Op::ConstantTrue, Some(bool), Vec::new());
        let no = self.global(Op::ConstantFalse, Some(bool), Vec::new());
        let all = self.global(Op::ConstantComposite, Some(bvec4), vec![Operand::IdRef(yes); 4]);
        let one = self.global(Op::ConstantComposite, Some(bvec4), [yes, no, no, no].map(Operand::IdRef).to_vec());
        Types { uint, uvec4, bvec4, bool, all, one, no }
    }

    /// A type or constant of the module, made if it is not there.
    fn global(&mut self, op: Op, result_type: Option<Word>, operands: Vec<Operand>) -> Word {
        let same = |line: &&Instruction| {
            line.class.opcode == op && line.result_type == result_type && line.operands == operands
        };
        if let Some(id) = self.module.types_global_values.iter().find(same).and_then(|line| line.result_id) {
            return id;
        }
        let id = self.id();
        self.module.types_global_values.push(Instruction::new(op, result_type, Some(id), operands));
        id
    }

    pub(super) fn id(&mut self) -> Word {
        self.next += 1;
        self.next - 1
    }

    /// A number.
    pub(super) fn word(&mut self, word: u32) -> Word {
        self.global(Op::Constant, Some(self.types.uint), vec![Operand::LiteralBit32(word)])
    }

    /// A number in all lanes.
    pub(super) fn words(&mut self, word: u32) -> Word {
        let word = self.word(word);
        self.global(Op::ConstantComposite, Some(self.types.uvec4), vec![Operand::IdRef(word); 4])
    }

    /// A variable of the function, 0 at first.
    pub(super) fn variable(&mut self, of: Word) -> Word {
        let class = Operand::StorageClass(StorageClass::Function);
        let pointer = self.global(Op::TypePointer, None, vec![class.clone(), Operand::IdRef(of)]);
        let null = self.global(Op::ConstantNull, Some(of), Vec::new());
        let id = self.id();
        self.variables.push(Instruction::new(Op::Variable, Some(pointer), Some(id), vec![class, Operand::IdRef(null)]));
        id
    }

    fn push(&mut self, line: Instruction) {
        if let Some(block) = self.blocks.last_mut() {
            block.instructions.push(line);
        }
    }

    /// An instruction with a result.
    pub(super) fn op(&mut self, op: Op, result_type: Word, operands: &[Word]) -> Word {
        let id = self.id();
        let operands = operands.iter().map(|id| Operand::IdRef(*id)).collect();
        self.push(Instruction::new(op, Some(result_type), Some(id), operands));
        id
    }

    /// An instruction without one.
    fn plain(&mut self, op: Op, operands: Vec<Operand>) {
        self.push(Instruction::new(op, None, None, operands));
    }

    pub(super) fn load(&mut self, of: Word, variable: Word) -> Word {
        self.op(Op::Load, of, &[variable])
    }

    pub(super) fn store(&mut self, variable: Word, value: Word) {
        self.plain(Op::Store, vec![Operand::IdRef(variable), Operand::IdRef(value)]);
    }

    /// A scalar in all lanes.
    pub(super) fn splat(&mut self, value: Word) -> Word {
        self.op(Op::CompositeConstruct, self.types.uvec4, &[value; 4])
    }

    /// What the first lane has.
    pub(super) fn first(&mut self, value: Word) -> Word {
        self.extract(self.types.uint, value, &[0])
    }

    /// Column `k` of what a wide access loaded.
    pub(super) fn column(&mut self, columns: Word, k: u32) -> Word {
        self.extract(self.types.uvec4, columns, &[0, k])
    }

    fn extract(&mut self, result: Word, value: Word, path: &[u32]) -> Word {
        let id = self.id();
        let literals = path.iter().map(|index| Operand::LiteralBit32(*index));
        let operands = std::iter::once(Operand::IdRef(value)).chain(literals).collect();
        self.push(Instruction::new(Op::CompositeExtract, Some(result), Some(id), operands));
        id
    }

    /// Whether a word has one of these bits.
    pub(super) fn has_bits(&mut self, value: Word, bits: u32) -> Word {
        let bits = self.word(bits);
        let zero = self.word(0);
        let found = self.op(Op::BitwiseAnd, self.types.uint, &[value, bits]);
        self.op(Op::INotEqual, self.types.bool, &[found, zero])
    }

    /// Whether a scalar is not 0.
    pub(super) fn is_set(&mut self, value: Word) -> Word {
        self.has_bits(value, u32::MAX)
    }

    pub(super) fn not(&mut self, condition: Word) -> Word {
        self.op(Op::LogicalNot, self.types.bool, &[condition])
    }

    /// Whether any lane of a mask is set, or the condition.
    pub(super) fn any(&mut self, mask: Word, or: Word) -> Word {
        let any = self.op(Op::Any, self.types.bool, &[mask]);
        self.op(Op::LogicalOr, self.types.bool, &[any, or])
    }

    /// Whether there is a piece of this name.
    pub(super) fn has(&self, piece: &str) -> bool {
        self.pieces.contains_key(piece)
    }

    /// Calls a piece.
    pub(super) fn call(&mut self, piece: &str, arguments: &[Word]) -> Result<Word, Untranslatable> {
        let Piece { id, result } = self.pieces.get(piece).ok_or_else(|| Untranslatable::Piece(piece.to_owned()))?;
        let (id, result) = (*id, *result);
        Ok(self.call_function(id, result, arguments))
    }

    fn call_function(&mut self, function: Word, result: Word, arguments: &[Word]) -> Word {
        let operands: Vec<Word> = std::iter::once(function).chain(arguments.iter().copied()).collect();
        self.op(Op::FunctionCall, result, &operands)
    }

    /// Begins a block.
    pub(super) fn label(&mut self, id: Word) {
        let label = Some(Instruction::new(Op::Label, None, Some(id), Vec::new()));
        self.blocks.push(Block { label, instructions: Vec::new() });
    }

    pub(super) fn branch(&mut self, to: Word) {
        self.plain(Op::Branch, vec![Operand::IdRef(to)]);
    }

    /// Ends the block: to one of two blocks, which come together at `merge`, or one of which leaves a loop.
    pub(super) fn fork(&mut self, condition: Word, yes: Word, no: Word, merge: Word) {
        let none = Operand::SelectionControl(SelectionControl::NONE);
        self.plain(Op::SelectionMerge, vec![Operand::IdRef(merge), none]);
        self.plain(Op::BranchConditional, [condition, yes, no].map(Operand::IdRef).to_vec());
    }

    /// The head of a loop: goes on with its body.
    pub(super) fn enter_loop(&mut self, merge: Word, again: Word) {
        let none = Operand::LoopControl(rspirv::spirv::LoopControl::NONE);
        self.plain(Op::LoopMerge, vec![Operand::IdRef(merge), Operand::IdRef(again), none]);
        let body = self.id();
        self.branch(body);
        self.label(body);
    }

    pub(super) fn give(&mut self, outcome: u32) {
        let outcome = self.word(outcome);
        self.plain(Op::ReturnValue, vec![Operand::IdRef(outcome)]);
    }

    /// Ends the function with an outcome if the condition holds.
    pub(super) fn give_if(&mut self, condition: Word, outcome: u32) {
        let (leaves, goes_on) = (self.id(), self.id());
        self.fork(condition, leaves, goes_on, goes_on);
        self.label(leaves);
        self.give(outcome);
        self.label(goes_on);
    }

    /// Begins a function like the hook; gives the group, its parameter.
    pub(super) fn begin(&mut self) -> Word {
        self.variables.clear();
        self.blocks.clear();
        let first = self.id();
        self.label(first);
        self.id()
    }

    fn hook(&mut self) -> Option<&mut Function> {
        let id = self.pieces.get(HOOK)?.id;
        self.module
            .functions
            .iter_mut()
            .find(|function| function.def.as_ref().is_some_and(|def| def.result_id == Some(id)))
    }

    /// Ends a function and gives it; `group`: from [`begin`](Self::begin).
    pub(super) fn end(&mut self, group: Word) -> Option<Word> {
        let id = self.id();
        let mut blocks = std::mem::take(&mut self.blocks);
        let variables = std::mem::take(&mut self.variables);
        blocks.first_mut()?.instructions.splice(0..0, variables);
        let hook = self.hook()?;
        let (mut def, mut parameter) = (hook.def.clone()?, hook.parameters.first()?.clone());
        (def.result_id, parameter.result_id) = (Some(id), Some(group));
        let end = hook.end.clone();
        self.module.functions.push(Function { def: Some(def), end, parameters: vec![parameter], blocks });
        Some(id)
    }

    /// Makes the hook call the function of the program's tag, and gives the module without what nothing calls.
    pub(super) fn finish(mut self, functions: &[(u32, Word)], unknown: u32) -> Option<Vec<u32>> {
        let hook_id = self.pieces.get(HOOK)?.id;
        let group = self.hook()?.parameters.first()?.result_id?;
        self.begin();
        let tag = self.call("tag", &[]).ok()?;
        let merge = self.id();
        let none = Operand::SelectionControl(SelectionControl::NONE);
        let mut cases = vec![Operand::IdRef(tag), Operand::IdRef(merge)];
        let targets: Vec<(Word, Word)> = functions.iter().map(|(_, function)| (*function, self.id())).collect();
        for ((tag, _), (_, label)) in functions.iter().zip(&targets) {
            cases.extend([Operand::LiteralBit32(*tag), Operand::IdRef(*label)]);
        }
        self.plain(Op::SelectionMerge, vec![Operand::IdRef(merge), none]);
        self.plain(Op::Switch, cases);
        for (function, label) in targets {
            self.label(label);
            let outcome = self.call_function(function, self.types.uint, &[group]);
            self.plain(Op::ReturnValue, vec![Operand::IdRef(outcome)]);
        }
        self.label(merge);
        self.give(unknown);
        let blocks = std::mem::take(&mut self.blocks);
        self.hook()?.blocks = blocks;
        self.drop_uncalled(hook_id);
        if let Some(header) = &mut self.module.header {
            header.bound = self.next;
        }
        Some(self.module.assemble())
    }

    /// Drops functions that nothing calls, and what names their parts.
    fn drop_uncalled(&mut self, hook: Word) {
        let calls = |function: &Function| -> Vec<Word> {
            let calls = function.all_inst_iter().filter(|line| line.class.opcode == Op::FunctionCall);
            calls.filter_map(|line| line.operands.first()?.id_ref_any()).collect()
        };
        let id = |function: &Function| function.def.as_ref().and_then(|def| def.result_id);
        let entry = self.module.entry_points.iter().filter_map(|line| line.operands.get(1)?.id_ref_any());
        let (mut open, mut called): (Vec<Word>, BTreeSet<Word>) = (entry.chain([hook]).collect(), BTreeSet::new());
        while let Some(next) = open.pop() {
            if called.insert(next) {
                let found = self.module.functions.iter().filter(|function| id(function) == Some(next));
                open.extend(found.flat_map(calls));
            }
        }
        self.module.functions.retain(|function| id(function).is_some_and(|id| called.contains(&id)));
        let there: BTreeSet<Word> = self.module.all_inst_iter().filter_map(|line| line.result_id).collect();
        let stays = |line: &Instruction| {
            line.operands.first().and_then(Operand::id_ref_any).is_none_or(|id| there.contains(&id))
        };
        self.module.debug_names.retain(stays);
        self.module.annotations.retain(stays);
    }
}
