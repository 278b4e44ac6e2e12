//! Kernels with operations of the user's own: modules from a folder that `cargo xtask build-shaders --ops` has written.
//!
//! What is checked here keeps out what is damaged, of another build, or no module at all. A module that passes runs with the rights of
//! this process, as a library would that it loads.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vyre_protocol::control::operation_bit;
use vyre_protocol::custom::{
    MANIFEST_FILE, MAX_MODULE_BYTES, Manifest, ModuleFault, NameError, RESIDENT_MODULES, check_module, check_names,
    checksum,
};
use vyre_protocol::operation::USER_OPERATIONS;

use crate::kernel::SPIRV;

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
    /// The manifest's names cannot be those of operations.
    #[error("{}: {source}", path.display())]
    Names {
        /// The file.
        path: PathBuf,
        /// Which, and why.
        source: NameError,
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

impl CustomKernel {
    /// Reads a folder and checks all that can be known of it without a device.
    ///
    /// # Errors
    /// [`CustomError`] says what is wrong with which file.
    pub fn load(folder: &Path) -> Result<CustomKernel, CustomError> {
        let path = folder.join(MANIFEST_FILE);
        let manifest: Manifest = serde_json::from_slice(&read(&path)?)
            .map_err(|source| CustomError::Manifest { path: path.clone(), source })?;
        let expected = checksum(SPIRV[0]);
        if manifest.kernel != expected {
            return Err(CustomError::OtherKernel { path: folder.to_owned(), found: manifest.kernel, expected });
        }
        check_names(&manifest.operations).map_err(|source| CustomError::Names { path, source })?;
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
    pub(crate) fn module(&self, number: usize) -> &[u32] {
        &self.modules[number]
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CustomError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_MODULE_BYTES + 1).read_to_end(&mut bytes));
    read.map_err(|source| CustomError::Read { path: path.to_owned(), source })?;
    Ok(bytes)
}
