//! The functions that translated programs are made of: the optimizer must neither inline nor drop them, which GLSL cannot say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Result, anyhow, bail};
use rspirv::binary::Assemble;
use rspirv::dr::{Function, Instruction, Module, Operand, load_bytes};
use rspirv::spirv::{Capability, Decoration, FunctionControl, LinkageType, Op, Word};

/// What the names of these functions begin with.
const PREFIX: &str = "hot_";

/// Marks the functions, and exports them, so that they stay though nothing calls them.
pub(crate) fn keep(path: &Path) -> Result<()> {
    edit(path, |module, pieces| {
        set_control(module, pieces, FunctionControl::DONT_INLINE);
        let export = |id: &Word| {
            let operands = vec![
                Operand::IdRef(*id),
                Operand::Decoration(Decoration::LinkageAttributes),
                Operand::LiteralString(format!("piece{id}")),
                Operand::LinkageType(LinkageType::Export),
            ];
            Instruction::new(Op::Decorate, None, None, operands)
        };
        module.annotations.extend(pieces.iter().map(export));
        let linkage = vec![Operand::Capability(Capability::Linkage)];
        module.capabilities.push(Instruction::new(Op::Capability, None, None, linkage));
    })
}

/// Takes the exports back, which Vulkan does not know.
pub(crate) fn release(path: &Path) -> Result<()> {
    edit(path, |module, pieces| {
        set_control(module, pieces, FunctionControl::NONE);
        module
            .annotations
            .retain(|line| line.operands.get(1) != Some(&Operand::Decoration(Decoration::LinkageAttributes)));
        module.capabilities.retain(|line| line.operands.first() != Some(&Operand::Capability(Capability::Linkage)));
    })
}

/// Whether a function is one of them, by the line that begins it.
fn is_piece(function: &Function, pieces: &[Word]) -> bool {
    function.def.as_ref().and_then(|def| def.result_id).is_some_and(|id| pieces.contains(&id))
}

fn set_control(module: &mut Module, pieces: &[Word], control: FunctionControl) {
    for function in module.functions.iter_mut().filter(|function| is_piece(function, pieces)) {
        if let Some(def) = &mut function.def {
            def.operands[0] = Operand::FunctionControl(control);
        }
    }
}

/// These functions. A user's may not have the name of one: the translator knows them by it, and GLSL allows two that differ in parameters.
fn pieces(module: &Module) -> Result<BTreeMap<&str, Word>> {
    let mut pieces = BTreeMap::new();
    for line in &module.debug_names {
        if let [Operand::IdRef(id), Operand::LiteralString(signature)] = line.operands.as_slice()
            && signature.starts_with(PREFIX)
            && let Some((name, _)) = signature.split_once('(')
            && pieces.insert(name, *id).is_some()
        {
            bail!("two functions are called `{name}`; names that begin with {PREFIX} are the kernel's, choose another");
        }
    }
    Ok(pieces)
}

fn load(path: &Path) -> Result<Module> {
    load_bytes(fs::read(path)?).map_err(|error| anyhow!("{}: {error}", path.display()))
}

/// The names of a module's pieces.
///
/// # Errors
/// If the file is no module, or two of its pieces have the same name.
pub(crate) fn names(path: &Path) -> Result<BTreeSet<String>> {
    let module = load(path)?;
    Ok(pieces(&module)?.into_keys().map(str::to_owned).collect())
}

/// Changes a module if it has such functions.
fn edit(path: &Path, change: impl FnOnce(&mut Module, &[Word])) -> Result<()> {
    let mut module = load(path)?;
    let pieces: Vec<_> = pieces(&module)?.into_values().collect();
    if pieces.is_empty() {
        return Ok(());
    }
    change(&mut module, &pieces);
    let bytes: Vec<u8> = module.assemble().into_iter().flat_map(u32::to_le_bytes).collect();
    Ok(fs::write(path, bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_functions_have_the_name_of_a_piece() {
        let mut module = Module::new();
        let mut name = |id, name: &str| {
            let operands = vec![Operand::IdRef(id), Operand::LiteralString(name.to_owned())];
            module.debug_names.push(Instruction::new(Op::Name, None, None, operands));
            pieces(&module).map(|pieces| pieces.into_values().collect()).map_err(|error| error.to_string())
        };
        assert_eq!(name(1, "hot_get(u1;"), Ok(vec![1]));
        assert_eq!(name(2, "hot_count"), Ok(vec![1]), "a variable");
        assert_eq!(name(3, "hot_give("), Ok(vec![1, 3]));
        assert!(name(4, "hot_get(vu4;").unwrap_err().contains("two functions are called `hot_get`"));
    }
}
