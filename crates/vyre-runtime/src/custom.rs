//! Operations of the user's own, on every engine.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use vyre_reference::{CustomFunction, CustomTile, Refusal};
use vyre_vk::{CustomError, CustomKernel};

/// A kernel with operations of the user's own, which devices run, and Rust functions of the same names for the reference engine:
/// [`Options::custom`](crate::Options::custom). `docs/custom-operations.md` shows how to write and build one.
#[derive(Clone)]
pub struct CustomOperations {
    pub(crate) kernel: CustomKernel,
    pub(crate) models: Vec<(u32, CustomFunction)>,
}

impl fmt::Debug for CustomOperations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let models: Vec<_> = self.models.iter().map(|(code, _)| code).collect();
        f.debug_struct("CustomOperations").field("kernel", &self.kernel).field("models", &models).finish()
    }
}

impl CustomOperations {
    /// Loads what `cargo xtask build-shaders --ops` has written. The modules run with the rights of this process.
    ///
    /// # Errors
    /// [`CustomError`] says what is wrong with which file.
    pub fn load(folder: impl AsRef<Path>) -> Result<CustomOperations, CustomError> {
        Ok(CustomOperations { kernel: CustomKernel::load(folder.as_ref())?, models: Vec::new() })
    }

    /// Sets what the reference engine does for an operation. Slots of operations without a function fault there with UNKNOWN_OPERATION.
    ///
    /// # Errors
    /// [`CustomError::Unknown`] if the kernel has no such operation.
    pub fn with_model(
        mut self,
        name: &str,
        model: impl Fn(&CustomTile<'_>) -> Result<(), Refusal> + Send + Sync + 'static,
    ) -> Result<CustomOperations, CustomError> {
        let code = self.operation(name)?;
        self.models.retain(|(known, _)| *known != code);
        self.models.push((code, Arc::new(model)));
        Ok(self)
    }

    /// The code of an operation, for [`Slot::with_code`](vyre_protocol::slot::Slot::with_code) and
    /// [`operation_bit`](vyre_protocol::control::operation_bit). It may be another after a build with other operations.
    ///
    /// # Errors
    /// [`CustomError::Unknown`] names those there are.
    pub fn operation(&self, name: &str) -> Result<u32, CustomError> {
        self.kernel.operation(name)
    }

    /// Names of the operations, in the order of their codes.
    #[must_use]
    pub fn names(&self) -> &[String] {
        self.kernel.names()
    }
}
