//! The one way to touch memory that another side may read or write at the same time.
//!
//! Shared memory is never a slice: a `&[u8]` promises that nobody writes, a `&mut [u8]` that nobody else looks, and both are
//! false while a kernel runs. Implementations index 32-bit words with atomic or volatile accesses.

use core::ops::Deref;

use crate::stamped::{self, Record};

/// Words of a slot and of a completion, both of which fill a cache line. To move one word by word would be to look anew for each of them
/// whether it lies inside.
pub const LINE_WORDS: usize = 16;

/// The words of a line.
pub type Line = [u32; LINE_WORDS];

/// Words of memory shared with a device or with other threads.
///
/// Indices are in words. Implementations must not panic: a load beyond the end returns 0 and a store beyond the end is
/// dropped, since every caller in this crate derives its indices from a validated [`Geometry`](crate::geometry::Geometry).
pub trait SharedWords: Send + Sync {
    /// Length in words.
    fn len(&self) -> usize;

    /// Whether there is no word at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Loads a word; accesses that follow in program order stay behind it (acquire).
    fn load_acquire(&self, index: usize) -> u32;

    /// Loads a word without ordering anything.
    fn load(&self, index: usize) -> u32;

    /// Stores a word without ordering anything.
    fn store(&self, index: usize, value: u32);

    /// Stores a line, its first word last, without ordering anything: write-combined memory takes it in one go.
    fn store_line(&self, index: usize, line: &Line) {
        for i in (1..LINE_WORDS).chain([0]) {
            self.store(index + i, line[i]);
        }
    }

    /// Loads a line that is a [stamped] record, if it is wholly there.
    fn load_record(&self, index: usize, stamp: u32) -> Option<Record> {
        stamped::assemble(stamp, |i| self.load_acquire(index + i))
    }

    /// Makes every earlier store of this thread visible before any later one, on write-combined memory too (`sfence` on
    /// x86-64, `dsb st` on Arm; a release fence where the memory is ordinary).
    fn publish_fence(&self);
}

impl<T: Deref<Target: SharedWords> + Send + Sync> SharedWords for T {
    fn len(&self) -> usize {
        self.deref().len()
    }
    fn load_acquire(&self, index: usize) -> u32 {
        self.deref().load_acquire(index)
    }
    fn load(&self, index: usize) -> u32 {
        self.deref().load(index)
    }
    fn store(&self, index: usize, value: u32) {
        self.deref().store(index, value);
    }
    fn store_line(&self, index: usize, line: &Line) {
        self.deref().store_line(index, line);
    }
    fn load_record(&self, index: usize, stamp: u32) -> Option<Record> {
        self.deref().load_record(index, stamp)
    }
    fn publish_fence(&self) {
        self.deref().publish_fence();
    }
}

/// Plain atomics: what host threads share with each other, and what the tests use.
impl SharedWords for [core::sync::atomic::AtomicU32] {
    fn len(&self) -> usize {
        <[_]>::len(self)
    }
    fn load_acquire(&self, index: usize) -> u32 {
        self.get(index).map_or(0, |word| word.load(core::sync::atomic::Ordering::Acquire))
    }
    fn load(&self, index: usize) -> u32 {
        self.get(index).map_or(0, |word| word.load(core::sync::atomic::Ordering::Relaxed))
    }
    fn store(&self, index: usize, value: u32) {
        if let Some(word) = self.get(index) {
            word.store(value, core::sync::atomic::Ordering::Relaxed);
        }
    }
    fn publish_fence(&self) {
        core::sync::atomic::fence(core::sync::atomic::Ordering::Release);
    }
}
