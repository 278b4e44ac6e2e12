//! Many producers on one runtime.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use vyre_protocol::geometry::Priority;
use vyre_protocol::ring::{Completion, PublishError, Reservation, Ticket};
use vyre_protocol::slot::Slot;

use crate::error::WaitError;
use crate::runtime::Runtime;

/// A share of a [`Runtime`]: clone it, and publish and wait from as many threads as you like. The runtime ends with the last one.
///
/// A call holds the runtime for as long as it takes to write its slots or to look for completions, never while it waits. Of the
/// threads that wait one looks for the completions of all; the others sleep until theirs have come.
#[derive(Clone)]
pub struct Client {
    state: Arc<Mutex<State>>,
}

struct State {
    runtime: Runtime,
    /// A thread looks for completions.
    watched: bool,
    /// The others that wait.
    asleep: Vec<Arc<Sleeper>>,
    /// Most threads that spin while they wait: half of the processors. The others are for those who publish, and for a device that is
    /// host threads.
    may_spin: usize,
}

struct Sleeper {
    /// The last of its tickets that has yet to come; before that it would only sleep again.
    ticket: Ticket,
    woken: AtomicBool,
    thread: Thread,
}

/// Threads to be woken once the runtime is free again, so that none of them waits for it.
#[must_use = "they are no longer among those who sleep, so nobody else wakes them"]
struct Woken(Vec<Arc<Sleeper>>);

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

/// Looks at the next completion between two looks at the clock and the runtime. Each of the latter takes the runtime from those who
/// publish.
const LOOKS: usize = 32;

impl State {
    /// Takes those who sleep and whose completions have come.
    fn found(&mut self) -> Woken {
        let State { runtime, asleep, .. } = self;
        Woken(asleep.extract_if(.., |sleeper| runtime.has_passed(sleeper.ticket)).collect())
    }

    /// The same for a thread that leaves: if nobody looks for completions any more, one of those who sleep is to.
    fn left(&mut self) -> Woken {
        let Woken(mut woken) = self.found();
        if !self.watched && woken.is_empty() {
            woken.extend(self.asleep.pop());
        }
        Woken(woken)
    }
}

impl Woken {
    fn wake(self) {
        for sleeper in self.0 {
            sleeper.woken.store(true, Ordering::Release);
            sleeper.thread.unpark();
        }
    }
}

impl Client {
    /// Shares a runtime.
    #[must_use]
    pub fn new(runtime: Runtime) -> Client {
        let may_spin = runtime.processors / 2;
        let state = State { runtime, watched: false, asleep: Vec::new(), may_spin };
        Client { state: Arc::new(Mutex::new(state)) }
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
        let tickets = std::slice::from_ref(&ticket);
        let (state, completion) = self.first(self.lock(), tickets, timeout, Instant::now())?;
        leave(state);
        Ok(completion)
    }

    /// Waits for the first of some tickets. Where another thread looks for completions it sleeps until all of them have come, since it is to
    /// wait for the others next. If it fails, it has left.
    fn first<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        tickets: &[Ticket],
        timeout: Duration,
        start: Instant,
    ) -> Result<(MutexGuard<'a, State>, Completion), WaitError> {
        let ticket = tickets[0];
        loop {
            let watched = state.watched;
            let found = if watched { Ok(state.runtime.take(ticket)) } else { state.runtime.poll(ticket) };
            let error = match found {
                Ok(Some(completion)) => return Ok((state, completion)),
                Ok(None) => {
                    let left = timeout.saturating_sub(start.elapsed());
                    if !left.is_zero() {
                        state =
                            if watched { self.sleep(state, tickets, left) } else { self.watch(state, ticket, left) };
                        continue;
                    }
                    let outstanding = state.runtime.tally().outstanding();
                    WaitError::Timeout { ticket: Some(ticket), timeout, outstanding }
                }
                Err(error) => error,
            };
            leave(state);
            return Err(error);
        }
    }

    /// Sleeps until the thread that watches has found the last of the tickets, or leaves.
    fn sleep<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        tickets: &[Ticket],
        left: Duration,
    ) -> MutexGuard<'a, State> {
        let start = Instant::now();
        // Beside this thread and those who sleep already, the one that watches spins.
        let spin =
            if state.asleep.len() + 2 <= state.may_spin { state.runtime.wait_phases().0 } else { Duration::ZERO };
        let last = tickets.iter().rfind(|ticket| !state.runtime.has_passed(**ticket)).unwrap_or(&tickets[0]);
        let sleeper = Sleeper { ticket: *last, woken: AtomicBool::new(false), thread: thread::current() };
        let sleeper = Arc::new(sleeper);
        state.asleep.push(Arc::clone(&sleeper));
        drop(state);
        while !sleeper.woken.load(Ordering::Acquire) {
            match start.elapsed() {
                waited if waited >= left => break,
                waited if waited < spin => std::hint::spin_loop(),
                waited => thread::park_timeout(left - waited),
            }
        }
        let mut state = self.lock();
        state.asleep.retain(|other| !Arc::ptr_eq(other, &sleeper));
        state
    }

    /// Passes time, with the runtime free for others, until there is news or the ticket's completion.
    fn watch<'a>(&'a self, mut state: MutexGuard<'a, State>, ticket: Ticket, left: Duration) -> MutexGuard<'a, State> {
        let start = Instant::now();
        let (spin, yielding) = state.runtime.wait_phases();
        state.watched = true;
        loop {
            let woken = state.found();
            let lookout = state.runtime.lookout();
            drop(state);
            woken.wake();
            match start.elapsed() {
                waited if waited < spin => lookout.spin(LOOKS),
                waited if waited < yielding => thread::yield_now(),
                waited => thread::sleep(NAP.min(left.saturating_sub(waited))),
            }
            state = self.lock();
            if state.runtime.has_news() || state.runtime.has_passed(ticket) || start.elapsed() >= left {
                state.watched = false;
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
        let mut state = self.lock();
        for done in 0..tickets.len() {
            match self.first(state, &tickets[done..], timeout, start) {
                Ok((held, completion)) => {
                    state = held;
                    completions.push(completion);
                }
                Err(error) => {
                    let runtime = &mut self.lock().runtime;
                    completions.into_iter().for_each(|completion| runtime.keep(completion));
                    return Err(error);
                }
            }
        }
        leave(state);
        Ok(completions)
    }

    /// Does anything else with the runtime, alone: tenants, resources, the log. Other threads wait meanwhile, so it should not.
    pub fn with<R>(&self, act: impl FnOnce(&mut Runtime) -> R) -> R {
        let mut state = self.lock();
        let result = act(&mut state.runtime);
        let woken = Woken(std::mem::take(&mut state.asleep));
        drop(state);
        woken.wake();
        result
    }

    /// A thread that died while it held the runtime did so between two of its steps.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a wait.
fn leave(mut state: MutexGuard<'_, State>) {
    let woken = state.left();
    drop(state);
    woken.wake();
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
