//! How many of everything there is: the numbers from which each region's size and each ticket's place follow.
//!
//! A *ticket* is the 64-bit number of a published slot in its partition; it counts from 0. Its slot is
//! `first + ticket mod length`, its *generation* `ticket / length`. On the wire a ticket is 32 bits: it counts modulo
//! `length * laps` with `laps = (2^32 - 1) / length`, so that the index survives the wrap whatever the length is, and devices
//! without 64-bit integers can count it. At most `length` tickets of a partition are outstanding, so 32 bits are never
//! ambiguous.

use core::ops::Range;

use crate::header::{HEADER_BYTES, RegionKind};

/// Number of priorities, and of the ring's partitions.
pub const PARTITIONS: usize = 5;

/// Priority of a slot; each has a partition of the ring of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum Priority {
    /// Served first.
    Critical = 0,
    /// Served before NORMAL.
    High = 1,
    /// The default; it gets the remainder when slots are shared out.
    #[default]
    Normal = 2,
    /// Served after NORMAL.
    Low = 3,
    /// Served last.
    Idle = 4,
}

impl Priority {
    /// All priorities, highest first.
    pub const ALL: [Priority; PARTITIONS] =
        [Priority::Critical, Priority::High, Priority::Normal, Priority::Low, Priority::Idle];

    /// Index of the partition.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The priority with this partition index, if there is one.
    #[must_use]
    pub const fn from_index(index: u32) -> Option<Self> {
        if index < PARTITIONS as u32 { Some(Self::ALL[index as usize]) } else { None }
    }
}

/// Largest counts that a geometry may ask for. With them every region stays below 128 MiB, so 32-bit offsets always do.
pub mod limits {
    /// Slots of a ring.
    pub const SLOTS: u32 = 1 << 20;
    /// Tenants.
    pub const TENANTS: u32 = 1 << 12;
    /// Observables.
    pub const OBSERVABLES: u32 = 1 << 16;
    /// Entries of the resource table; a handle has 20 bits of index.
    pub const RESOURCES: u32 = 1 << 20;
    /// Records of the debug log.
    pub const LOG_RECORDS: u32 = 1 << 16;
    /// Requests of the IO queue.
    pub const IO_REQUESTS: u32 = 1 << 16;
}

/// A count that is zero where it must not be, or above its limit, or offsets that are no partitioning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// A count is outside its limits.
    #[error("{what}: {found} asked for, allowed are {min} to {max}")]
    Count {
        /// What is counted.
        what: &'static str,
        /// The count asked for.
        found: u32,
        /// Smallest allowed.
        min: u32,
        /// Largest allowed.
        max: u32,
    },
    /// The priority offsets do not start at 0, end at the slot count, and rise in between.
    #[error("priority offset {index} is {found}; offsets must start at 0, never fall and end at {slots}")]
    PriorityOffset {
        /// Which of the six offsets.
        index: usize,
        /// Its value.
        found: u32,
        /// Slots of the ring.
        slots: u32,
    },
}

/// How many of everything; also the fields of a region header, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Slots of the ring, over all partitions.
    pub slots: u32,
    /// Tenants.
    pub tenants: u32,
    /// Observables.
    pub observables: u32,
    /// Entries of the resource table.
    pub resources: u32,
    /// Records of the debug log; rounded up to a power of two.
    pub log_records: u32,
    /// Requests of the IO queue; rounded up to a power of two.
    pub io_requests: u32,
}

impl Default for Counts {
    fn default() -> Self {
        Counts { slots: 1024, tenants: 16, observables: 64, resources: 1024, log_records: 256, io_requests: 64 }
    }
}

impl Counts {
    /// Words of a header that the counts take.
    pub const WORDS: usize = 6;

    /// The counts in the order of the header's words.
    #[must_use]
    pub const fn to_words(self) -> [u32; Self::WORDS] {
        [self.slots, self.tenants, self.observables, self.resources, self.log_records, self.io_requests]
    }

    /// The inverse of [`Counts::to_words`].
    #[must_use]
    pub const fn from_words(words: [u32; Self::WORDS]) -> Self {
        let [slots, tenants, observables, resources, log_records, io_requests] = words;
        Counts { slots, tenants, observables, resources, log_records, io_requests }
    }

    const fn validate(self) -> Result<(), GeometryError> {
        let checks = [
            ("slots", self.slots, limits::SLOTS),
            ("tenants", self.tenants, limits::TENANTS),
            ("observables", self.observables, limits::OBSERVABLES),
            ("resources", self.resources, limits::RESOURCES),
            ("log records", self.log_records, limits::LOG_RECORDS),
            ("IO requests", self.io_requests, limits::IO_REQUESTS),
        ];
        let mut i = 0;
        while i < checks.len() {
            let (what, found, max) = checks[i];
            if found == 0 || found > max {
                return Err(GeometryError::Count { what, found, min: 1, max });
            }
            i += 1;
        }
        Ok(())
    }
}

/// Where one partition lies in the ring, and how its tickets count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// Index of its first slot in the ring.
    pub first: u32,
    /// Number of its slots; 0 is legal and takes no ticket.
    pub length: u32,
}

impl Partition {
    /// Generations that wire tickets count before they start again at 0.
    #[must_use]
    pub const fn laps(self) -> u32 {
        match u32::MAX.checked_div(self.length) {
            Some(laps) => laps,
            None => 0,
        }
    }

    /// Wire tickets count modulo this; 0 for a partition without slots.
    #[must_use]
    pub const fn modulus(self) -> u32 {
        self.length * self.laps()
    }

    /// The ticket as the device sees it.
    #[must_use]
    pub const fn wire(self, ticket: u64) -> u32 {
        (ticket % self.modulus() as u64) as u32
    }

    /// Index in the ring of the ticket's slot.
    #[must_use]
    pub const fn slot(self, ticket: u64) -> u32 {
        self.first + (ticket % self.length as u64) as u32
    }

    /// Sequence word that publishes the ticket: its generation plus one, never 0.
    #[must_use]
    pub const fn sequence(self, ticket: u64) -> u32 {
        self.wire(ticket) / self.length + 1
    }

    /// Index in the ring of the slot behind this one.
    #[must_use]
    pub const fn next(self, slot: u32) -> u32 {
        if slot + 1 == self.first + self.length { self.first } else { slot + 1 }
    }

    /// Index in the ring and sequence word of each of these tickets: [`slot`](Self::slot) and [`sequence`](Self::sequence), without
    /// a division for each.
    pub fn places(self, tickets: Range<u64>) -> impl Iterator<Item = (u32, u32)> {
        let laps = self.laps();
        let mut next = if self.length == 0 { (0, 0) } else { (self.slot(tickets.start), self.sequence(tickets.start)) };
        tickets.map(move |_| {
            let (place, sequence) = next;
            let behind = self.next(place);
            next = match behind == self.first {
                true => (behind, if sequence == laps { 1 } else { sequence + 1 }),
                false => (behind, sequence),
            };
            (place, sequence)
        })
    }

    /// The 64-bit ticket whose wire form is `wire` and which is one of the `length` last before `published`.
    ///
    /// `None` where no such ticket exists: the device named one that cannot be outstanding.
    #[must_use]
    pub const fn widen(self, wire: u32, published: u64) -> Option<u64> {
        let modulus = self.modulus() as u64;
        if wire as u64 >= modulus {
            return None;
        }
        let (newest, wire) = (self.wire(published) as u64, wire as u64);
        let back = if newest > wire { newest - wire } else { newest + modulus - wire };
        if back > published || back > self.length as u64 { None } else { Some(published - back) }
    }
}

/// A validated set of counts and the partitioning of the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    counts: Counts,
    offsets: [u32; PARTITIONS + 1],
}

impl Geometry {
    /// Validates the counts and shares the slots out evenly, the remainder to NORMAL.
    ///
    /// # Errors
    /// [`GeometryError::Count`] names the first count that is 0 or above its limit.
    pub const fn new(counts: Counts) -> Result<Self, GeometryError> {
        let share = counts.slots / PARTITIONS as u32;
        let remainder = counts.slots % PARTITIONS as u32;
        let normal = Priority::Normal.index() as u32;
        let mut offsets = [0; PARTITIONS + 1];
        let mut i = 0;
        while i <= PARTITIONS {
            offsets[i] = i as u32 * share + if i as u32 > normal { remainder } else { 0 };
            i += 1;
        }
        Self::with_offsets(counts, offsets)
    }

    /// Validates the counts and a partitioning of the caller's choice.
    ///
    /// # Errors
    /// [`GeometryError`] names the count or the offset that is wrong.
    pub const fn with_offsets(counts: Counts, offsets: [u32; PARTITIONS + 1]) -> Result<Self, GeometryError> {
        if let Err(error) = counts.validate() {
            return Err(error);
        }
        let slots = counts.slots;
        let mut i = 0;
        while i <= PARTITIONS {
            let at_least = if i == 0 { 0 } else { offsets[i - 1] };
            let wrong_end = (i == 0 && offsets[i] != 0) || (i == PARTITIONS && offsets[i] != slots);
            if offsets[i] < at_least || offsets[i] > slots || wrong_end {
                return Err(GeometryError::PriorityOffset { index: i, found: offsets[i], slots });
            }
            i += 1;
        }
        Ok(Geometry { counts, offsets })
    }

    /// The counts.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// The six priority offsets: partition `p` is the slots `offsets[p]..offsets[p + 1]`.
    #[must_use]
    pub const fn offsets(&self) -> [u32; PARTITIONS + 1] {
        self.offsets
    }

    /// The partition of a priority.
    #[must_use]
    pub const fn partition(&self, priority: Priority) -> Partition {
        let i = priority.index();
        Partition { first: self.offsets[i], length: self.offsets[i + 1] - self.offsets[i] }
    }

    /// Records of the completion ring: the slots, rounded up to a power of two so that its 32-bit position may wrap.
    #[must_use]
    pub const fn completion_records(&self) -> u32 {
        ring_records(self.counts.slots)
    }

    /// Size of a region in bytes, header included.
    #[must_use]
    pub const fn region_bytes(&self, kind: RegionKind) -> u32 {
        let shape = kind.shape();
        let count = self.counts.to_words()[shape.count];
        let elements = if shape.rounded { ring_records(count) } else { count };
        HEADER_BYTES + shape.fixed_bytes + elements * shape.element_bytes
    }

    /// Where a region begins inside the block of its direction; regions of one direction follow each other, each at a
    /// multiple of [`REGION_ALIGN`].
    #[must_use]
    pub const fn region_offset(&self, kind: RegionKind) -> u32 {
        let mut offset = 0;
        let mut i = 0;
        while i < RegionKind::ALL.len() {
            let other = RegionKind::ALL[i];
            if other as u32 == kind as u32 {
                return offset;
            }
            if other.direction() as u32 == kind.direction() as u32 {
                offset += self.region_bytes(other).next_multiple_of(REGION_ALIGN);
            }
            i += 1;
        }
        offset
    }

    /// Bytes of the block that holds all regions of one direction.
    #[must_use]
    pub const fn block_bytes(&self, direction: Direction) -> u32 {
        let mut bytes = 0;
        let mut i = 0;
        while i < RegionKind::ALL.len() {
            let kind = RegionKind::ALL[i];
            if kind.direction() as u32 == direction as u32 {
                bytes += self.region_bytes(kind).next_multiple_of(REGION_ALIGN);
            }
            i += 1;
        }
        bytes
    }
}

/// Records of a stamped ring for `count` things: a power of two, at least 2, so that a stamp never wraps to 0.
#[must_use]
pub const fn ring_records(count: u32) -> u32 {
    if count < 2 { 2 } else { count.next_power_of_two() }
}

/// Alignment of each region in its block, in bytes: no two regions share a cache line or a PCIe write-combining buffer.
pub const REGION_ALIGN: u32 = 256;

/// Which side writes a region; it decides where the region lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Direction {
    /// Written by the host, polled by the device: device-local memory that the host can map, where there is enough.
    HostToDevice = 0,
    /// Written by the device, polled by the host: host-cached memory.
    DeviceToHost = 1,
    /// Read and written by the device alone: device-local memory.
    DeviceOnly = 2,
}
