//! How threads sleep until there is something for them.

use std::sync::PoisonError;
use std::time::Duration;

use crate::sync::{AtomicBool, AtomicU32, Condvar, Mutex, MutexGuard, Ordering, fence};

/// Wakes sleepers; nearly free to ring when nobody sleeps.
#[derive(Default)]
pub(crate) struct Bell {
    asleep: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Bell {
    /// Wakes whoever sleeps. What the caller stored before, the sleeper sees, or it does not fall asleep.
    pub(crate) fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) {
            let guard = lock(&self.lock);
            self.asleep.store(false, Ordering::Relaxed);
            // Who wakes takes the lock.
            drop(guard);
            self.wake.notify_all();
        }
    }

    /// Sleeps until the bell rings or the time is up, unless `reason_to_stay_awake` holds.
    pub(crate) fn sleep(&self, timeout: Duration, reason_to_stay_awake: impl Fn() -> bool) {
        let guard = lock(&self.lock);
        self.asleep.store(true, Ordering::Relaxed);
        // Pairs with the fence in `ring`: either it sees us asleep, or we see what its caller stored.
        fence(Ordering::SeqCst);
        if !reason_to_stay_awake() {
            drop(self.wake.wait_timeout(guard, timeout));
        }
    }
}

/// Workers that have nothing to do: some look for work, and the others sleep. As long as one looks, nobody needs to be woken: it finds what
/// is published next, and if that is more than it takes it calls another. So a few tiles wake few workers, and many wake all, one after
/// the other.
pub(crate) struct Crew {
    /// How many look, and [`ASLEEP`] times how many sleep. Changes are acquired and released, since loom confuses ones that are not.
    idle: AtomicU32,
    /// Who sleeps. Who fell asleep last is called first: its processor is the likeliest to be awake.
    asleep: Mutex<Vec<u32>>,
    /// For each worker.
    wake: Vec<Condvar>,
}

/// A sleeper in [`Crew::idle`].
const ASLEEP: u32 = 1 << 16;

/// Most workers of a crew.
pub(crate) const MOST_WORKERS: u32 = ASLEEP - 1;

impl Crew {
    /// Of workers with the numbers below that.
    pub(crate) fn new(workers: u32) -> Self {
        let wake = (0..workers).map(|_| Condvar::new()).collect();
        Crew { idle: AtomicU32::new(0), asleep: Mutex::new(Vec::new()), wake }
    }

    /// How many sleep.
    #[cfg(all(test, loom))]
    pub(crate) fn sleepers(&self) -> u32 {
        self.idle.load(Ordering::Acquire) / ASLEEP
    }

    /// Wakes a sleeper if nobody looks. What the caller stored before, is seen by one that looks or that is woken.
    pub(crate) fn call(&self) {
        fence(Ordering::SeqCst);
        self.call_if_none_looks();
    }

    fn call_if_none_looks(&self) {
        let idle = self.idle.load(Ordering::Relaxed);
        if idle >= ASLEEP && idle.is_multiple_of(ASLEEP) {
            self.wake_newest();
        }
    }

    /// Makes the one that fell asleep last into one that looks. Whoever publishes comes here, so nothing is allocated.
    fn wake_newest(&self) {
        let mut asleep = lock(&self.asleep);
        let Some(called) = asleep.pop() else { return };
        self.idle.fetch_sub(ASLEEP - 1, Ordering::AcqRel);
        // Who wakes takes the lock.
        drop(asleep);
        self.wake[called as usize].notify_one();
    }

    /// Makes all who sleep into ones that look.
    pub(crate) fn call_all(&self) {
        let mut asleep = lock(&self.asleep);
        self.idle.fetch_sub(asleep.len() as u32 * (ASLEEP - 1), Ordering::AcqRel);
        asleep.clear();
        drop(asleep);
        self.wake.iter().for_each(Condvar::notify_one);
    }

    /// Puts a worker that looks to sleep until it is called, unless `reason_to_stay_awake` holds. Then it looks again.
    fn sleep(&self, worker: u32, reason_to_stay_awake: impl Fn() -> bool) {
        let mut asleep = lock(&self.asleep);
        self.idle.fetch_add(ASLEEP - 1, Ordering::AcqRel);
        // Pairs with the fence in `call`: either it sees that we do not look, or we see what its caller stored.
        fence(Ordering::SeqCst);
        if reason_to_stay_awake() {
            self.idle.fetch_sub(ASLEEP - 1, Ordering::AcqRel);
            return;
        }
        asleep.push(worker);
        while asleep.contains(&worker) {
            asleep = self.wake[worker as usize].wait(asleep).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Whether a worker looks, as its crew counts it.
pub(crate) struct Looking<'a> {
    crew: &'a Crew,
    worker: u32,
    looks: bool,
}

impl<'a> Looking<'a> {
    /// For a worker of this crew, before its first look.
    pub(crate) fn new(crew: &'a Crew, worker: u32) -> Self {
        Looking { crew, worker, looks: false }
    }

    /// Nothing was there to be taken: the worker looks.
    pub(crate) fn found_nothing(&mut self) {
        if !std::mem::replace(&mut self.looks, true) {
            self.crew.idle.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Something was taken: the worker looks no longer, and if more is there, another is to.
    pub(crate) fn found(&mut self, is_more: impl FnOnce() -> bool) {
        if self.looks {
            self.leave();
            // Pairs with the fence in `call`: either it sees that we look no longer, or we see what its caller stored.
            fence(Ordering::SeqCst);
        }
        if is_more() {
            self.crew.call_if_none_looks();
        }
    }

    fn leave(&mut self) {
        if std::mem::replace(&mut self.looks, false) {
            self.crew.idle.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Whether others look as well.
    pub(crate) fn has_company(&self) -> bool {
        self.crew.idle.load(Ordering::Relaxed) % ASLEEP > u32::from(self.looks)
    }

    /// Sleeps until the worker is called, unless `reason_to_stay_awake` holds; then it looks.
    pub(crate) fn sleep(&mut self, reason_to_stay_awake: impl Fn() -> bool) {
        self.found_nothing();
        self.crew.sleep(self.worker, reason_to_stay_awake);
    }
}

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        // A model of loom that unwinds must not come back to its atomics.
        if !(cfg!(loom) && std::thread::panicking()) {
            self.leave();
        }
    }
}

fn lock<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
