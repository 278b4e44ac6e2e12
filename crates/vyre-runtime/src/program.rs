//! Loading VIR0 programs into the running kernel.

use std::sync::Arc;

use vyre_protocol::control::operation_bit;
use vyre_protocol::operation::Operation;
use vyre_protocol::resource::{EXECUTE, Handle, SHARED};
use vyre_protocol::slot::{Operand, Slot};
use vyre_protocol::vir0::{MAX_BYTES, Program, TAG};
use vyre_protocol::words::SharedWords;
use vyre_vk::MemoryUse;

use crate::engine::{Engine, EngineKind};
use crate::error::ResourceError;
use crate::resource::{self, Memory, Resource};
use crate::runtime::Runtime;

/// A program that slots can run. Give it back with [`Runtime::unload_program`].
#[derive(Debug)]
pub struct LoadedProgram {
    resource: Resource,
    program: Program,
}

/// What a program works on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bindings<'a> {
    /// Resource 0.
    pub input: Operand,
    /// Resource 1.
    pub output: Operand,
    /// Resources 2 and 3, as far as the program declares them.
    pub further: &'a [Handle],
    /// Parameters.
    pub parameters: &'a [u32],
}

/// Bindings that are not what the program declares.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the program declares {expected} {what}, given are {given}")]
pub struct BindError {
    /// What.
    pub what: &'static str,
    /// Declared.
    pub expected: usize,
    /// Given.
    pub given: usize,
}

impl LoadedProgram {
    /// The handle.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.resource.handle()
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// A slot that runs it over `items` items, `span` in each tile. What an item is the program says; with more than 65,535 tiles the
    /// slot is refused when it is published.
    ///
    /// # Errors
    /// [`BindError`] if the bindings are not what the program declares.
    pub fn slot(&self, bindings: &Bindings<'_>, items: u32, span: u32) -> Result<Slot, BindError> {
        let Bindings { input, output, further, parameters } = *bindings;
        let parts = self.program.parts();
        let counts = [
            ("resources beyond input and output", parts.resources.len().saturating_sub(2), further.len()),
            ("parameters", parts.parameters as usize, parameters.len()),
        ];
        if let Some((what, expected, given)) = counts.into_iter().find(|(_, expected, given)| expected != given) {
            return Err(BindError { what, expected, given });
        }
        // A program that was checked declares no more than a slot holds.
        let slot = Slot::exec(self.handle(), further, parameters).unwrap_or(Slot::new(Operation::Exec));
        Ok(Slot { input, output, ..slot }.tiled(items, span, 1))
    }
}

impl Runtime {
    /// Loads a program for all tenants: slots may run it from now on, while the kernel goes on.
    ///
    /// # Errors
    /// [`ResourceError`] says why that is not possible.
    pub fn load_program(&mut self, program: &Program) -> Result<LoadedProgram, ResourceError> {
        self.load_program_for(SHARED, program)
    }

    /// The same for one tenant alone.
    ///
    /// # Errors
    /// [`ResourceError`] says why that is not possible.
    pub fn load_program_for(&mut self, tenant: u32, program: &Program) -> Result<LoadedProgram, ResourceError> {
        let device = self.engine().kind != EngineKind::Reference;
        if device && self.options.operations & operation_bit(Operation::Exec.code()) == 0 {
            return Err(ResourceError::NoPrograms);
        }
        let tag = self.tag_program(program);
        let mut bytes = program.encode();
        bytes.as_chunks_mut::<4>().0[TAG as usize] = tag.to_le_bytes();
        let spare = self.spare_programs.pop_front_if(|(moment, _)| self.ring.is_past(moment));
        // A spare one has been resident for long, so nobody waits for that.
        let (memory, resident) = match (&self.engine, spare) {
            (Engine::Reference(_), _) => (Memory::Program(Arc::new(program.clone())), true),
            (Engine::Vulkan { .. }, Some((_, memory))) => (memory, true),
            (Engine::Vulkan { .. }, None) => {
                (resource::allocate(&self.engine, MAX_BYTES.into(), MemoryUse::HostToDevice)?, false)
            }
        };
        // Before there is a handle: a slot that guesses it finds the program in whole.
        if let Memory::Device(buffer) = &memory
            && let Some(region) = buffer.region()
        {
            region.write_bytes(0, &bytes)?;
            region.publish_fence();
        }
        let enter = if resident { Runtime::enter } else { Runtime::register };
        let resource = enter(self, memory, bytes.len() as u32, EXECUTE, tenant)?;
        self.note_loaded(tag, resource.handle());
        Ok(LoadedProgram { resource, program: program.clone() })
    }

    /// Gives a program back: slots that name it fault from now on. A device's memory for it is kept for the next program.
    pub fn unload_program(&mut self, program: LoadedProgram) {
        self.note_unloaded(program.handle());
        if let memory @ Memory::Device(_) = &program.resource.memory {
            self.spare_programs.push_back((self.ring.moment(), memory.clone()));
        }
        self.release(program.resource);
    }
}
