//! Blocks of one region, checked out by value.
//!
//! # Safety
//!
//! The one unsafe block lends a [`Block`]'s bytes as a slice. The proof is ownership: an index is either in the free list, in a
//! read in flight, or in exactly one `Block`, and only reads in flight write.
#![allow(unsafe_code, reason = "lends an owned block as a slice; see the Safety section above")]

use std::sync::{Arc, Mutex, PoisonError};

use vyre_mem::{Region, WriteOrder};

/// The smallest block: a page, and a multiple of every direct-I/O alignment in use.
const MIN_BLOCK: usize = 4096;

/// A region cannot be cut into such blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{region} bytes cannot be cut into blocks of {block} bytes; blocks are powers of two of at least 4096 bytes")]
pub struct PoolError {
    /// Bytes of the region.
    pub region: usize,
    /// Bytes of a block.
    pub block: usize,
}

/// Blocks of equal size over one region. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    region: Region,
    block_size: usize,
    free: Mutex<Vec<u32>>,
}

impl Pool {
    /// Cuts a region into blocks. What is left over at its end is not used.
    ///
    /// # Errors
    /// [`PoolError`] if not one block fits, or the size is not a power of two of at least 4096.
    pub fn new(region: Region, block_size: usize) -> Result<Pool, PoolError> {
        let error = PoolError { region: region.len(), block: block_size };
        if !block_size.is_power_of_two() || block_size < MIN_BLOCK || region.len() < block_size {
            return Err(error);
        }
        // Popped from the end, so the first blocks go out first.
        let free = (0..(region.len() / block_size) as u32).rev().collect();
        Ok(Pool { shared: Arc::new(Shared { region, block_size, free: Mutex::new(free) }) })
    }

    /// The whole region.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.shared.region
    }

    /// Bytes of a block.
    #[must_use]
    pub fn block_size(&self) -> usize {
        self.shared.block_size
    }

    /// Number of blocks.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        (self.shared.region.len() / self.shared.block_size) as u32
    }

    /// Blocks that nobody holds and no read targets.
    #[must_use]
    pub fn free(&self) -> u32 {
        self.shared.free().len() as u32
    }

    /// Takes a block out of the free list for a read.
    pub(crate) fn take(&self) -> Option<u32> {
        self.shared.free().pop()
    }

    /// Puts a block back whose read has ended without a result.
    pub(crate) fn put_back(&self, index: u32) {
        self.shared.free().push(index);
    }

    /// Makes the owner of a block whose reads have ended; `len` bytes of it are valid.
    pub(crate) fn check_out(&self, index: u32, len: usize) -> Block {
        Block { shared: Arc::clone(&self.shared), index, len: len.min(self.block_size()) }
    }
}

impl Shared {
    fn free(&self) -> std::sync::MutexGuard<'_, Vec<u32>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A block of a pool and the bytes in it. Dropping it returns it to the pool.
#[derive(Debug)]
pub struct Block {
    shared: Arc<Shared>,
    index: u32,
    len: usize,
}

impl Block {
    /// Which block of the pool.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Offset of its first byte in the pool's region.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.index as usize * self.shared.block_size
    }

    /// Valid bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no valid byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the bytes lie in ordinary cached memory, where lending them as a slice is cheap to read.
    #[must_use]
    pub fn is_cached(&self) -> bool {
        self.shared.region.write_order() == WriteOrder::Cached
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `offset + len` lies inside the region, which `shared` keeps mapped. Nobody writes these bytes as long as this
        // Block exists: reads in flight target only indices that are in no Block, Region has no method that the crate calls on
        // a checked-out block, and who maps the pages for a device maps them for reading.
        unsafe { std::slice::from_raw_parts(self.shared.region.as_ptr().add(self.offset()), self.len) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.shared.free().push(self.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_go_out_once_and_come_back_when_dropped() {
        let pool = Pool::new(Region::anonymous(65_536, 4096).unwrap(), 16_384).unwrap();
        assert_eq!((pool.blocks(), pool.free()), (4, 4));
        let index = pool.take().unwrap();
        let block = pool.check_out(index, 100);
        assert_eq!((block.index(), block.offset(), block.as_ref().len(), pool.free()), (0, 0, 100, 3));
        drop(block);
        assert_eq!(pool.free(), 4);
        let taken: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!(taken.len(), 4);
        assert_eq!(pool.take(), None);
    }

    #[test]
    fn odd_sizes_are_refused() {
        let region = Region::anonymous(65_536, 4096).unwrap();
        for block in [0, 1, 2048, 5000, 131_072] {
            assert_eq!(Pool::new(region.clone(), block).unwrap_err(), PoolError { region: 65_536, block });
        }
    }
}
