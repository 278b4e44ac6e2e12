//! Kernels with operations of a user's own: what the folder of one holds, and the form of what is in it.
//!
//! Who builds a folder and who loads it check by the same functions. They keep out what is damaged, of another build, or no module at
//! all; what a module does when it runs they cannot tell.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::launch::TURN_FUEL;
use crate::operation::CUSTOM_OPERATIONS;

/// The modules of a kernel, one of which each device takes: those with EXEC, which have what hot programs are made of, and those without.
pub const RESIDENT_MODULES: [&str; 6] = [
    "exec.spv",
    "exec_int64.spv",
    "exec_int64_clock.spv",
    "resident.spv",
    "resident_int64.spv",
    "resident_int64_clock.spv",
];

/// File of the manifest, beside the modules.
pub const MANIFEST_FILE: &str = "operations.json";

/// Largest module that is read. The kernel itself takes half a MiB.
pub const MAX_MODULE_BYTES: u64 = 16 << 20;

/// Longest name of an operation.
const MAX_NAME: usize = 32;

const MAGIC: u32 = 0x0723_0203;
/// SPIR-V 1.5, which is what Vulkan 1.2 takes.
const NEWEST_VERSION: u32 = 0x0001_0500;
const HEADER_WORDS: usize = 5;
const OP_ENTRY_POINT: u32 = 15;
const OP_FUNCTION: u32 = 54;
const OP_FUNCTION_CALL: u32 = 57;
const OP_LOOP_MERGE: u32 = 246;

/// What a folder holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The kernel that the operations were added to: [`checksum`] of the committed first module, which has all that the others have.
    pub kernel: u32,
    /// Names of the operations, in the order of their codes.
    pub operations: Vec<String>,
    /// [`checksum`] of each of the [`RESIDENT_MODULES`].
    pub modules: BTreeMap<String, u32>,
}

/// Names that cannot be those of a kernel's operations.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No operation, or too many.
    #[error("{count} custom operations are not possible; allowed are 1 to {CUSTOM_OPERATIONS}")]
    Count {
        /// How many there are.
        count: usize,
    },
    /// A name is none.
    #[error(
        "'{name}' cannot be the name of a custom operation; use up to {MAX_NAME} of a-z, 0-9 and single _, a letter first, and each name once"
    )]
    Name {
        /// The name.
        name: String,
    },
}

/// What is wrong with a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ModuleFault {
    /// Not a size that a module can have.
    #[error("a module of {bytes} bytes is not possible; allowed are multiples of 4 from 20 to {MAX_MODULE_BYTES}")]
    Size {
        /// Bytes that were read.
        bytes: usize,
    },
    /// It is not the file that the manifest was written for.
    #[error("its CRC-32 is {found:#010x}, the manifest says {expected:#010x}")]
    Checksum {
        /// Of the file.
        found: u32,
        /// In the manifest; 0 if it does not name the file.
        expected: u32,
    },
    /// It does not begin as SPIR-V does.
    #[error("it begins with {word:#010x}, SPIR-V with {MAGIC:#010x}")]
    Magic {
        /// The first word.
        word: u32,
    },
    /// It is of a version that the kernel's devices need not know.
    #[error("it is SPIR-V of version word {word:#010x}; allowed are 0x00010000 to {NEWEST_VERSION:#010x}")]
    Version {
        /// The second word.
        word: u32,
    },
    /// An instruction is empty or reaches beyond the end.
    #[error("the instruction at word {at} of {words} has a wrong length")]
    Instruction {
        /// Where it begins.
        at: usize,
        /// Words of the module.
        words: usize,
    },
    /// A turn of a worker is not accounted for so many loops.
    #[error("it has {loops} loops, at most {TURN_FUEL} are accounted for; use fewer in the operations")]
    Loops {
        /// Loops there are.
        loops: u32,
    },
}

/// CRC-32: it finds damage and other builds, and keeps out nobody.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// Whether these can be the names of a kernel's operations. Each becomes a part of names in GLSL, where two `_` in a row are reserved.
///
/// # Errors
/// [`NameError`] gives the first that cannot, or how many there are.
pub fn check_names(names: &[String]) -> Result<(), NameError> {
    if names.is_empty() || names.len() > CUSTOM_OPERATIONS as usize {
        return Err(NameError::Count { count: names.len() });
    }
    for (i, name) in names.iter().enumerate() {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let good = name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(fits);
        if !good || name.contains("__") || name.len() > MAX_NAME || names[..i].contains(name) {
            return Err(NameError::Name { name: name.clone() });
        }
    }
    Ok(())
}

/// The words of a module that has this checksum and the form of SPIR-V.
///
/// # Errors
/// [`ModuleFault`] says what is wrong.
pub fn check_module(bytes: &[u8], expected: u32) -> Result<Vec<u32>, ModuleFault> {
    let whole = bytes.len().is_multiple_of(4) && bytes.len() >= HEADER_WORDS * 4;
    if !whole || bytes.len() as u64 > MAX_MODULE_BYTES {
        return Err(ModuleFault::Size { bytes: bytes.len() });
    }
    let found = checksum(bytes);
    if found != expected {
        return Err(ModuleFault::Checksum { found, expected });
    }
    let words: Vec<u32> = bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
    if words[0] != MAGIC {
        return Err(ModuleFault::Magic { word: words[0] });
    }
    if !(0x0001_0000..=NEWEST_VERSION).contains(&words[1]) {
        return Err(ModuleFault::Version { word: words[1] });
    }
    let loops = count_loops(&words)?;
    if loops > TURN_FUEL { Err(ModuleFault::Loops { loops }) } else { Ok(words) }
}

/// Loops of a module, but for those of functions that no other calls: of these hot programs are made, whose loops are counted when they are
/// translated.
fn count_loops(words: &[u32]) -> Result<u32, ModuleFault> {
    let (mut loops, mut called) = (BTreeMap::new(), BTreeSet::new());
    let (mut at, mut function) = (HEADER_WORDS, None);
    while at < words.len() {
        let (length, opcode) = (words[at] as usize >> 16, words[at] & 0xffff);
        if length == 0 || length > words.len() - at {
            return Err(ModuleFault::Instruction { at, words: words.len() });
        }
        let operand = |i: usize| words[at..at + length].get(i).copied();
        match opcode {
            OP_ENTRY_POINT => _ = called.insert(operand(2)),
            OP_FUNCTION => function = operand(2),
            OP_FUNCTION_CALL => _ = called.insert(operand(3)),
            OP_LOOP_MERGE => *loops.entry(function).or_insert(0) += 1,
            _ => {}
        }
        at += length;
    }
    Ok(loops.iter().filter(|(function, _)| called.contains(*function)).map(|(_, loops)| loops).sum())
}
