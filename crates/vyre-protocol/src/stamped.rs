//! Records that the device writes and the host polls: each 8-byte word carries 32 bits of data and the record's stamp.
//!
//! Vulkan has no system-scope fence, so a release by the kernel formally orders nothing for a CPU behind PCIe. A record is
//! therefore accepted when *all* of its words carry the stamp that is expected at its place; one 64-bit store delivers data and
//! stamp together (the low-latency protocol of NCCL). Devices without 64-bit atomics take the old stamp away, write the
//! data, then the stamp, each behind the other; a reader that loads the stamp first (acquire) and the data after it is right in both
//! cases, and so is one that looks at the stamp once more where a record may be overwritten while it is read.
//!
//! | byte | content |
//! |---|---|
//! | 8 i | data word i, for i in 0..8 |
//! | 8 i + 4 | stamp |
//!
//! The stamp of position `n` in a ring of `2^k` records is `(n >> k) + 1` in 32 bits: never 0, and different on each lap.

use crate::decode::word_at;
use crate::words::SharedWords;

/// Data words of a record.
pub const DATA_WORDS: usize = 8;

/// Bytes of a record.
pub const RECORD_BYTES: u32 = 64;

/// The data of one record.
pub type Record = [u32; DATA_WORDS];

/// The data of a record as bytes, which is how a hash is read.
#[must_use]
pub fn to_bytes(record: &Record) -> [u8; 4 * DATA_WORDS] {
    let mut bytes = [0; 4 * DATA_WORDS];
    for (four, word) in bytes.chunks_exact_mut(4).zip(record) {
        four.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// The stamp that position `position` of a ring of `records` (a power of two) carries.
#[must_use]
pub const fn stamp(position: u32, records: u32) -> u32 {
    (position >> records.trailing_zeros()) + 1
}

/// Loads the data word at word `base` if the word behind it is `stamp`; `None` while it is not.
pub fn load_word(region: &(impl SharedWords + ?Sized), base: usize, stamp: u32) -> Option<u32> {
    // Stamp before data: with separate stores on the device, a fresh stamp proves the data behind it.
    (region.load_acquire(base + 1) == stamp).then(|| region.load(base))
}

/// Loads a record that may be overwritten at any moment; `None` if it was, or is not wholly there.
pub fn load_unless_overwritten(region: &impl SharedWords, base: usize, stamp: u32) -> Option<Record> {
    let mut record = [0; DATA_WORDS];
    for (i, data) in record.iter_mut().enumerate() {
        let is_there = || region.load_acquire(base + 2 * i + 1) == stamp;
        if !is_there() {
            return None;
        }
        // Acquire, so that the second look at the stamp comes after it.
        *data = region.load_acquire(base + 2 * i);
        if !is_there() {
            return None;
        }
    }
    Some(record)
}

/// Loads the record at word `base` if all its words carry `stamp`; `None` while it is not wholly there.
#[inline]
pub fn load(region: &(impl SharedWords + ?Sized), base: usize, stamp: u32) -> Option<Record> {
    region.load_record(base, stamp)
}

/// Puts the record together whose words, data and stamps in turn, `load_acquire` gives, if all of them carry `stamp`. Each stamp comes
/// before its data, as in [`load_word`]; a look that finds nothing costs one word.
#[inline]
pub fn assemble(stamp: u32, load_acquire: impl Fn(usize) -> u32) -> Option<Record> {
    let mut record = [0; DATA_WORDS];
    for (i, data) in record.iter_mut().enumerate() {
        if load_acquire(2 * i + 1) != stamp {
            return None;
        }
        *data = load_acquire(2 * i);
    }
    Some(record)
}

/// Stores a record at word `base` as a device without 64-bit stores does: no stamp, release, data, release, stamps. Without the
/// first step a reader that comes late could take new data for that of an old stamp.
pub fn store(region: &impl SharedWords, base: usize, stamp: u32, record: &Record) {
    for i in 0..DATA_WORDS {
        region.store(base + 2 * i + 1, 0);
    }
    region.publish_fence();
    for (i, data) in record.iter().enumerate() {
        region.store(base + 2 * i, *data);
    }
    region.publish_fence();
    for i in 0..DATA_WORDS {
        region.store(base + 2 * i + 1, stamp);
    }
}

/// Decodes the record in 64 bytes; `None` if they are too few or the stamps differ. Returns the stamp with the data.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<(u32, Record)> {
    if bytes.len() != RECORD_BYTES as usize {
        return None;
    }
    let stamp = word_at(bytes, 1);
    let mut record = [0; DATA_WORDS];
    for (i, data) in record.iter_mut().enumerate() {
        if word_at(bytes, 2 * i + 1) != stamp {
            return None;
        }
        *data = word_at(bytes, 2 * i);
    }
    Some((stamp, record))
}

/// Encodes a record with its stamp.
#[must_use]
pub fn encode(stamp: u32, record: &Record) -> [u8; RECORD_BYTES as usize] {
    let mut bytes = [0; RECORD_BYTES as usize];
    for (pair, data) in bytes.chunks_exact_mut(8).zip(record) {
        pair[..4].copy_from_slice(&data.to_le_bytes());
        pair[4..].copy_from_slice(&stamp.to_le_bytes());
    }
    bytes
}
