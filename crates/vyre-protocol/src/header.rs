//! The 64 bytes at the start of every region.
//!
//! | word | content |
//! |---|---|
//! | 0 | magic, `VYRE` |
//! | 1 | ABI version |
//! | 2 | region kind |
//! | 3 | size of the region in bytes, header included |
//! | 4..10 | slots, tenants, observables, resources, log records, IO requests |
//! | 10..16 | zero |

use core::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::ABI_VERSION;
use crate::decode::DecodeError;
use crate::geometry::{Counts, Direction, Geometry};
use crate::words::SharedWords;
use crate::{control, ioqueue, local, resource, slot, stamped, status};

/// First word of every region: the bytes `VYRE`.
pub const MAGIC: u32 = u32::from_le_bytes(*b"VYRE");

/// Bytes of a header.
pub const HEADER_BYTES: u32 = 64;

/// Words of a header.
pub const HEADER_WORDS: u32 = HEADER_BYTES / crate::WORD_BYTES;

/// The regions, in the order in which they lie in the blocks of their direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum RegionKind {
    /// Doorbells, command, partitions, tenants.
    Control = 0,
    /// Slots.
    Ring = 1,
    /// The resource table.
    Resources = 2,
    /// Answers to IO requests.
    IoResponses = 3,
    /// Counters and observables.
    Status = 4,
    /// Completions.
    Completions = 5,
    /// Records of PRINTF.
    DebugLog = 6,
    /// The kernel's IO requests.
    IoRequests = 7,
    /// Private to the device.
    Local = 8,
}

impl RegionKind {
    /// Number of regions.
    pub const COUNT: usize = 9;

    /// All regions, in order.
    pub const ALL: [RegionKind; Self::COUNT] = [
        RegionKind::Control,
        RegionKind::Ring,
        RegionKind::Resources,
        RegionKind::IoResponses,
        RegionKind::Status,
        RegionKind::Completions,
        RegionKind::DebugLog,
        RegionKind::IoRequests,
        RegionKind::Local,
    ];

    /// Which side writes the region.
    #[must_use]
    pub const fn direction(self) -> Direction {
        match self {
            RegionKind::Control | RegionKind::Ring | RegionKind::Resources | RegionKind::IoResponses => {
                Direction::HostToDevice
            }
            RegionKind::Status | RegionKind::Completions | RegionKind::DebugLog | RegionKind::IoRequests => {
                Direction::DeviceToHost
            }
            RegionKind::Local => Direction::DeviceOnly,
        }
    }

    /// What the region's size is made of.
    #[must_use]
    pub const fn shape(self) -> RegionShape {
        let (fixed_bytes, element_bytes, count, rounded) = match self {
            RegionKind::Control => (control::FIXED_BYTES, control::TENANT_BYTES, 1, false),
            RegionKind::Ring => (0, slot::SLOT_BYTES, 0, false),
            RegionKind::Resources => (0, resource::ENTRY_BYTES, 3, false),
            RegionKind::IoResponses => (0, ioqueue::RESPONSE_BYTES, 5, true),
            RegionKind::Status => (status::FIXED_BYTES, crate::WORD_BYTES, 2, false),
            RegionKind::Completions => (0, stamped::RECORD_BYTES, 0, true),
            RegionKind::DebugLog => (0, stamped::RECORD_BYTES, 4, true),
            RegionKind::IoRequests => (0, stamped::RECORD_BYTES, 5, true),
            RegionKind::Local => (local::FIXED_BYTES, local::SLOT_STATE_BYTES, 0, false),
        };
        RegionShape { fixed_bytes, element_bytes, count, rounded }
    }

    /// Name in errors and in the generated constants.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            RegionKind::Control => "control",
            RegionKind::Ring => "ring",
            RegionKind::Resources => "resources",
            RegionKind::IoResponses => "io_responses",
            RegionKind::Status => "status",
            RegionKind::Completions => "completions",
            RegionKind::DebugLog => "debug_log",
            RegionKind::IoRequests => "io_requests",
            RegionKind::Local => "local",
        }
    }
}

impl fmt::Display for RegionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a region's size is made of: `header + fixed + element * count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegionShape {
    /// Bytes behind the header that do not depend on the geometry.
    pub fixed_bytes: u32,
    /// Bytes of an element.
    pub element_bytes: u32,
    /// Which of the [`Counts`] counts the elements.
    pub count: usize,
    /// Whether the count is rounded up to a power of two, as [`ring_records`](crate::geometry::ring_records) does.
    pub rounded: bool,
}

/// The header of a region, as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RegionHeader {
    /// [`MAGIC`].
    pub magic: u32,
    /// [`ABI_VERSION`].
    pub version: u32,
    /// Number of the [`RegionKind`].
    pub kind: u32,
    /// Bytes of the region, header included.
    pub size: u32,
    /// [`Counts`], in their order.
    pub counts: [u32; Counts::WORDS],
    /// Zero.
    pub reserved: [u32; 6],
}

const _: () = assert!(size_of::<RegionHeader>() == HEADER_BYTES as usize);

impl RegionHeader {
    /// The header that belongs to a region of this geometry.
    #[must_use]
    pub const fn new(geometry: &Geometry, kind: RegionKind) -> Self {
        RegionHeader {
            magic: MAGIC,
            version: ABI_VERSION,
            kind: kind as u32,
            size: geometry.region_bytes(kind),
            counts: geometry.counts().to_words(),
            reserved: [0; 6],
        }
    }

    /// Writes the header to the first words of its region.
    pub fn store(&self, region: &impl SharedWords) {
        for (index, bytes) in self.as_bytes().chunks_exact(4).enumerate() {
            region.store(index, crate::decode::word_at(bytes, 0));
        }
    }

    /// Decodes and checks the header of a region given as a whole, and returns its counts.
    ///
    /// # Errors
    /// [`DecodeError`] names the first field that is wrong.
    pub fn decode(bytes: &[u8], region: RegionKind) -> Result<Counts, DecodeError> {
        let short = DecodeError::Size { region, expected: HEADER_BYTES as usize, found: bytes.len() };
        let (header, _) = RegionHeader::read_from_prefix(bytes).map_err(|_| short)?;
        if header.magic != MAGIC {
            return Err(DecodeError::Magic { region, expected: MAGIC, found: header.magic });
        }
        if header.version != ABI_VERSION {
            return Err(DecodeError::Version { region, expected: ABI_VERSION, found: header.version });
        }
        if header.kind != region as u32 {
            return Err(DecodeError::Kind { region, expected: region as u32, found: header.kind });
        }
        let counts = Counts::from_words(header.counts);
        let geometry = Geometry::new(counts).map_err(|source| DecodeError::Geometry { region, source })?;
        let expected = geometry.region_bytes(region) as usize;
        if header.size as usize != expected {
            let field = DecodeError::Field {
                region,
                offset: core::mem::offset_of!(RegionHeader, size),
                field: "size",
                expected: "the size that the counts give",
                found: header.size,
            };
            return Err(field);
        }
        if bytes.len() != expected {
            return Err(DecodeError::Size { region, expected, found: bytes.len() });
        }
        if let Some(i) = header.reserved.iter().position(|&word| word != 0) {
            return Err(DecodeError::Field {
                region,
                offset: core::mem::offset_of!(RegionHeader, reserved) + 4 * i,
                field: "reserved",
                expected: "0",
                found: header.reserved[i],
            });
        }
        Ok(counts)
    }
}
