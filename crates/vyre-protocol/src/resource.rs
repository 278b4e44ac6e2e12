//! The resource table: what a handle stands for.
//!
//! | word | content of an entry |
//! |---|---|
//! | 0, 1 | buffer device address, low and high word |
//! | 2 | length in bytes |
//! | 3 | generation; 0 = free; written last |
//! | 4 | owner: the tenant that may use it, or [`SHARED`] |
//! | 5 | access bits |
//! | 6, 7 | zero |
//!
//! A *handle* is `index | generation << 20`; 0 is never one, since generations start at 1. Entries come and go while the kernel
//! runs; an entry may change only while no outstanding slot names it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::decode::DecodeError;
use crate::geometry::limits;
use crate::header::{HEADER_BYTES, HEADER_WORDS, RegionHeader, RegionKind};
use crate::words::SharedWords;

/// Bytes of an entry.
pub const ENTRY_BYTES: u32 = 32;
/// Words of an entry.
pub const ENTRY_WORDS: u32 = ENTRY_BYTES / crate::WORD_BYTES;
/// Bits of a handle that are the index.
pub const INDEX_BITS: u32 = 20;
/// Largest generation; after it comes 1 again. The one beyond it is that of [`OBSERVABLES`].
pub const MAX_GENERATION: u32 = (1 << (32 - INDEX_BITS)) - 2;
/// The handle of the observables: words of the status region that operations of every tenant may read and write and the host may
/// look at at any time. No entry of the table can have it.
pub const OBSERVABLES: Handle = Handle(u32::MAX);
/// Owner of resources that every tenant may use.
pub const SHARED: u32 = u32::MAX;
/// Access bit: operations may read.
pub const READ: u32 = 1;
/// Access bit: operations may write.
pub const WRITE: u32 = 2;
/// Operations may read, change and write a word in one step. Only for memory that no host touches: across a bus there is no such
/// step.
pub const ATOMIC: u32 = 4;
/// Access bit: EXEC may run the [program](crate::vir0) that lies there. Only the host's loader, which has checked the program, grants
/// it, and with no other bit, so that no operation can change what was checked.
pub const EXECUTE: u32 = 8;

const _: () = assert!(limits::RESOURCES <= 1 << INDEX_BITS);

/// Names a resource: an index into the table and the generation that it must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle(u32);

impl Handle {
    /// Puts a handle together; the generation is reduced to its bits.
    #[must_use]
    pub const fn new(index: u32, generation: u32) -> Self {
        Handle(index & ((1 << INDEX_BITS) - 1) | generation << INDEX_BITS)
    }

    /// The handle as slots carry it.
    #[must_use]
    pub const fn word(self) -> u32 {
        self.0
    }

    /// Index into the table.
    #[must_use]
    pub const fn index(self) -> u32 {
        self.0 & ((1 << INDEX_BITS) - 1)
    }

    /// Generation.
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.0 >> INDEX_BITS
    }

    /// The generation that follows; never 0.
    #[must_use]
    pub const fn next_generation(generation: u32) -> u32 {
        if generation >= MAX_GENERATION { 1 } else { generation + 1 }
    }
}

/// An entry of the table, as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ResourceEntry {
    /// Buffer device address, low word first. The reference engine ignores it.
    pub address: [u32; 2],
    /// Bytes of the resource.
    pub length: u32,
    /// Generation; 0 = free.
    pub generation: u32,
    /// Tenant, or [`SHARED`].
    pub owner: u32,
    /// [`READ`], [`WRITE`], [`ATOMIC`] and [`EXECUTE`].
    pub access: u32,
    /// Zero.
    pub reserved: [u32; 2],
}

const _: () = assert!(size_of::<ResourceEntry>() == ENTRY_BYTES as usize);

impl ResourceEntry {
    /// Writes the entry at `index`, its generation last. No outstanding slot may name the index.
    pub fn store(&self, table: &impl SharedWords, index: u32) {
        let base = (HEADER_WORDS + index * ENTRY_WORDS) as usize;
        table.store(base + 3, 0);
        table.publish_fence();
        let words = [self.address[0], self.address[1], self.length, 0, self.owner, self.access, 0, 0];
        for (i, word) in words.into_iter().enumerate() {
            table.store(base + i, word);
        }
        table.publish_fence();
        table.store(base + 3, self.generation);
        table.publish_fence();
    }

    /// Decodes a whole resource table.
    ///
    /// # Errors
    /// [`DecodeError`] names the first field that is wrong.
    pub fn decode_table(bytes: &[u8]) -> Result<alloc::vec::Vec<ResourceEntry>, DecodeError> {
        let region = RegionKind::Resources;
        let counts = RegionHeader::decode(bytes, region)?;
        (0..counts.resources as usize)
            .map(|index| {
                let start = HEADER_BYTES as usize + index * ENTRY_BYTES as usize;
                let raw = bytes.get(start..).unwrap_or_default();
                let size = DecodeError::Size { region, expected: ENTRY_BYTES as usize, found: raw.len() };
                let (entry, _) = ResourceEntry::read_from_prefix(raw).map_err(|_| size)?;
                let field = |word: usize, field, expected, found| DecodeError::Field {
                    region,
                    offset: start + 4 * word,
                    field,
                    expected,
                    found,
                };
                if entry.generation > MAX_GENERATION {
                    return Err(field(3, "generation", "at most 4095", entry.generation));
                }
                if entry.access & !(READ | WRITE | ATOMIC | EXECUTE) != 0 {
                    return Err(field(5, "access", "READ, WRITE, ATOMIC and EXECUTE bits only", entry.access));
                }
                if entry.owner != SHARED && entry.owner >= counts.tenants {
                    return Err(field(4, "owner", "a tenant of the geometry, or SHARED", entry.owner));
                }
                match entry.reserved.iter().position(|&word| word != 0) {
                    Some(i) => Err(field(6 + i, "reserved", "0", entry.reserved[i])),
                    None => Ok(entry),
                }
            })
            .collect()
    }
}
