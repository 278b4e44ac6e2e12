//! What every decoder reports when bytes are not what the ABI says.

use crate::geometry::GeometryError;
use crate::header::RegionKind;

/// Why bytes were refused: which region, where, what was expected and what was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The slice is shorter or longer than the region's geometry says.
    #[error("{region}: {found} bytes given where {expected} are needed; pass the whole region and nothing else")]
    Size {
        /// Region that was being decoded.
        region: RegionKind,
        /// Bytes needed.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// The region does not start with the magic number.
    #[error("{region}: magic {found:#010x} where {expected:#010x} belongs; these bytes are not a vyre region")]
    Magic {
        /// Region that was being decoded.
        region: RegionKind,
        /// The magic number.
        expected: u32,
        /// The word found in its place.
        found: u32,
    },
    /// The region was written for another version of the ABI.
    #[error("{region}: ABI version {found}, this side speaks {expected}; rebuild both sides from one release")]
    Version {
        /// Region that was being decoded.
        region: RegionKind,
        /// Version of this crate.
        expected: u32,
        /// Version in the header.
        found: u32,
    },
    /// The header belongs to another region.
    #[error("{region}: header says region kind {found}, expected {expected}; the regions were mixed up")]
    Kind {
        /// Region that was being decoded.
        region: RegionKind,
        /// Number of that region.
        expected: u32,
        /// Number in the header.
        found: u32,
    },
    /// The header's geometry is not one that this ABI allows.
    #[error("{region}: the header's geometry is not valid: {source}")]
    Geometry {
        /// Region that was being decoded.
        region: RegionKind,
        /// The limit that was broken.
        source: GeometryError,
    },
    /// A word holds a value that its field does not allow.
    #[error("{region}: byte {offset}: {field} is {found:#x}, expected {expected}")]
    Field {
        /// Region that was being decoded.
        region: RegionKind,
        /// Byte offset of the word in the given slice.
        offset: usize,
        /// Field's name.
        field: &'static str,
        /// What the field allows.
        expected: &'static str,
        /// What it holds.
        found: u32,
    },
}

/// Reads word `index` of a slice whose length the caller has checked; 0 beyond its end.
pub(crate) fn word_at(bytes: &[u8], index: usize) -> u32 {
    let start = index * crate::WORD_BYTES as usize;
    bytes.get(start..start + 4).and_then(|word| <[u8; 4]>::try_from(word).ok()).map_or(0, u32::from_le_bytes)
}
