//! Resources: memory behind handles.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use vyre_mem::{RangeError, Region};
use vyre_protocol::resource::{Handle, ResourceEntry};
use vyre_protocol::ring::Moment;
use vyre_protocol::slot::Operand;
use vyre_protocol::stamped::{self, Record};
use vyre_protocol::vir0::Program;
use vyre_protocol::words::SharedWords;
use vyre_reference::{Backing, Span};
use vyre_vk::{Buffer, MemoryUse};

use crate::engine::{Engine, Words};
use crate::error::ResourceError;

/// Memory that operations may work on, registered under a handle. Give it back with [`Runtime::release`](crate::Runtime::release): slots
/// can name the handle until then, so the runtime keeps the memory of one that is only dropped.
#[derive(Debug)]
pub struct Resource {
    pub(crate) handle: Handle,
    pub(crate) len: u32,
    pub(crate) access: u32,
    /// The one tenant that may use it, or [`SHARED`].
    pub(crate) owner: u32,
    pub(crate) memory: Memory,
}

#[derive(Clone)]
pub(crate) enum Memory {
    /// Words of the reference engine.
    Host(Span),
    /// A buffer of the device.
    Device(Buffer),
    /// Blocks that are lent to the reference engine one by one.
    Lent,
    /// A program of the reference engine.
    Program(Arc<Program>),
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Memory::Host(_) => "host words",
            Memory::Device(_) => "device buffer",
            Memory::Lent => "lent blocks",
            Memory::Program(_) => "program",
        })
    }
}

impl Resource {
    /// The handle.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether there is no byte; never true.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The resource from a byte offset on, as slots name it.
    #[must_use]
    pub fn at(&self, offset: u32) -> Operand {
        Operand { handle: self.handle.word(), offset }
    }

    /// The host's view, where the host can map the memory.
    #[must_use]
    pub fn region(&self) -> Option<&Region> {
        match &self.memory {
            Memory::Device(buffer) => buffer.region(),
            Memory::Host(_) | Memory::Lent | Memory::Program(_) => None,
        }
    }

    /// Writes bytes; a slot that is published afterwards sees them. `offset` and the length are multiples of four.
    ///
    /// # Errors
    /// [`RangeError`] if the range does not lie inside, is not aligned, or the host cannot reach the memory.
    pub fn write(&self, offset: usize, data: &[u8]) -> Result<(), RangeError> {
        let error = self.check(offset, data.len())?;
        match &self.memory {
            Memory::Host(words) => {
                for (i, word) in data.as_chunks::<4>().0.iter().enumerate() {
                    words.store(offset / 4 + i, u32::from_le_bytes(*word));
                }
                words.publish_fence();
                Ok(())
            }
            Memory::Device(buffer) => {
                let region = buffer.region().ok_or(error)?;
                region.write_bytes(offset, data)?;
                region.publish_fence();
                Ok(())
            }
            Memory::Lent | Memory::Program(_) => Err(error),
        }
    }

    /// Reads bytes that operations of reaped slots wrote. `offset` and the length are multiples of four.
    ///
    /// # Errors
    /// [`RangeError`] as for [`write`](Self::write).
    pub fn read(&self, offset: usize, out: &mut [u8]) -> Result<(), RangeError> {
        let error = self.check(offset, out.len())?;
        match &self.memory {
            Memory::Host(words) => {
                for (i, word) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                    *word = words.load(offset / 4 + i).to_le_bytes();
                }
                Ok(())
            }
            Memory::Device(buffer) => buffer.region().ok_or(error)?.read_bytes(offset, out),
            Memory::Lent | Memory::Program(_) => Err(error),
        }
    }

    /// Reads a [stamped](vyre_protocol::stamped) record that an operation wrote; `None` while it is not wholly there. `offset` is
    /// a multiple of eight.
    ///
    /// # Errors
    /// [`RangeError`] as for [`write`](Self::write).
    pub fn read_stamped(&self, offset: usize, stamp: u32) -> Result<Option<Record>, RangeError> {
        let words = self.words(offset, stamped::RECORD_BYTES as usize)?;
        Ok(stamped::load(&words, offset / 4, stamp))
    }

    /// Reads a single word that an operation stamped, as [`read_stamped`](Self::read_stamped) does a record.
    ///
    /// # Errors
    /// [`RangeError`] as for [`write`](Self::write).
    pub fn read_stamped_word(&self, offset: usize, stamp: u32) -> Result<Option<u32>, RangeError> {
        Ok(stamped::load_word(&self.words(offset, 8)?, offset / 4, stamp))
    }

    /// The memory as words, if `len` bytes at `offset` lie inside and the host can reach them.
    fn words(&self, offset: usize, len: usize) -> Result<Words, RangeError> {
        let error = self.check(offset, len)?;
        match &self.memory {
            Memory::Host(words) => Ok(Words::Host(words.clone())),
            Memory::Device(buffer) => buffer.region().cloned().map(Words::Device).ok_or(error),
            Memory::Lent | Memory::Program(_) => Err(error),
        }
    }

    /// Checks a range; gives the error that names it for the caller's own use.
    fn check(&self, offset: usize, len: usize) -> Result<RangeError, RangeError> {
        let region = self.len as usize;
        let error = RangeError { offset, len, region };
        let aligned = (offset | len).is_multiple_of(4);
        match offset.checked_add(len) {
            Some(end) if end <= region && aligned => Ok(error),
            _ => Err(error),
        }
    }
}

/// The host's side of the resource table: which entries are free.
pub(crate) struct Table {
    /// Next entry that was never used.
    fresh: u32,
    count: u32,
    /// Entries to use again, with their next generation.
    free: Vec<(u32, u32)>,
    /// Released while slots were outstanding that may still name them, and what had been published by then; oldest first.
    retired: VecDeque<(Moment, (u32, u32))>,
    /// Memory of the entries that are valid.
    held: HashMap<u32, Memory>,
}

impl Table {
    pub(crate) fn new(count: u32) -> Self {
        Table { fresh: 0, count, free: Vec::new(), retired: VecDeque::new(), held: HashMap::new() }
    }

    /// An entry for this memory.
    pub(crate) fn take(&mut self, memory: &Memory) -> Result<Handle, ResourceError> {
        if self.free.is_empty() && self.fresh == self.count {
            return Err(ResourceError::TableFull { count: self.count });
        }
        let (index, generation) = self.free.pop().unwrap_or((self.fresh, 1));
        self.fresh = self.fresh.max(index + 1);
        self.held.insert(index, memory.clone());
        Ok(Handle::new(index, generation))
    }

    pub(crate) fn retire(&mut self, handle: Handle, moment: Moment) {
        self.held.remove(&handle.index());
        self.retired.push_back((moment, (handle.index(), Handle::next_generation(handle.generation()))));
    }

    /// Entries may be rewritten when all slots are complete that were published before they were released: those that come later and
    /// name them find no entry, or another generation.
    pub(crate) fn sweep(&mut self, is_past: impl Fn(&Moment) -> bool) {
        while let Some((_, entry)) = self.retired.pop_front_if(|(moment, _)| is_past(moment)) {
            self.free.push(entry);
        }
    }
}

/// Memory of `bytes` bytes on the engine.
pub(crate) fn allocate(engine: &Engine, bytes: u64, usage: MemoryUse) -> Result<Memory, ResourceError> {
    if bytes == 0 || bytes > 0xffff_fffc {
        return Err(ResourceError::Size { bytes });
    }
    match engine {
        Engine::Reference(_) => Ok(Memory::Host(Span::new(bytes.div_ceil(4) as usize))),
        Engine::Vulkan { resident, .. } => Ok(Memory::Device(resident.allocate(bytes, usage)?)),
    }
}

/// Writes a resource's entry, with a generation of 0 if it is to be freed.
pub(crate) fn bind(engine: &Engine, table: &impl SharedWords, resource: &Resource, bound: bool) {
    let generation = if bound { resource.handle.generation() } else { 0 };
    let Resource { len: length, access, owner, .. } = *resource;
    let mut entry = ResourceEntry { length, generation, owner, access, ..Default::default() };
    match (engine, &resource.memory) {
        (Engine::Reference(reference), memory) => {
            let backing = match memory {
                Memory::Host(words) => Backing::Words(words.clone()),
                Memory::Program(program) => Backing::Program(Arc::clone(program)),
                Memory::Lent | Memory::Device(_) => Backing::Lent(Arc::new([0_u8; 0])),
            };
            reference.bind(resource.handle.index(), &entry, backing);
        }
        (Engine::Vulkan { .. }, Memory::Device(buffer)) => {
            entry.address = buffer.address_words();
            entry.store(table, resource.handle.index());
        }
        (Engine::Vulkan { .. }, Memory::Host(_) | Memory::Lent | Memory::Program(_)) => {}
    }
}
