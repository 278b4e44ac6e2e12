//! What a quantum of the kernel is launched with: the push constants.
//!
//! | word | content |
//! |---|---|
//! | 0..18 | addresses of the nine regions, low word first, in the order of [`RegionKind`] |
//! | 18 | number of the quantum, from 0 |
//! | 19 | fuel of each worker, in loop iterations |
//! | 20 | workers of the quantum |
//! | 21 | ticks of the device's clock after which each worker leaves; 0: only by its fuel |

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::header::RegionKind;
use crate::{operation, vir0};

/// Bytes of the push constants; every Vulkan device has at least 128.
pub const LAUNCH_BYTES: u32 = 88;

/// The push constants of one quantum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Launch {
    /// Buffer device addresses of the regions.
    pub regions: [[u32; 2]; RegionKind::COUNT],
    /// Number of the quantum.
    pub quantum: u32,
    /// Loop iterations that each worker may spend.
    pub fuel: u32,
    /// Workers.
    pub workers: u32,
    /// Ticks of the device's clock after which each worker leaves; 0: only by its fuel. Less than half of the clock's low word.
    pub ticks: u32,
}

const _: () = assert!(size_of::<Launch>() == LAUNCH_BYTES as usize && LAUNCH_BYTES <= 128);

/// Fuel of one action of a worker, at least the number of loops in the kernel; a look that finds nothing costs 1. llvmpipe does not
/// jump over a loop that no lane enters; it runs the body once with all lanes masked off, and counts that.
pub const TURN_FUEL: u32 = 48;

/// Fuel that a worker keeps back for one tile: it leaves when less is left. No tile of any operation costs more.
///
/// The dearest is a tile of EXEC with the most fuel that a program may have, and what it costs eight lanes to clear scratch and masks.
pub const MAX_TILE_FUEL: u32 = vir0::MAX_FUEL + (vir0::MAX_SCRATCH + vir0::GROUP / 4) / crate::MIN_LANES + 64;

/// The same in a kernel with neither EXEC nor custom operations. The dearest is a HISTOGRAM tile of eight lanes, which also clears and writes its bins.
pub const MAX_BUILT_IN_TILE_FUEL: u32 =
    (operation::MAX_TILE_BYTES / crate::WORD_BYTES + 2 * operation::MAX_BINS) / crate::MIN_LANES + 64;

/// Fuel that a worker of a kernel with these operations keeps back for one tile.
#[must_use]
pub const fn max_tile_fuel(operations: u32) -> u32 {
    let dear = 1 << operation::Operation::Exec.code() | operation::CUSTOM_MASK;
    if operations & dear != 0 { MAX_TILE_FUEL } else { MAX_BUILT_IN_TILE_FUEL }
}

/// Least fuel of a quantum with which a worker makes progress, whatever its kernel holds: a look, and one action with the dearest tile.
pub const SMALLEST_FUEL: u32 = MAX_TILE_FUEL + 1;
