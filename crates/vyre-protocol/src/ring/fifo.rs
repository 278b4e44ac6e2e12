//! The tickets of one partition, as the host counts them.
//!
//! Tickets are taken, become visible to the device, and end, in this order; outstanding ones lie between the oldest and the next one to be
//! taken, never more than the partition has places. So a ticket's place follows from its distance to the oldest one, and that from the
//! doorbell: the paths that each slot takes need no division.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use crate::geometry::Partition;

/// Whose ticket is outstanding at a place of the ring.
#[derive(Debug, Clone, Copy)]
pub(super) struct Occupant {
    /// In 16 bits, as in a completion, so that a place takes four bytes.
    pub(super) tenant: u16,
    /// Its producer gave it up: when it completes, nobody hears of it.
    pub(super) abandoned: bool,
}

#[derive(Debug)]
pub(super) struct Fifo {
    partition: Partition,
    /// Wire tickets count modulo this.
    modulus: u32,
    /// The next ticket to be taken.
    taken: u64,
    /// Tickets below which the device sees all.
    visible: u64,
    /// The same in wire form.
    doorbell: u32,
    /// Tickets below which nothing is outstanding.
    oldest: u64,
    /// The place that is the oldest one's, counted from the partition's first.
    oldest_place: u32,
    /// What was committed behind a reservation that was not, first ticket to end.
    waiting: BTreeMap<u64, u64>,
    /// Per place of the partition.
    occupants: Vec<Option<Occupant>>,
}

impl Fifo {
    pub(super) fn new(partition: Partition) -> Self {
        Fifo {
            partition,
            modulus: partition.modulus(),
            taken: 0,
            visible: 0,
            doorbell: 0,
            oldest: 0,
            oldest_place: 0,
            waiting: BTreeMap::new(),
            occupants: vec![None; partition.length as usize],
        }
    }

    pub(super) fn partition(&self) -> Partition {
        self.partition
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    pub(super) fn visible(&self) -> u64 {
        self.visible
    }

    pub(super) fn oldest(&self) -> u64 {
        self.oldest
    }

    /// Index in the ring of the oldest outstanding slot.
    pub(super) fn oldest_slot(&self) -> u32 {
        self.partition.first + self.oldest_place
    }

    /// Places between the next ticket and the oldest outstanding one. All of them are free, and the one behind them is not.
    pub(super) fn free(&self) -> u32 {
        self.partition.length - (self.taken - self.oldest) as u32
    }

    /// The place of a ticket that is less than a lap ahead of the oldest.
    fn place(&self, ticket: u64) -> usize {
        let place = self.oldest_place + (ticket - self.oldest) as u32;
        (if place < self.partition.length { place } else { place - self.partition.length }) as usize
    }

    /// Takes that many tickets, of which there must be as many [free](Self::free).
    #[inline]
    pub(super) fn take(&mut self, count: usize, occupant: Occupant) {
        let first = self.place(self.taken);
        let before_end = count.min(self.occupants.len() - first);
        self.occupants[first..first + before_end].fill(Some(occupant));
        self.occupants[..count - before_end].fill(Some(occupant));
        self.taken += count as u64;
    }

    /// The occupant of a ticket that was taken and is not visible yet.
    pub(super) fn occupant(&mut self, ticket: u64) -> Option<&mut Occupant> {
        let place = self.place(ticket);
        self.occupants.get_mut(place)?.as_mut()
    }

    /// Makes the tickets visible, with what waits behind them, and gives the doorbell to be rung; or lets them wait for those before them.
    pub(super) fn show(&mut self, tickets: Range<u64>) -> Option<u32> {
        if tickets.is_empty() {
            return None;
        }
        if tickets.start != self.visible {
            self.waiting.insert(tickets.start, tickets.end);
            return None;
        }
        self.visible = tickets.end;
        while let Some(next) = self.waiting.remove(&self.visible) {
            self.visible = next;
        }
        self.doorbell = self.partition.wire(self.visible);
        Some(self.doorbell)
    }

    /// Ends the ticket with this wire form and frees its place; `None` if no visible one that is outstanding has it.
    #[inline]
    pub(super) fn end(&mut self, wire: u32) -> Option<(u64, Occupant)> {
        if wire >= self.modulus {
            return None;
        }
        let lap = if wire < self.doorbell { 0 } else { self.modulus };
        // Right also where the sum is beyond 32 bits, since the difference is not.
        let back = self.doorbell.wrapping_add(lap).wrapping_sub(wire);
        if u64::from(back) > self.visible - self.oldest {
            return None;
        }
        let number = self.visible - u64::from(back);
        let place = self.place(number);
        let occupant = self.occupants[place].take()?;
        if number == self.oldest {
            self.pass_over();
        }
        Some((number, occupant))
    }

    /// Finds the oldest outstanding ticket. Each is passed over once.
    fn pass_over(&mut self) {
        while self.oldest < self.taken && self.occupants[self.oldest_place as usize].is_none() {
            self.oldest += 1;
            self.oldest_place += 1;
            if self.oldest_place == self.partition.length {
                self.oldest_place = 0;
            }
        }
    }

    /// Ends all outstanding tickets, those that the device does not see included, and gives them, oldest first.
    pub(super) fn cancel(&mut self) -> Vec<(u64, Occupant)> {
        let mut cancelled = Vec::new();
        for ticket in self.oldest..self.taken {
            let place = self.place(ticket);
            cancelled.extend(self.occupants[place].take().map(|occupant| (ticket, occupant)));
        }
        self.waiting.clear();
        self.pass_over();
        self.visible = self.taken;
        if self.partition.length > 0 {
            self.doorbell = self.partition.wire(self.visible);
        }
        cancelled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OCCUPANT: Occupant = Occupant { tenant: 0, abandoned: false };

    /// One whose next ticket is this, with nothing outstanding.
    fn starting_at(partition: Partition, ticket: u64) -> Fifo {
        let (taken, visible, oldest) = (ticket, ticket, ticket);
        let (doorbell, oldest_place) = (partition.wire(ticket), partition.slot(ticket) - partition.first);
        Fifo { taken, visible, oldest, doorbell, oldest_place, ..Fifo::new(partition) }
    }

    #[test]
    fn wire_tickets_that_start_again_at_0_are_told_apart_as_the_geometry_does() {
        let partition = Partition { first: 7, length: 5 };
        let modulus = u64::from(partition.modulus());
        for start in modulus - 6..modulus + 2 {
            let mut fifo = starting_at(partition, start);
            fifo.take(5, OCCUPANT);
            assert_eq!((fifo.free(), fifo.show(start..start + 4)), (0, Some(partition.wire(start + 4))));
            // The last one is not visible, and the one before the first has ended.
            for number in [start + 4, start - 1] {
                assert!(fifo.end(partition.wire(number)).is_none(), "{start} {number}");
            }
            for (number, free) in [(start + 2, 0), (start, 1), (start + 1, 3), (start + 3, 4)] {
                let wire = partition.wire(number);
                assert_eq!(partition.widen(wire, start + 4), Some(number));
                assert_eq!(fifo.end(wire).map(|(number, _)| number), Some(number));
                assert!(fifo.end(wire).is_none(), "it ends once");
                assert_eq!((fifo.free(), fifo.oldest_slot()), (free, partition.slot(fifo.oldest())));
            }
            assert!(fifo.end(partition.modulus()).is_none() && fifo.end(u32::MAX).is_none());
        }
    }

    #[test]
    fn what_is_cancelled_is_outstanding_no_more() {
        let mut fifo = starting_at(Partition { first: 0, length: 4 }, 9);
        fifo.take(3, OCCUPANT);
        fifo.take(1, OCCUPANT);
        assert_eq!(fifo.show(9..11), Some(11));
        assert_eq!(fifo.show(12..13), None, "it waits for 11");
        assert!(fifo.end(10).is_some());
        let cancelled: Vec<_> = fifo.cancel().into_iter().map(|(number, _)| number).collect();
        assert_eq!((cancelled, fifo.free(), fifo.visible()), (vec![9, 11, 12], 4, 13));
    }
}
