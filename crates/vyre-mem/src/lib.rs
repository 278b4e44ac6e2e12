//! Memory that a device or the operating system may read or write at any time, behind typed views.
//!
//! A [`Region`] is a range of bytes with an owner. It is never lent as a slice: while a kernel runs nobody can promise what
//! `&[u8]` promises. It is the common currency between `vyre-io`, whose io_uring fills it, and `vyre-vk`, whose device maps it;
//! neither crate knows the other.
//!
//! # Safety
//!
//! The unsafe code of this crate is the volatile and atomic access inside [`Region`]. It relies on one invariant, established by
//! the constructors: `ptr..ptr + len` is mapped readable and writable until `owner` is dropped.
#![allow(unsafe_code, reason = "raw memory behind a checked view is what this crate is for")]

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering, compiler_fence, fence};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use vyre_protocol::stamped::{self, Record};
use vyre_protocol::words::{LINE_WORDS, Line, SharedWords};

/// How stores to a region reach the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteOrder {
    /// Ordinary cached memory: a release fence orders stores.
    Cached,
    /// Possibly write-combined, as mappings of device memory are: stores need a store barrier, and loads are slow.
    WriteCombined,
}

/// The operating system gave no memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// The alignment is not a power of two of at least the page size, or the length is 0 or overflows.
    #[error(
        "cannot map {len} bytes at alignment {align}; the length must be positive, the alignment a power of two >= 4096"
    )]
    Shape {
        /// Bytes asked for.
        len: usize,
        /// Alignment asked for.
        align: usize,
    },
    /// The system call failed.
    #[error("mapping {len} bytes failed: {errno}; free memory or ask for less")]
    Os {
        /// Bytes asked for, rounded up.
        len: usize,
        /// The error number.
        errno: rustix::io::Errno,
    },
}

/// A range that does not lie inside its region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("bytes {offset}..{offset}+{len} do not lie inside a region of {region} bytes")]
pub struct RangeError {
    /// Start of the range.
    pub offset: usize,
    /// Length of the range.
    pub len: usize,
    /// Length of the region.
    pub region: usize,
}

/// A range of memory that others may write at any time. Cloning shares it; the memory is freed with the last clone.
#[derive(Clone)]
pub struct Region {
    ptr: NonNull<u8>,
    len: usize,
    order: WriteOrder,
    owner: Arc<dyn Any + Send + Sync>,
}

// SAFETY: all access goes through volatile or atomic operations, which any thread may do; the owner is Send and Sync.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Region { ptr, len, order, .. } = self;
        f.debug_struct("Region").field("ptr", ptr).field("len", len).field("order", order).finish()
    }
}

/// An anonymous mapping, unmapped on drop.
struct Mapping {
    ptr: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is only ever unmapped, by whichever thread drops it.
unsafe impl Send for Mapping {}
// SAFETY: as above; a shared Mapping can do nothing.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `ptr..ptr + len` is exactly what mmap returned, and every Region that points into it held the Arc that is
        // being dropped now. A failure would leave the pages mapped, which harms nobody.
        let _ = unsafe { munmap(self.ptr.as_ptr().cast(), self.len) };
    }
}

impl Region {
    /// Zeroed, private, anonymous memory. Address and length are multiples of `align`, the length at least `len`; huge pages
    /// are asked for.
    ///
    /// # Errors
    /// [`MapError`] if the shape is impossible or the system has no memory.
    pub fn anonymous(len: usize, align: usize) -> Result<Region, MapError> {
        let shape = MapError::Shape { len, align };
        if len == 0 || !align.is_power_of_two() || align < rustix::param::page_size() {
            return Err(shape);
        }
        let len = len.checked_next_multiple_of(align).ok_or(shape)?;
        // Mapping one alignment more than needed leaves room for an aligned start.
        let mapped = len.checked_add(align).ok_or(shape)?;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a fresh anonymous mapping at an address of the system's choice overlaps nothing.
        let start = unsafe { mmap_anonymous(std::ptr::null_mut(), mapped, ProtFlags::READ | ProtFlags::WRITE, flags) };
        let start = start.map_err(|errno| MapError::Os { len: mapped, errno })?;
        let start = NonNull::new(start.cast::<u8>()).ok_or(shape)?;
        let mapping = Mapping { ptr: start, len: mapped };
        let skip = start.as_ptr().align_offset(align);
        // SAFETY: `skip < align`, so `skip + len` lies inside the mapping of `len + align` bytes.
        let ptr = unsafe { start.add(skip) };
        // SAFETY: the range lies inside our own mapping; the advice changes no content. Huge pages are only a wish.
        let _ = unsafe { madvise(ptr.as_ptr().cast(), len, Advice::LinuxHugepage) };
        Ok(Region { ptr, len, order: WriteOrder::Cached, owner: Arc::new(mapping) })
    }

    /// A region over memory that `owner` keeps mapped.
    ///
    /// # Safety
    /// - `ptr..ptr + len` is readable and writable until the last clone of `owner` is dropped.
    /// - `ptr` is aligned to 4 bytes.
    /// - Nobody holds a Rust reference into the range as long as a clone of the region exists.
    #[must_use]
    pub unsafe fn from_raw_parts(
        ptr: NonNull<u8>,
        len: usize,
        order: WriteOrder,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Region {
        Region { ptr, len, order, owner }
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the region has no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Address of the first byte, for system calls and drivers.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.ptr.as_ptr()
    }

    /// How stores reach the other side.
    #[must_use]
    pub fn write_order(&self) -> WriteOrder {
        self.order
    }

    /// A part of the region that shares its owner.
    ///
    /// # Errors
    /// [`RangeError`] if the range does not lie inside, or its start is not a multiple of 4.
    pub fn slice(&self, range: Range<usize>) -> Result<Region, RangeError> {
        let len = range.end.saturating_sub(range.start);
        let error = RangeError { offset: range.start, len, region: self.len };
        if range.start > range.end || range.end > self.len || !range.start.is_multiple_of(4) {
            return Err(error);
        }
        // SAFETY: `range.start <= self.len`, so the pointer stays inside the mapping or one past its end.
        let ptr = unsafe { self.ptr.add(range.start) };
        Ok(Region { ptr, len, order: self.order, owner: Arc::clone(&self.owner) })
    }

    /// Copies bytes out. What another side writes meanwhile may be seen in part.
    ///
    /// # Errors
    /// [`RangeError`] if the range does not lie inside.
    pub fn read_bytes(&self, offset: usize, out: &mut [u8]) -> Result<(), RangeError> {
        self.check(offset, out.len())?;
        let mut at = offset;
        let (head, rest) = out.split_at_mut(self.unaligned_head(offset).min(out.len()));
        let mut words = rest.chunks_exact_mut(8);
        for byte in head {
            *byte = self.byte(at);
            at += 1;
        }
        for word in &mut words {
            // SAFETY: `at..at + 8` was checked to lie inside, and `unaligned_head` made the address a multiple of 8.
            let value = unsafe { self.ptr.add(at).cast::<u64>().read_volatile() };
            word.copy_from_slice(&value.to_ne_bytes());
            at += 8;
        }
        for byte in words.into_remainder() {
            *byte = self.byte(at);
            at += 1;
        }
        Ok(())
    }

    /// Copies bytes in. They are visible to another side after [`SharedWords::publish_fence`].
    ///
    /// # Errors
    /// [`RangeError`] if the range does not lie inside.
    pub fn write_bytes(&self, offset: usize, data: &[u8]) -> Result<(), RangeError> {
        self.check(offset, data.len())?;
        let mut at = offset;
        let (head, rest) = data.split_at(self.unaligned_head(offset).min(data.len()));
        for byte in head {
            self.set_byte(at, *byte);
            at += 1;
        }
        let (words, tail) = rest.as_chunks::<8>();
        for word in words {
            // SAFETY: as in `read_bytes`.
            unsafe { self.ptr.add(at).cast::<u64>().write_volatile(u64::from_ne_bytes(*word)) };
            at += 8;
        }
        for byte in tail {
            self.set_byte(at, *byte);
            at += 1;
        }
        Ok(())
    }

    /// Bytes before the next address that is a multiple of 8.
    fn unaligned_head(&self, offset: usize) -> usize {
        (self.ptr.as_ptr() as usize).wrapping_add(offset).wrapping_neg() % 8
    }

    fn byte(&self, at: usize) -> u8 {
        // SAFETY: callers have checked that `at < len`.
        unsafe { self.ptr.add(at).read_volatile() }
    }

    fn set_byte(&self, at: usize, value: u8) {
        // SAFETY: callers have checked that `at < len`.
        unsafe { self.ptr.add(at).write_volatile(value) }
    }

    fn check(&self, offset: usize, len: usize) -> Result<(), RangeError> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(RangeError { offset, len, region: self.len }),
        }
    }

    #[inline]
    fn word(&self, index: usize) -> Option<&AtomicU32> {
        if index >= self.len / 4 {
            return None;
        }
        // SAFETY: the word lies inside, regions start at multiples of 4, and the memory outlives `self`. An AtomicU32 may be
        // changed by others at any time; a device's 32-bit access is as atomic as the bus makes it, which is all we assume.
        Some(unsafe { AtomicU32::from_ptr(self.ptr.as_ptr().cast::<u32>().add(index)) })
    }

    /// The words of a line, if all of them lie inside.
    #[inline]
    fn line(&self, index: usize) -> Option<&[AtomicU32; LINE_WORDS]> {
        self.word(index.checked_add(LINE_WORDS - 1)?)?;
        // SAFETY: as in `word`, for each of them: the last one lies inside, so those before it do.
        Some(unsafe { self.ptr.cast::<u32>().add(index).cast().as_ref() })
    }
}

impl SharedWords for Region {
    fn len(&self) -> usize {
        self.len / 4
    }

    #[inline]
    fn load_acquire(&self, index: usize) -> u32 {
        self.word(index).map_or(0, |word| word.load(Ordering::Acquire))
    }

    #[inline]
    fn load(&self, index: usize) -> u32 {
        self.word(index).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    #[inline]
    fn store(&self, index: usize, value: u32) {
        if let Some(word) = self.word(index) {
            word.store(value, Ordering::Relaxed);
        }
    }

    #[inline]
    fn store_line(&self, index: usize, line: &Line) {
        if let Some(words) = self.line(index) {
            (1..LINE_WORDS).for_each(|i| words[i].store(line[i], Ordering::Relaxed));
            words[0].store(line[0], Ordering::Relaxed);
        }
    }

    #[inline]
    fn load_record(&self, index: usize, stamp: u32) -> Option<Record> {
        let words = self.line(index)?;
        stamped::assemble(stamp, |i| words[i].load(Ordering::Acquire))
    }

    #[inline]
    fn publish_fence(&self) {
        match self.order {
            WriteOrder::Cached => fence(Ordering::Release),
            WriteOrder::WriteCombined => store_barrier(),
        }
    }
}

/// Drains write-combining buffers and orders all stores before it against all after it.
fn store_barrier() {
    // Keeps the compiler from moving stores across the instruction below.
    compiler_fence(Ordering::SeqCst);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: `sfence` is part of SSE, which every x86-64 processor has; it touches no memory.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a barrier touches no memory and no flags.
    unsafe {
        std::arch::asm!("dsb st", options(nostack, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    compile_error!("the store barrier for write-combined memory is not known on this architecture");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anonymous_memory_is_aligned_zeroed_and_rounded_up() {
        let region = Region::anonymous(100_000, 65_536).unwrap();
        assert_eq!(region.len(), 131_072);
        assert_eq!(region.as_ptr() as usize % 65_536, 0);
        assert!((0..region.len() / 4).all(|i| region.load(i) == 0));
    }

    #[test]
    fn impossible_shapes_are_refused() {
        for (len, align) in [(0, 4096), (1, 0), (1, 4095), (1, 64), (usize::MAX, 4096), (usize::MAX - 4096, 4096)] {
            assert_eq!(Region::anonymous(len, align).unwrap_err(), MapError::Shape { len, align });
        }
    }

    #[test]
    fn bytes_survive_at_every_alignment() {
        let region = Region::anonymous(4096, 4096).unwrap();
        let data: Vec<u8> = (0..64).map(|i| i * 3 + 1).collect();
        for offset in 0..9 {
            for len in 0..data.len() {
                region.write_bytes(offset, &data[..len]).unwrap();
                let mut out = vec![0; len];
                region.read_bytes(offset, &mut out).unwrap();
                assert_eq!(out, data[..len]);
            }
        }
        region.store(0, 0x0403_0201);
        let mut out = [0; 2];
        region.read_bytes(1, &mut out).unwrap();
        assert_eq!(out, [2, 3]);
    }

    #[test]
    fn ranges_outside_are_refused_and_words_outside_do_nothing() {
        let region = Region::anonymous(4096, 4096).unwrap();
        assert!(region.read_bytes(4090, &mut [0; 7]).is_err());
        assert!(region.write_bytes(usize::MAX, &[0; 2]).is_err());
        assert!(region.slice(2..8).is_err() && region.slice(0..4097).is_err());
        region.store(1024, 7);
        assert_eq!((region.load(1024), region.load_acquire(usize::MAX)), (0, 0));
        let part = region.slice(8..16).unwrap();
        part.store(1, 5);
        assert_eq!(region.load(3), 5);
    }

    #[test]
    fn a_part_keeps_the_memory_alive() {
        let part = Region::anonymous(4096, 4096).unwrap().slice(4..8).unwrap();
        part.store(0, 9);
        part.publish_fence();
        assert_eq!(part.load_acquire(0), 9);
    }
}
