//! Completions that were reaped while somebody waited for another.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use vyre_protocol::ring::{Completion, Ticket};

/// Completions in the order in which they came, each found by its ticket too.
#[derive(Default)]
pub(crate) struct Passed {
    completions: HashMap<Ticket, Completion, BuildHasherDefault<TicketHasher>>,
    /// May name tickets that were taken.
    order: VecDeque<Ticket>,
}

/// Names of taken tickets that may pile up before they are cleared away.
const STALE: usize = 64;

/// Multiplies by an odd number with its bits spread, as Fibonacci hashing does. The host counts tickets itself, so nobody can choose
/// them to collide, and where many wait each completion is hashed three times while the others want the runtime.
#[derive(Default)]
struct TicketHasher(u64);

impl Hasher for TicketHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64((*byte).into()));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_isize(&mut self, discriminant: isize) {
        self.write_u64(discriminant as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Passed {
    pub(crate) fn push(&mut self, completion: Completion) {
        self.completions.insert(completion.ticket, completion);
        self.order.push_back(completion.ticket);
        if self.order.len() > 2 * self.completions.len() + STALE {
            self.order.retain(|ticket| self.completions.contains_key(ticket));
        }
    }

    pub(crate) fn take(&mut self, ticket: Ticket) -> Option<Completion> {
        self.completions.remove(&ticket)
    }

    pub(crate) fn contains(&self, ticket: Ticket) -> bool {
        self.completions.contains_key(&ticket)
    }

    /// The one that has waited longest.
    pub(crate) fn pop(&mut self) -> Option<Completion> {
        while let Some(ticket) = self.order.pop_front() {
            if let Some(completion) = self.completions.remove(&ticket) {
                return Some(completion);
            }
        }
        None
    }

    /// All, oldest first.
    pub(crate) fn drain(&mut self) -> Vec<Completion> {
        std::iter::from_fn(|| self.pop()).collect()
    }
}

#[cfg(test)]
mod tests {
    use vyre_protocol::completion::Status;
    use vyre_protocol::fault::Fault;
    use vyre_protocol::geometry::Priority;

    use super::*;

    #[test]
    fn names_of_taken_completions_do_not_pile_up() {
        let mut passed = Passed::default();
        for number in 0..10_000 {
            let ticket = Ticket { priority: Priority::Low, number };
            let (status, fault) = (Status::Done, Fault::None);
            let completion =
                Completion { ticket, operation: 1, status, fault, fault_word: 0, results: [0; 2], clock: [0; 2] };
            passed.push(completion);
            if number % 100 != 0 {
                assert_eq!(passed.take(ticket), Some(completion));
            }
        }
        assert!(passed.order.len() <= 2 * 100 + STALE + 1, "{}", passed.order.len());
        let rest = passed.drain();
        assert!(rest.iter().map(|completion| completion.ticket.number).eq((0..10_000).step_by(100)));
    }
}
