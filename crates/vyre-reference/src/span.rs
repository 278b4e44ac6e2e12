//! A region: a part of a block of words that all threads share.

use std::sync::Arc;

use vyre_protocol::stamped::{self, Record};
use vyre_protocol::words::{LINE_WORDS, Line, SharedWords};

use crate::sync::{AtomicU32, Ordering, fence};

/// A region of shared words. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Span {
    block: Arc<[AtomicU32]>,
    first: usize,
    len: usize,
}

impl Span {
    /// A whole block of zeroed words.
    #[must_use]
    pub fn new(len: usize) -> Span {
        Span { block: (0..len).map(|_| AtomicU32::new(0)).collect(), first: 0, len }
    }

    /// A part of the span; what lies beyond its end is cut off.
    pub(crate) fn part(&self, first: usize, len: usize) -> Span {
        let first = first.min(self.len);
        Span { block: Arc::clone(&self.block), first: self.first + first, len: len.min(self.len - first) }
    }

    #[inline]
    fn word(&self, index: usize) -> Option<&AtomicU32> {
        if index < self.len { self.block.get(self.first + index) } else { None }
    }

    /// The words of a line, if all of them lie inside.
    #[inline]
    fn line(&self, index: usize) -> Option<&[AtomicU32]> {
        let end = index.checked_add(LINE_WORDS).filter(|end| *end <= self.len)?;
        self.block.get(self.first + index..self.first + end)
    }

    /// Adds and returns what was there before.
    pub(crate) fn add(&self, index: u32, value: u32, order: Ordering) -> u32 {
        self.word(index as usize).map_or(0, |word| word.fetch_add(value, order))
    }

    /// Stores a word behind everything stored before it, in one step with what others add to it.
    pub(crate) fn exchange(&self, index: u32, value: u32) {
        if let Some(word) = self.word(index as usize) {
            word.swap(value, Ordering::Release);
        }
    }

    /// Raises a word to at least `value`.
    pub(crate) fn max(&self, index: u32, value: u32) {
        if let Some(word) = self.word(index as usize) {
            word.fetch_max(value, Ordering::Relaxed);
        }
    }

    /// Whether the word was `old` and is `new` now; orders both ways.
    pub(crate) fn swap(&self, index: u32, old: u32, new: u32) -> bool {
        self.exchange_if(index, old, new).is_ok()
    }

    /// The same; gives what the word was instead.
    pub(crate) fn exchange_if(&self, index: u32, old: u32, new: u32) -> Result<(), u32> {
        let exchange = |word: &AtomicU32| word.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire);
        self.word(index as usize).map_or(Err(old), |word| exchange(word).map(drop))
    }

    /// Stores `new` if the word is `old`; returns what was there before.
    pub(crate) fn compare_swap(&self, index: u32, old: u32, new: u32) -> u32 {
        let exchange = |word: &AtomicU32| word.compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed);
        self.word(index as usize).map_or(0, |word| exchange(word).unwrap_or_else(|found| found))
    }

    /// Stores a word behind everything stored before it.
    pub(crate) fn store_release(&self, index: u32, value: u32) {
        if let Some(word) = self.word(index as usize) {
            word.store(value, Ordering::Release);
        }
    }
}

impl SharedWords for Span {
    fn len(&self) -> usize {
        self.len
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
            words.iter().zip(line).skip(1).for_each(|(word, value)| word.store(*value, Ordering::Relaxed));
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
        fence(Ordering::Release);
    }
}
