//! The control region: what the host tells the kernel as a whole.
//!
//! | word | content |
//! |---|---|
//! | 0..16 | header |
//! | 16..21 | doorbells: published tickets of each partition, wire form |
//! | 21 | [`Command`] |
//! | 22 | snapshot request: the device copies its counters to the status region when this changes |
//! | 23..32 | zero |
//! | 32..38 | priority offsets |
//! | 38..43 | laps of each partition |
//! | 43..48 | zero |
//! | 48.. | tenants, 8 words each: state, operation mask, generation, cap, rate, burst, 0, 0 |
//!
//! Words 16..24 are the *polled line*: the only ones that the device reads again and again.

use crate::decode::{DecodeError, word_at};
use crate::fault::wire_codes;
use crate::geometry::{Direction, Geometry, PARTITIONS, Priority};
use crate::header::{HEADER_WORDS, RegionHeader, RegionKind};
use crate::operation::{CUSTOM_BIT, CUSTOM_OPERATIONS, Operation, USER_OPERATIONS};
use crate::words::SharedWords;

/// First word of the polled line: the doorbells.
pub const DOORBELLS: u32 = HEADER_WORDS;
/// Word of the command.
pub const COMMAND: u32 = DOORBELLS + PARTITIONS as u32;
/// Word of the snapshot request.
pub const SNAPSHOT_REQUEST: u32 = COMMAND + 1;
/// Words of the polled line.
pub const POLLED_WORDS: u32 = 8;
/// First of the six priority offsets.
pub const PRIORITY_OFFSETS: u32 = 32;
/// First of the five lap counts.
pub const LAPS: u32 = PRIORITY_OFFSETS + PARTITIONS as u32 + 1;
/// First word of the tenants.
pub const TENANTS: u32 = 48;
/// Bytes between the header and the tenants.
pub const FIXED_BYTES: u32 = (TENANTS - HEADER_WORDS) * crate::WORD_BYTES;
/// Bytes of a tenant.
pub const TENANT_BYTES: u32 = 32;
/// Words of a tenant.
pub const TENANT_WORDS: u32 = TENANT_BYTES / crate::WORD_BYTES;

const _: () = assert!(SNAPSHOT_REQUEST < DOORBELLS + POLLED_WORDS && LAPS + PARTITIONS as u32 <= TENANTS);

wire_codes! {
    /// What the workers shall do.
    Command: u32 {
        /// Serve the ring until the quantum's fuel is used up.
        Run = 1 => "COMMAND_RUN",
        /// Leave at the next tile boundary.
        Leave = 2 => "COMMAND_LEAVE",
    }
}

wire_codes! {
    /// State of a tenant's entry.
    TenantState: u32 {
        /// Never registered, or gone.
        Free = 0 => "TENANT_FREE",
        /// May run.
        Active = 1 => "TENANT_ACTIVE",
        /// Revoked; its slots fault.
        Revoked = 2 => "TENANT_REVOKED",
    }
}

/// A tenant's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tenant {
    /// Whether it may run.
    pub state: TenantState,
    /// What it may run: the [`operation_bit`]s.
    pub operations: u32,
    /// Counts the registrations of this entry.
    pub generation: u32,
    /// Most outstanding tiles; 0 = no limit.
    pub cap: u32,
    /// Tokens a second of the claim bucket; 0 = no limit.
    pub rate: u32,
    /// Size of the claim bucket.
    pub burst: u32,
}

impl Tenant {
    /// Tenant 0 of a ring: active, every operation, no limit.
    pub const DEFAULT: Tenant =
        Tenant { state: TenantState::Active, operations: u32::MAX, generation: 1, cap: 0, rate: 0, burst: 0 };

    /// Writes the entry. The state goes last, so that a device never sees an active tenant with another's limits.
    pub fn store(&self, control: &impl SharedWords, index: u32) {
        let base = (TENANTS + index * TENANT_WORDS) as usize;
        control.store(base, TenantState::Free.code());
        control.publish_fence();
        for (i, word) in [self.operations, self.generation, self.cap, self.rate, self.burst].into_iter().enumerate() {
            control.store(base + 1 + i, word);
        }
        control.publish_fence();
        control.store(base, self.state.code());
        control.publish_fence();
    }
}

/// The bit that stands for an operation code in a mask of operations: bit `c` for the built-in with code `c`, the bits from
/// [`CUSTOM_BIT`] on for the custom operations, bit 0 for the rest of the user range.
#[must_use]
pub const fn operation_bit(code: u32) -> u32 {
    match code.wrapping_sub(USER_OPERATIONS) {
        _ if Operation::from_code(code).is_some() => 1 << code,
        custom if custom < CUSTOM_OPERATIONS => 1 << (CUSTOM_BIT + custom),
        _ => 1,
    }
}

/// Zeroes a block, writes the headers of its regions and, on the host's side, command, partitions and tenant 0.
///
/// No kernel may be running on the block.
pub fn initialise(geometry: &Geometry, direction: Direction, block: &impl SharedWords) {
    for index in 0..geometry.block_bytes(direction) as usize / 4 {
        block.store(index, 0);
    }
    for kind in RegionKind::ALL.into_iter().filter(|kind| kind.direction() == direction) {
        let region = Window { block, first: geometry.region_offset(kind) as usize / 4 };
        RegionHeader::new(geometry, kind).store(&region);
        if kind == RegionKind::Control {
            for (i, offset) in geometry.offsets().into_iter().enumerate() {
                region.store(PRIORITY_OFFSETS as usize + i, offset);
            }
            for priority in Priority::ALL {
                region.store(LAPS as usize + priority.index(), geometry.partition(priority).laps());
            }
            region.store(COMMAND as usize, Command::Run.code());
            Tenant::DEFAULT.store(&region, 0);
        }
    }
    block.publish_fence();
}

/// A block seen from one of its regions on.
struct Window<'a, W> {
    block: &'a W,
    first: usize,
}

impl<W: SharedWords> SharedWords for Window<'_, W> {
    fn len(&self) -> usize {
        self.block.len().saturating_sub(self.first)
    }
    fn load_acquire(&self, index: usize) -> u32 {
        self.block.load_acquire(self.first + index)
    }
    fn load(&self, index: usize) -> u32 {
        self.block.load(self.first + index)
    }
    fn store(&self, index: usize, value: u32) {
        self.block.store(self.first + index, value);
    }
    fn publish_fence(&self) {
        self.block.publish_fence();
    }
}

/// A control region read back from bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// Counts and partitions.
    pub geometry: Geometry,
    /// Doorbells in wire form.
    pub doorbells: [u32; PARTITIONS],
    /// Command.
    pub command: Command,
    /// Snapshot request.
    pub snapshot_request: u32,
    /// All tenants.
    pub tenants: alloc::vec::Vec<Tenant>,
}

impl Control {
    /// Decodes a whole control region.
    ///
    /// # Errors
    /// [`DecodeError`] names the first field that is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let region = RegionKind::Control;
        let counts = RegionHeader::decode(bytes, region)?;
        let offsets = core::array::from_fn(|i| word_at(bytes, PRIORITY_OFFSETS as usize + i));
        let geometry =
            Geometry::with_offsets(counts, offsets).map_err(|source| DecodeError::Geometry { region, source })?;
        let fault = |word: u32, field, expected| DecodeError::Field {
            region,
            offset: word as usize * 4,
            field,
            expected,
            found: word_at(bytes, word as usize),
        };
        let doorbells: [u32; PARTITIONS] = core::array::from_fn(|i| word_at(bytes, DOORBELLS as usize + i));
        for priority in Priority::ALL {
            let (i, partition) = (priority.index() as u32, geometry.partition(priority));
            if word_at(bytes, (LAPS + i) as usize) != partition.laps() {
                return Err(fault(LAPS + i, "laps", "(2^32 - 1) / length of the partition"));
            }
            if doorbells[priority.index()] >= partition.modulus().max(1) {
                return Err(fault(DOORBELLS + i, "doorbell", "a wire ticket of the partition"));
            }
        }
        let command = Command::from_code(word_at(bytes, COMMAND as usize));
        let command = command.ok_or(fault(COMMAND, "command", "RUN or LEAVE"))?;
        let zeros = (SNAPSHOT_REQUEST + 1..PRIORITY_OFFSETS).chain(LAPS + PARTITIONS as u32..TENANTS);
        for word in zeros {
            if word_at(bytes, word as usize) != 0 {
                return Err(fault(word, "reserved", "0"));
            }
        }
        let tenants = (0..counts.tenants).map(|index| {
            let base = TENANTS + index * TENANT_WORDS;
            let word = |i: u32| word_at(bytes, (base + i) as usize);
            let state = TenantState::from_code(word(0)).ok_or(fault(base, "tenant state", "0 to 2"))?;
            for i in 6..TENANT_WORDS {
                if word(i) != 0 {
                    return Err(fault(base + i, "reserved", "0"));
                }
            }
            Ok(Tenant { state, operations: word(1), generation: word(2), cap: word(3), rate: word(4), burst: word(5) })
        });
        let tenants = tenants.collect::<Result<_, _>>()?;
        let snapshot_request = word_at(bytes, SNAPSHOT_REQUEST as usize);
        Ok(Control { geometry, doorbells, command, snapshot_request, tenants })
    }
}
