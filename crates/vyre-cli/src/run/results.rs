//! Resource 1: zeros when the program begins, and read by the host when it is done.

use vyre_runtime::mem::RangeError;
use vyre_runtime::protocol::operation::{MAX_TILE_BYTES, Operation};
use vyre_runtime::protocol::resource::ATOMIC;
use vyre_runtime::protocol::slot::{Operand, Slot};
use vyre_runtime::vk::MemoryUse;
use vyre_runtime::{Resource, ResourceError, Runtime};

pub(super) struct Results {
    output: Resource,
    /// Where the host reads what a program changes atomically, which lies where the host cannot reach it.
    host: Option<Resource>,
}

impl Results {
    /// For a program that declares resource 1 with `access`.
    pub(super) fn new(runtime: &mut Runtime, bytes: u32, access: u32) -> Result<Results, ResourceError> {
        let host = runtime.allocate(bytes.max(4).into(), MemoryUse::DeviceToHost)?;
        if access & ATOMIC == 0 {
            return Ok(Results { output: host, host: None });
        }
        let output = runtime.allocate(bytes.max(4).into(), MemoryUse::Local)?;
        Ok(Results { output, host: Some(host) })
    }

    pub(super) fn at(&self) -> Operand {
        self.output.at(0)
    }

    /// Makes them 0.
    pub(super) fn clear(&self) -> Slot {
        let slot = Slot { output: self.at(), ..Slot::new(Operation::Fill) };
        slot.tiled(self.output.len(), MAX_TILE_BYTES, 1)
    }

    /// Brings them to the host, if they are not there.
    pub(super) fn collect(&self) -> Option<Slot> {
        self.host.as_ref().map(|host| copy(&self.output, host))
    }

    /// The first `bytes` of them, to the end of `out`.
    pub(super) fn read(&self, bytes: usize, out: &mut Vec<u8>) -> Result<(), RangeError> {
        let start = out.len();
        out.resize(start + bytes.next_multiple_of(4), 0);
        self.host.as_ref().unwrap_or(&self.output).read(0, &mut out[start..])?;
        out.truncate(start + bytes);
        Ok(())
    }
}

/// A slot that copies one resource to another of the same length.
pub(crate) fn copy(from: &Resource, to: &Resource) -> Slot {
    let slot = Slot { input: from.at(0), output: to.at(0), ..Slot::new(Operation::Copy) };
    slot.tiled(from.len(), MAX_TILE_BYTES, 1)
}
