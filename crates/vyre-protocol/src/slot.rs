//! A slot: the 64 bytes that describe one work item.
//!
//! | word | content |
//! |---|---|
//! | 0 | sequence: generation of the ticket + 1, written last; 0 = never published |
//! | 1 | operation |
//! | 2 | tiles, 1 to 65,535 |
//! | 3 | tenant |
//! | 4, 5 | input: handle, byte offset |
//! | 6, 7 | output: handle, byte offset |
//! | 8 | length in bytes |
//! | 9 | tile span, in the operation's unit |
//! | 10..16 | arguments |
//!
//! In a [packed](crate::packed) slot the words from 9 on are its program.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::debuglog::LOG_ARGS;
use crate::decode::DecodeError;
use crate::geometry::limits;
use crate::header::RegionKind;
use crate::operation::{self, Operation};
use crate::packed::{MAX_INNER_OFFSET, PACKED_WORDS};
use crate::resource::{Handle, OBSERVABLES};

/// Bytes of a slot.
pub const SLOT_BYTES: u32 = 64;

/// Words of a slot.
pub const SLOT_WORDS: u32 = SLOT_BYTES / crate::WORD_BYTES;

/// Arguments that fit in a slot.
pub const ARGS: usize = 6;

/// Word of a FENCE's slot that holds the low word of its ticket: its first argument.
pub(crate) const FENCE_TICKET: usize = 10;

/// Most tiles of one slot: the device counts them in 16 bits, beside a 16-bit generation tag.
pub const MAX_TILES: u32 = 0xffff;

/// A handle and a byte offset into its resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Operand {
    /// [`Handle`] as a word; 0 names no resource.
    pub handle: u32,
    /// Offset in bytes.
    pub offset: u32,
}

impl Operand {
    /// The observable with this index.
    #[must_use]
    pub const fn observable(index: u32) -> Self {
        Operand { handle: OBSERVABLES.word(), offset: index.saturating_mul(crate::WORD_BYTES) }
    }
}

/// One work item, as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Slot {
    /// Filled in when the slot is published.
    pub sequence: u32,
    /// [`Operation`] code, or one of the user range.
    pub operation: u32,
    /// Tiles the work is cut into.
    pub tiles: u32,
    /// Tenant on whose behalf it runs.
    pub tenant: u32,
    /// Input resource.
    pub input: Operand,
    /// Output resource.
    pub output: Operand,
    /// Bytes to work on.
    pub length: u32,
    /// Extent of a tile, in the operation's unit.
    pub tile_span: u32,
    /// Arguments; unused ones are 0.
    pub args: [u32; ARGS],
}

const _: () = assert!(size_of::<Slot>() == SLOT_BYTES as usize);
const _: () = assert!(core::mem::offset_of!(Slot, args) == FENCE_TICKET * crate::WORD_BYTES as usize);

/// Why a slot cannot be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// The code is neither a built-in nor in the user range.
    #[error("operation {code:#x} is reserved; use a built-in or a code from 0x1000 to 0xffff")]
    ReservedOperation {
        /// The code.
        code: u32,
    },
    /// More arguments than a slot holds.
    #[error("{given} arguments given, a slot holds {ARGS}; pass the rest through a resource")]
    TooManyArguments {
        /// Number of arguments given.
        given: usize,
    },
    /// No tile, or more than fit in 16 bits.
    #[error("{given} tiles given, allowed are 1 to {MAX_TILES}; use larger tiles or several slots")]
    Tiles {
        /// Number of tiles given.
        given: u32,
    },
    /// More than a packed slot holds.
    #[error("the packed operations take {needed} words, a slot holds {PACKED_WORDS}; use several slots")]
    PackedFull {
        /// Words needed.
        needed: usize,
    },
    /// The length of a packed slot's program is no number of words, or more than there are.
    #[error("a packed program of {bytes} bytes is not possible; allowed are multiples of 4 up to {}", 4 * PACKED_WORDS)]
    PackedLength {
        /// The length.
        bytes: u32,
    },
    /// The offset of a packed operation is not a multiple of four, or too far.
    #[error("offset {offset} of a packed operation: use multiples of 4 up to {MAX_INNER_OFFSET}")]
    PackedOffset {
        /// The offset in bytes.
        offset: u32,
    },
    /// This operation cannot be packed.
    #[error("operation {code:#x} cannot be packed; publish it as a slot of its own")]
    PackedOperation {
        /// The code.
        code: u32,
    },
    /// The tenant is beyond the ring's tenants.
    #[error("tenant {given} does not exist, the ring has {count}")]
    Tenant {
        /// The tenant.
        given: u32,
        /// Tenants of the geometry.
        count: u32,
    },
}

impl Slot {
    /// A slot of one tile, for tenant 0, without operands.
    #[must_use]
    pub const fn new(operation: Operation) -> Self {
        Self::with_code(operation.code())
    }

    /// The same for an operation code that need not be a built-in.
    #[must_use]
    pub const fn with_code(code: u32) -> Self {
        let none = Operand { handle: 0, offset: 0 };
        Slot {
            sequence: 0,
            operation: code,
            tiles: 1,
            tenant: 0,
            input: none,
            output: none,
            length: 0,
            tile_span: 0,
            args: [0; ARGS],
        }
    }

    /// A slot that prints: the number of a format string and at most [`LOG_ARGS`] arguments.
    ///
    /// # Errors
    /// [`SlotError::TooManyArguments`].
    pub fn printf(format: u32, arguments: &[u32]) -> Result<Self, SlotError> {
        if arguments.len() > LOG_ARGS {
            return Err(SlotError::TooManyArguments { given: arguments.len() });
        }
        let mut args = [format, arguments.len() as u32, 0, 0, 0, 0];
        args[2..2 + arguments.len()].copy_from_slice(arguments);
        Ok(Slot { args, ..Slot::new(Operation::Printf) })
    }

    /// A slot that runs a program: its handle, the resources that it declares beyond input and output, and its parameters. The items
    /// are given by [`tiled`](Self::tiled) with a unit of 1.
    ///
    /// # Errors
    /// [`SlotError::TooManyArguments`].
    pub fn exec(program: Handle, further: &[Handle], parameters: &[u32]) -> Result<Self, SlotError> {
        let handles = core::iter::once(&program).chain(further).map(|handle| handle.word());
        let words: alloc::vec::Vec<u32> = handles.chain(parameters.iter().copied()).collect();
        Slot::new(Operation::Exec).with_args(&words)
    }

    /// Cuts `length` bytes into tiles of `tile_span` units of `unit` bytes each; at least one tile.
    #[must_use]
    pub const fn tiled(mut self, length: u32, tile_span: u32, unit: u32) -> Self {
        self.length = length;
        self.tile_span = tile_span;
        let tile = match tile_span.checked_mul(unit) {
            Some(0) | None => u32::MAX,
            Some(bytes) => bytes,
        };
        self.tiles = length.div_ceil(tile);
        if self.tiles == 0 {
            self.tiles = 1;
        }
        self
    }

    /// Sets the first arguments and zeroes the others.
    ///
    /// # Errors
    /// [`SlotError::TooManyArguments`] if there are more than [`ARGS`].
    pub fn with_args(mut self, args: &[u32]) -> Result<Self, SlotError> {
        let too_many = SlotError::TooManyArguments { given: args.len() };
        self.args = [0; ARGS];
        self.args.get_mut(..args.len()).ok_or(too_many)?.copy_from_slice(args);
        Ok(self)
    }

    /// Checks what can be known before publication.
    ///
    /// # Errors
    /// [`SlotError`] names the first field that is wrong.
    #[inline]
    pub fn validate(&self, tenants: u32) -> Result<(), SlotError> {
        if !operation::is_publishable(self.operation) {
            return Err(SlotError::ReservedOperation { code: self.operation });
        }
        if self.tiles == 0 || self.tiles > MAX_TILES {
            return Err(SlotError::Tiles { given: self.tiles });
        }
        if self.tenant >= tenants {
            return Err(SlotError::Tenant { given: self.tenant, count: tenants });
        }
        // Only then there is a program to be decoded; most slots have none.
        if self.operation != Operation::Packed.code() {
            return Ok(());
        }
        self.inner().try_for_each(|inner| inner.map(|_| ()))
    }

    /// The slot's words in the order of the table above.
    #[must_use]
    #[inline]
    pub fn to_words(&self) -> [u32; SLOT_WORDS as usize] {
        zerocopy::transmute!(*self)
    }

    /// Decodes 64 bytes of a ring; `None` is a place that was never published.
    ///
    /// # Errors
    /// [`DecodeError`] if the size is wrong or a published slot holds a value that no publisher writes.
    pub fn decode(bytes: &[u8]) -> Result<Option<Slot>, DecodeError> {
        let region = RegionKind::Ring;
        let size = DecodeError::Size { region, expected: SLOT_BYTES as usize, found: bytes.len() };
        let slot = Slot::read_from_bytes(bytes).map_err(|_| size)?;
        let field = |word: usize, field, expected, found| DecodeError::Field {
            region,
            offset: word * 4,
            field,
            expected,
            found,
        };
        if slot.sequence == 0 {
            return match slot.to_words().iter().position(|&word| word != 0) {
                None => Ok(None),
                Some(i) => Err(field(i, "unpublished slot", "0", slot.to_words()[i])),
            };
        }
        match slot.validate(limits::TENANTS) {
            Ok(()) => Ok(Some(slot)),
            Err(SlotError::Tiles { given }) => Err(field(2, "tiles", "1 to 65535", given)),
            Err(SlotError::Tenant { given, .. }) => Err(field(3, "tenant", "a tenant below the limit", given)),
            Err(SlotError::ReservedOperation { code }) => {
                Err(field(1, "operation", "a built-in or user operation", code))
            }
            Err(_) => Err(field(8, "packed program", "inner operations within its length", slot.length)),
        }
    }
}
