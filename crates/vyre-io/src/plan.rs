//! Which bytes to read next: the stream as a pure state machine, without an operating system.

use std::collections::VecDeque;

use crate::backend::Request;

/// Multiple that offsets and lengths of direct reads keep to; no device in use asks for more than a page.
pub(crate) const DIRECT_ALIGN: u32 = 4096;

/// What the plan knows of its source.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) size: Option<u64>,
    pub(crate) seekable: bool,
    pub(crate) direct: bool,
    /// Bytes that a block gets.
    pub(crate) block_size: u32,
}

/// One block of the stream that is being filled.
#[derive(Debug, Clone, Copy)]
struct Fill {
    block: u32,
    offset: u64,
    want: u32,
    have: u32,
    done: bool,
}

/// What became of a finished read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The block is full, or the stream ended in it.
    Filled,
    /// A short read: this is the rest.
    Again(Request),
    /// A sized file ended at this byte, before its size.
    Truncated(u64),
}

/// A filled block, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) block: u32,
    pub(crate) offset: u64,
    pub(crate) len: u32,
    pub(crate) last: bool,
}

/// The stream of one source.
#[derive(Debug)]
pub(crate) struct Plan {
    shape: Shape,
    /// Offset of the next block to begin.
    next: u64,
    /// Blocks that were begun and not handed out, in order.
    fills: VecDeque<Fill>,
    /// No further block is begun.
    ended: bool,
}

impl Plan {
    pub(crate) fn new(shape: Shape) -> Self {
        Plan { shape, next: 0, fills: VecDeque::new(), ended: false }
    }

    /// Whether another block can be begun now. A source without size is read one block at a time, since only its end says
    /// where it ends.
    pub(crate) fn wants_block(&self) -> bool {
        !self.ended && (self.shape.size.is_some() || self.fills.is_empty())
    }

    /// Whether all blocks were handed out.
    pub(crate) fn is_over(&self) -> bool {
        self.ended && self.fills.is_empty()
    }

    /// Begins the next block.
    pub(crate) fn begin(&mut self, block: u32) -> Request {
        let offset = self.next;
        let left = self.shape.size.map_or(u64::MAX, |size| size - offset);
        let want = u64::from(self.shape.block_size).min(left) as u32;
        self.next += u64::from(want);
        self.ended = self.shape.size.is_some_and(|size| self.next >= size);
        let fill = Fill { block, offset, want, have: 0, done: false };
        self.fills.push_back(fill);
        self.request(fill, self.shape.direct)
    }

    fn request(&self, fill: Fill, direct: bool) -> Request {
        let rest = fill.want - fill.have;
        Request {
            block: fill.block,
            start: fill.have,
            // A direct read of the tail asks for whole sectors and gets what there is.
            len: if direct { rest.next_multiple_of(DIRECT_ALIGN) } else { rest },
            offset: self.shape.seekable.then_some(fill.offset + u64::from(fill.have)),
            direct,
        }
    }

    /// The request of a block once more, buffered: for a file system that refuses a direct read only when it comes to it.
    pub(crate) fn again(&mut self, block: u32, direct: bool) -> Option<Request> {
        let fill = *self.fills.iter().find(|fill| fill.block == block)?;
        self.shape.direct &= direct;
        Some(self.request(fill, direct && fill.have == 0))
    }

    /// Takes the result of a read.
    pub(crate) fn read(&mut self, block: u32, bytes: u32) -> Step {
        let sized = self.shape.size.is_some();
        let Some(place) = self.fills.iter().position(|fill| fill.block == block) else { return Step::Filled };
        let fill = &mut self.fills[place];
        fill.have = (fill.have + bytes).min(fill.want);
        if bytes == 0 && sized {
            return Step::Truncated(fill.offset + u64::from(fill.have));
        }
        if bytes == 0 {
            self.ended = true;
        }
        let fill = &mut self.fills[place];
        fill.done = bytes == 0 || fill.have == fill.want;
        if fill.done {
            return Step::Filled;
        }
        // The rest begins anywhere, so it goes through the page cache.
        let fill = *fill;
        Step::Again(self.request(fill, false))
    }

    /// Hands out the next block if it is full. An empty last block is not handed out; its index comes back in `Err`.
    pub(crate) fn ready(&mut self) -> Option<Result<Ready, u32>> {
        let front = *self.fills.front().filter(|fill| fill.done)?;
        self.fills.pop_front();
        if front.have == 0 {
            return Some(Err(front.block));
        }
        Some(Ok(Ready { block: front.block, offset: front.offset, len: front.have, last: self.is_over() }))
    }

    /// Offset at which a block's next read begins; for error messages.
    pub(crate) fn position(&self, block: u32) -> u64 {
        let fill = self.fills.iter().find(|fill| fill.block == block);
        fill.map_or(0, |fill| fill.offset + u64::from(fill.have))
    }

    /// Gives up; returns the blocks that were begun.
    pub(crate) fn abandon(&mut self) -> Vec<u32> {
        self.ended = true;
        self.fills.drain(..).map(|fill| fill.block).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: u32 = 8192;

    fn plan(size: Option<u64>, seekable: bool, direct: bool) -> Plan {
        Plan::new(Shape { size, seekable, direct, block_size: BLOCK })
    }

    #[test]
    fn a_sized_file_is_cut_into_full_blocks_and_a_tail() {
        let mut plan = plan(Some(20_000), true, false);
        let requests: Vec<_> = (0..3).map(|block| plan.begin(block)).collect();
        assert!(!plan.wants_block());
        let lengths: Vec<_> = requests.iter().map(|r| (r.offset, r.len)).collect();
        assert_eq!(lengths, [(Some(0), 8192), (Some(8192), 8192), (Some(16_384), 3616)]);
        assert_eq!(plan.read(2, 3616), Step::Filled);
        assert_eq!(plan.ready(), None, "blocks come in order");
        assert_eq!((plan.read(0, 8192), plan.read(1, 8192)), (Step::Filled, Step::Filled));
        let last: Vec<_> = std::iter::from_fn(|| plan.ready()).map(|r| r.unwrap().last).collect();
        assert_eq!(last, [false, false, true]);
        assert!(plan.is_over());
    }

    #[test]
    fn a_short_direct_read_goes_on_through_the_page_cache_where_it_stopped() {
        let mut plan = plan(Some(16_384), true, true);
        assert!(plan.begin(0).direct);
        let rest = Request { block: 0, start: 100, len: 8092, offset: Some(100), direct: false };
        assert_eq!(plan.read(0, 100), Step::Again(rest));
        assert_eq!(plan.read(0, 8092), Step::Filled);
        assert!(plan.begin(1).direct, "the next block is direct again");
    }

    #[test]
    fn the_tail_of_a_direct_read_asks_for_whole_sectors() {
        let mut plan = plan(Some(5000), true, true);
        assert_eq!(plan.begin(0).len, 8192);
        assert_eq!(plan.read(0, 5000), Step::Filled);
        assert_eq!(plan.ready(), Some(Ok(Ready { block: 0, offset: 0, len: 5000, last: true })));
    }

    #[test]
    fn a_growing_file_gives_no_more_than_its_size() {
        let mut plan = plan(Some(5000), true, true);
        plan.begin(0);
        assert_eq!(plan.read(0, 8192), Step::Filled);
        assert_eq!(plan.ready().unwrap().unwrap().len, 5000);
    }

    #[test]
    fn a_file_that_ends_early_is_truncated() {
        let mut plan = plan(Some(16_384), true, false);
        plan.begin(0);
        plan.begin(1);
        assert!(matches!(plan.read(1, 100), Step::Again(_)));
        assert_eq!(plan.read(1, 0), Step::Truncated(8292));
        assert_eq!(plan.abandon(), [0, 1]);
    }

    #[test]
    fn a_pipe_fills_blocks_until_its_end() {
        let mut plan = plan(None, false, false);
        assert_eq!(plan.begin(0).offset, None);
        assert!(!plan.wants_block(), "one at a time");
        assert!(matches!(plan.read(0, 8000), Step::Again(Request { start: 8000, len: 192, offset: None, .. })));
        assert_eq!(plan.read(0, 192), Step::Filled);
        assert!(!plan.ready().unwrap().unwrap().last);
        plan.begin(1);
        assert_eq!(plan.read(1, 0), Step::Filled);
        assert_eq!(plan.ready(), Some(Err(1)), "an empty block is not handed out");
        assert!(plan.is_over());
    }

    #[test]
    fn a_refused_direct_read_is_asked_for_again_buffered() {
        let mut plan = plan(Some(16_384), true, true);
        plan.begin(0);
        let again = plan.again(0, false).unwrap();
        assert!(!again.direct && again.len == 8192);
        assert!(!plan.begin(1).direct);
    }
}
