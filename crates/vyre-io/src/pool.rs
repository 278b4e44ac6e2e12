//! Blocks of one region, checked out by value.
//!
//! # Safety
//!
//! The one unsafe block lends a [`Block`]'s bytes as a slice. The proof is ownership: the region of a *private* pool is known to
//! nobody else, an index is either in the free list, in a read in flight, or in exactly one `Block`, and only reads in flight
//! write. Blocks of shared pools, whose pages somebody else may map and write, are never lent as slices.
#![allow(unsafe_code, reason = "lends an owned block as a slice; see the Safety section above")]

use std::sync::{Arc, Mutex, PoisonError};

use vyre_mem::{MapError, RangeError, Region};

/// The smallest block: a page, and a multiple of every direct-I/O alignment in use.
const MIN_BLOCK: usize = 4096;

/// A pool cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The region cannot be cut into such blocks.
    #[error(
        "{region} bytes cannot be cut into blocks of {block} bytes; blocks are powers of two of at least 4096 bytes"
    )]
    Shape {
        /// Bytes of the region.
        region: usize,
        /// Bytes of a block.
        block: usize,
    },
    /// There is no memory for it.
    #[error(transparent)]
    Map(#[from] MapError),
}

/// Alignment of a private pool: that of a large page on some systems.
const ALIGN: usize = 64 << 10;

/// Blocks of equal size over one region. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    region: Region,
    block_size: usize,
    /// Nobody else knows the region.
    private: bool,
    free: Mutex<Vec<u32>>,
}

impl Pool {
    /// A pool over memory of its own, whose blocks can be lent as slices.
    ///
    /// # Errors
    /// [`PoolError`] if there is no memory, no block, or the size is not a power of two of at least 4096.
    pub fn private(blocks: usize, block_size: usize) -> Result<Pool, PoolError> {
        let bytes = blocks.saturating_mul(block_size);
        let region = Region::anonymous(bytes, ALIGN)?;
        Self::over(region.slice(0..bytes).unwrap_or(region), block_size, true)
    }

    /// Cuts a region that others may map into blocks. What is left over at its end is not used.
    ///
    /// # Errors
    /// [`PoolError`] if not one block fits, or the size is not a power of two of at least 4096.
    pub fn new(region: Region, block_size: usize) -> Result<Pool, PoolError> {
        Self::over(region, block_size, false)
    }

    fn over(region: Region, block_size: usize, private: bool) -> Result<Pool, PoolError> {
        let error = PoolError::Shape { region: region.len(), block: block_size };
        if !block_size.is_power_of_two() || block_size < MIN_BLOCK || region.len() < block_size {
            return Err(error);
        }
        // Popped from the end, so the first blocks go out first.
        let free = (0..(region.len() / block_size) as u32).rev().collect();
        Ok(Pool { shared: Arc::new(Shared { region, block_size, private, free: Mutex::new(free) }) })
    }

    /// The whole region.
    pub(crate) fn region(&self) -> &Region {
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

    /// Copies bytes out, from `offset` of the block on.
    ///
    /// # Errors
    /// [`RangeError`] if they do not lie in the valid part.
    pub fn read_bytes(&self, offset: usize, out: &mut [u8]) -> Result<(), RangeError> {
        if offset.checked_add(out.len()).is_none_or(|end| end > self.len) {
            return Err(RangeError { offset, len: out.len(), region: self.len });
        }
        self.shared.region.read_bytes(self.offset() + offset, out)
    }

    /// The bytes, without a copy; `None` in a shared pool, where somebody else may write them.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        if !self.shared.private {
            return None;
        }
        // SAFETY: `offset + len` lies inside the region, which `shared` keeps mapped. The pool is private: no Region over this
        // memory leaves the crate, which itself only hands it to reads. Reads target indices that are in no Block, so nobody
        // writes these bytes as long as this Block is borrowed.
        Some(unsafe { std::slice::from_raw_parts(self.shared.region.as_ptr().add(self.offset()), self.len) })
    }

    /// The block as shared bytes, for who keeps them longer than a borrow; `None` in a shared pool, which gets its block back.
    #[must_use]
    pub fn lend(self) -> Option<LentBlock> {
        self.shared.private.then_some(LentBlock(self))
    }
}

/// A block of a private pool as bytes. Dropping it returns the block.
#[derive(Debug)]
pub struct LentBlock(Block);

impl AsRef<[u8]> for LentBlock {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes().unwrap_or_default()
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
        let pool = Pool::private(4, 16_384).unwrap();
        assert_eq!((pool.blocks(), pool.free()), (4, 4));
        let index = pool.take().unwrap();
        let block = pool.check_out(index, 100);
        assert_eq!((block.index(), block.offset(), block.len(), pool.free()), (0, 0, 100, 3));
        assert!(block.read_bytes(99, &mut [0]).is_ok() && block.read_bytes(100, &mut [0]).is_err());
        let lent = block.lend().unwrap();
        assert_eq!((lent.as_ref().len(), pool.free()), (100, 3));
        drop(lent);
        assert_eq!(pool.free(), 4);
        let taken: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!(taken.len(), 4);
        assert_eq!(pool.take(), None);
    }

    #[test]
    fn blocks_that_others_may_write_are_not_lent() {
        let pool = Pool::new(Region::anonymous(65_536, 4096).unwrap(), 4096).unwrap();
        let block = pool.check_out(pool.take().unwrap(), 10);
        assert_eq!(block.bytes(), None);
        assert!(block.lend().is_none());
        assert_eq!(pool.free(), 16);
    }

    #[test]
    fn odd_sizes_are_refused() {
        let region = Region::anonymous(65_536, 4096).unwrap();
        for block in [0, 1, 2048, 5000, 131_072] {
            let refused = Pool::new(region.clone(), block).unwrap_err();
            assert_eq!(refused, PoolError::Shape { region: 65_536, block });
        }
        assert!(Pool::private(0, 4096).is_err() && Pool::private(usize::MAX, 4096).is_err());
    }
}
