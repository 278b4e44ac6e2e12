//! Many producers on one runtime.

use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use vyre_protocol::geometry::Priority;
use vyre_protocol::ring::{Completion, PublishError, Reservation, Ticket};
use vyre_protocol::slot::Slot;

use crate::error::WaitError;
use crate::runtime::Runtime;

/// A share of a [`Runtime`]: clone it, and publish and wait from as many threads as you like. The runtime ends with the last one.
///
/// A call holds the runtime for as long as it takes to write its slots or to look for completions, never while it waits. Of the
/// threads that wait one looks for the completions of all; the others sleep until there are some.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Completions have come, or nobody looks for them any more.
    changed: Condvar,
}

struct State {
    runtime: Runtime,
    /// A thread looks for completions.
    watched: bool,
}

/// Slots whose tickets are taken: they begin when [`publish`](Self::publish) is called. Dropping it gives them up, as when their
/// producer dies: they are never run and count as cancelled.
#[must_use = "what is reserved holds up its partition until it is published or dropped"]
pub struct Reserved {
    client: Client,
    /// The launch whose ring it belongs to.
    launch: u64,
    reservation: Option<Reservation>,
    slots: Vec<Slot>,
}

/// A nap of the thread that looks for completions.
const NAP: Duration = Duration::from_micros(50);

impl Client {
    /// Shares a runtime.
    #[must_use]
    pub fn new(runtime: Runtime) -> Client {
        let state = State { runtime, watched: false };
        Client { shared: Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() }) }
    }

    /// Publishes a slot.
    ///
    /// # Errors
    /// [`PublishError`]; nothing was changed.
    pub fn publish(&self, priority: Priority, slot: &Slot) -> Result<Ticket, PublishError> {
        self.lock().runtime.publish(priority, slot)
    }

    /// Publishes all slots or none. Their tickets follow each other.
    ///
    /// # Errors
    /// [`PublishError`]; nothing was changed.
    pub fn publish_all(&self, priority: Priority, slots: &[Slot]) -> Result<Range<u64>, PublishError> {
        self.lock().runtime.publish_all(priority, slots)
    }

    /// Takes the tickets of all slots or of none. They begin only when [`Reserved::publish`] says so; meanwhile whoever shall hear of
    /// the tickets can be told. What others publish behind them in this partition waits for that, other partitions do not.
    ///
    /// # Errors
    /// [`PublishError`]; nothing was changed.
    pub fn reserve(&self, priority: Priority, slots: &[Slot]) -> Result<Reserved, PublishError> {
        let mut state = self.lock();
        let reservation = Some(state.runtime.reserve(priority, slots)?);
        let launch = state.runtime.launch_number();
        Ok(Reserved { client: self.clone(), launch, reservation, slots: slots.to_vec() })
    }

    /// Waits for one ticket. Only one thread may wait for it.
    ///
    /// # Errors
    /// [`WaitError`] if the time is up, the device is lost or wrote nonsense.
    pub fn wait(&self, ticket: Ticket, timeout: Duration) -> Result<Completion, WaitError> {
        let start = Instant::now();
        let mut state = self.lock();
        loop {
            let watched = state.watched;
            let found = if watched { state.runtime.take(ticket) } else { state.runtime.poll(ticket)? };
            if let Some(completion) = found {
                return Ok(completion);
            }
            let left = timeout.saturating_sub(start.elapsed());
            if left.is_zero() {
                let outstanding = state.runtime.tally().outstanding();
                return Err(WaitError::Timeout { ticket: Some(ticket), timeout, outstanding });
            }
            state = if watched { self.sleep(state, left) } else { self.watch(state, ticket, left) };
        }
    }

    /// Sleeps until the thread that watches has something for others, or leaves.
    fn sleep<'a>(&self, state: MutexGuard<'a, State>, left: Duration) -> MutexGuard<'a, State> {
        self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Passes time, with the runtime free for others, until there is news or the ticket's completion.
    fn watch<'a>(&'a self, mut state: MutexGuard<'a, State>, ticket: Ticket, left: Duration) -> MutexGuard<'a, State> {
        let start = Instant::now();
        let (spin, yielding) = state.runtime.wait_phases();
        state.watched = true;
        loop {
            drop(state);
            match start.elapsed() {
                waited if waited < spin => std::hint::spin_loop(),
                waited if waited < yielding => std::thread::yield_now(),
                waited => std::thread::sleep(NAP.min(left.saturating_sub(waited))),
            }
            state = self.lock();
            if state.runtime.has_news() || state.runtime.has_passed(ticket) || start.elapsed() >= left {
                state.watched = false;
                // One of those who sleep watches next, and the completions that are reaped now may be theirs.
                self.shared.changed.notify_all();
                return state;
            }
        }
    }

    /// Waits for all tickets and gives their completions in the same order: one wait, however many they are.
    ///
    /// # Errors
    /// [`WaitError`] as for [`wait`](Self::wait); the completions that had come can still be taken.
    pub fn wait_all(&self, tickets: &[Ticket], timeout: Duration) -> Result<Vec<Completion>, WaitError> {
        let start = Instant::now();
        let mut completions = Vec::with_capacity(tickets.len());
        for ticket in tickets {
            match self.wait(*ticket, timeout.saturating_sub(start.elapsed())) {
                Ok(completion) => completions.push(completion),
                Err(error) => {
                    completions.into_iter().for_each(|completion| self.lock().runtime.keep(completion));
                    return Err(error);
                }
            }
        }
        Ok(completions)
    }

    /// Does anything else with the runtime, alone: tenants, resources, the log. Other threads wait meanwhile, so it should not.
    pub fn with<R>(&self, act: impl FnOnce(&mut Runtime) -> R) -> R {
        let result = act(&mut self.lock().runtime);
        self.shared.changed.notify_all();
        result
    }

    /// A thread that died while it held the runtime did so between two of its steps.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reserved {
    /// The tickets, oldest first.
    pub fn tickets(&self) -> impl Iterator<Item = Ticket> + use<> {
        let (priority, numbers) =
            self.reservation.as_ref().map_or((Priority::Normal, 0..0), |held| (held.priority(), held.tickets()));
        numbers.map(move |number| Ticket { priority, number })
    }

    /// Publishes the slots. If the kernel was aborted or opened again since, their tickets were reported then, and nothing is published.
    pub fn publish(mut self) {
        self.end(|runtime, reservation, slots| runtime.commit(reservation, slots));
    }

    fn end(&mut self, act: impl FnOnce(&mut Runtime, Reservation, &[Slot])) {
        let Some(reservation) = self.reservation.take() else { return };
        let mut state = self.client.lock();
        if state.runtime.launch_number() == self.launch {
            act(&mut state.runtime, reservation, &self.slots);
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.end(|runtime, reservation, _| runtime.abandon(reservation));
    }
}
