//! Kernels with operations of the user's own: modules from a folder that `cargo xtask build-shaders --ops` has written.
//!
//! What is checked here keeps out what is damaged, of another build, or no module at all. A module that passes runs with the rights of
//! this process, as a library would that it loads.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vyre_protocol::control::operation_bit;
use vyre_protocol::launch::TURN_FUEL;
use vyre_protocol::operation::{CUSTOM_OPERATIONS, USER_OPERATIONS};

use crate::kernel::{SPIRV, module_words};

/// The modules of a kernel, one of which each device takes.
pub const RESIDENT_MODULES: [&str; 3] = ["resident.spv", "resident_int64.spv", "resident_int64_clock.spv"];

/// File of the manifest, beside the modules.
pub const CUSTOM_MANIFEST: &str = "operations.json";

/// Largest module that is read. The kernel itself takes a quarter of a MiB.
const MAX_MODULE_BYTES: u64 = 16 << 20;

/// Longest name of an operation.
const MAX_NAME: usize = 32;

const MAGIC: u32 = 0x0723_0203;
/// SPIR-V 1.5, which is what Vulkan 1.2 takes.
const NEWEST_VERSION: u32 = 0x0001_0500;
const HEADER_WORDS: usize = 5;
const OP_LOOP_MERGE: u32 = 246;

/// What a folder holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomManifest {
    /// The kernel that the operations were added to: its CRC-32.
    pub kernel: u32,
    /// Names of the operations, in the order of their codes.
    pub operations: Vec<String>,
    /// CRC-32 of each of the [`RESIDENT_MODULES`].
    pub modules: BTreeMap<String, u32>,
}

/// A folder with a kernel cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CustomError {
    /// A file cannot be read.
    #[error("{}: {source}; build the folder with `cargo xtask build-shaders --ops`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The manifest is none.
    #[error("{}: {source}; build the folder again with `cargo xtask build-shaders --ops`", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
    /// The modules belong to another version of vyre.
    #[error(
        "{}: built for the kernel {found:#010x}, this vyre has {expected:#010x}; build the folder again with `cargo xtask build-shaders --ops`",
        path.display()
    )]
    OtherKernel {
        /// The folder.
        path: PathBuf,
        /// Fingerprint in the manifest.
        found: u32,
        /// Fingerprint of this vyre's kernel.
        expected: u32,
    },
    /// No operation, or too many.
    #[error("{count} custom operations are not possible; allowed are 1 to {CUSTOM_OPERATIONS}")]
    Count {
        /// How many there are.
        count: usize,
    },
    /// A name cannot be that of an operation.
    #[error(
        "'{name}' cannot be the name of a custom operation; use up to {MAX_NAME} of a-z, 0-9 and single _, a letter first, and each name once"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// A module is damaged.
    #[error("{}: {fault}; build the folder again with `cargo xtask build-shaders --ops`", path.display())]
    Module {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: ModuleFault,
    },
    /// There is no operation of this name.
    #[error("there is no custom operation '{name}'; there are: {}", known.join(", "))]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
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

/// Modules that were checked, and the names of the operations in them. Cheap to clone.
#[derive(Clone)]
pub struct CustomKernel {
    names: Arc<[String]>,
    modules: Arc<[Vec<u32>; RESIDENT_MODULES.len()]>,
}

impl fmt::Debug for CustomKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CustomKernel").field("names", &self.names).finish_non_exhaustive()
    }
}

impl CustomManifest {
    /// The manifest of modules in a folder, built from the sources of this build of vyre.
    ///
    /// # Errors
    /// [`CustomError::Read`] if a module is not there.
    pub fn of_folder(folder: &Path, operations: Vec<String>) -> Result<CustomManifest, CustomError> {
        let checksum = |name: &str| Ok((name.to_owned(), crc32fast::hash(&read(&folder.join(name))?)));
        let modules = RESIDENT_MODULES.into_iter().map(checksum).collect::<Result<_, CustomError>>()?;
        Ok(CustomManifest { kernel: kernel_fingerprint(), operations, modules })
    }
}

impl CustomKernel {
    /// Reads a folder and checks all that can be known of it without a device.
    ///
    /// # Errors
    /// [`CustomError`] says what is wrong with which file.
    pub fn load(folder: &Path) -> Result<CustomKernel, CustomError> {
        let path = folder.join(CUSTOM_MANIFEST);
        let manifest: CustomManifest =
            serde_json::from_slice(&read(&path)?).map_err(|source| CustomError::Manifest { path, source })?;
        let expected = kernel_fingerprint();
        if manifest.kernel != expected {
            return Err(CustomError::OtherKernel { path: folder.to_owned(), found: manifest.kernel, expected });
        }
        check_names(&manifest.operations)?;
        let mut modules = [const { Vec::new() }; RESIDENT_MODULES.len()];
        for (words, name) in modules.iter_mut().zip(RESIDENT_MODULES) {
            let path = folder.join(name);
            let bytes = read(&path)?;
            let checksum = manifest.modules.get(name).copied().unwrap_or(0);
            *words = check_module(&bytes, checksum).map_err(|fault| CustomError::Module { path, fault })?;
        }
        Ok(CustomKernel { names: manifest.operations.into(), modules: Arc::new(modules) })
    }

    /// Names of the operations, in the order of their codes.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The code of an operation, for slots and for [`operation_bit`].
    ///
    /// # Errors
    /// [`CustomError::Unknown`] names those there are.
    pub fn operation(&self, name: &str) -> Result<u32, CustomError> {
        let number = self.names.iter().position(|known| known == name);
        let unknown = || CustomError::Unknown { name: name.to_owned(), known: self.names.to_vec() };
        number.map(|number| USER_OPERATIONS + number as u32).ok_or_else(unknown)
    }

    /// The bits of all its operations in a mask of operations.
    pub(crate) fn mask(&self) -> u32 {
        (USER_OPERATIONS..).take(self.names.len()).fold(0, |mask, code| mask | operation_bit(code))
    }

    /// The module with this place among the [`RESIDENT_MODULES`].
    pub(crate) fn module(&self, variant: usize) -> &[u32] {
        &self.modules[variant]
    }
}

/// What tells the kernel of this build of vyre from others.
fn kernel_fingerprint() -> u32 {
    crc32fast::hash(SPIRV[0])
}

/// Whether these can be the names of a kernel's operations. Each becomes a part of names in GLSL, where two `_` in a row are reserved.
///
/// # Errors
/// [`CustomError`] gives the first that cannot, or how many there are.
pub fn check_names(names: &[String]) -> Result<(), CustomError> {
    if names.is_empty() || names.len() > CUSTOM_OPERATIONS as usize {
        return Err(CustomError::Count { count: names.len() });
    }
    for (i, name) in names.iter().enumerate() {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let good = name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(fits);
        if !good || name.contains("__") || name.len() > MAX_NAME || names[..i].contains(name) {
            return Err(CustomError::Name { name: name.clone() });
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, CustomError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_MODULE_BYTES + 1).read_to_end(&mut bytes));
    read.map_err(|source| CustomError::Read { path: path.to_owned(), source })?;
    Ok(bytes)
}

/// The words of a module whose form is that of SPIR-V.
fn check_module(bytes: &[u8], expected: u32) -> Result<Vec<u32>, ModuleFault> {
    let whole = bytes.len().is_multiple_of(4) && bytes.len() >= HEADER_WORDS * 4;
    if !whole || bytes.len() as u64 > MAX_MODULE_BYTES {
        return Err(ModuleFault::Size { bytes: bytes.len() });
    }
    let found = crc32fast::hash(bytes);
    if found != expected {
        return Err(ModuleFault::Checksum { found, expected });
    }
    let words = module_words(bytes);
    if words[0] != MAGIC {
        return Err(ModuleFault::Magic { word: words[0] });
    }
    if !(0x0001_0000..=NEWEST_VERSION).contains(&words[1]) {
        return Err(ModuleFault::Version { word: words[1] });
    }
    let (mut at, mut loops) = (HEADER_WORDS, 0);
    while at < words.len() {
        let (length, opcode) = (words[at] as usize >> 16, words[at] & 0xffff);
        if length == 0 || length > words.len() - at {
            return Err(ModuleFault::Instruction { at, words: words.len() });
        }
        loops += u32::from(opcode == OP_LOOP_MERGE);
        at += length;
    }
    if loops > TURN_FUEL { Err(ModuleFault::Loops { loops }) } else { Ok(words) }
}
