//! Falling asleep when nothing is outstanding, and being woken, without losing a wake-up.

#[cfg(not(loom))]
use std::sync::{
    Condvar, Mutex,
    atomic::{AtomicBool, AtomicU64, fence},
};

#[cfg(loom)]
use loom::sync::{
    Condvar, Mutex,
    atomic::{AtomicBool, AtomicU64},
};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

#[cfg(all(loom, test))]
use model::fence;

#[cfg(all(loom, not(test)))]
use loom::sync::atomic::fence;

/// What publishers and the relay tell each other about work.
#[derive(Default)]
pub(crate) struct Parking {
    outstanding: AtomicU64,
    /// Counts the times that `outstanding` rose from 0, so that work between two looks is not missed.
    wakes: AtomicU64,
    parked: AtomicBool,
    sleep: Mutex<()>,
    wake: Condvar,
}

impl Parking {
    /// Tells how many slots are outstanding; wakes a parked relay when there are some.
    /// One thread at a time does.
    pub(crate) fn note(&self, slots: u64) {
        let before = self.outstanding.load(Ordering::Relaxed);
        self.outstanding.store(slots, Ordering::Relaxed);
        if before == 0 && slots != 0 {
            self.wakes.fetch_add(1, Ordering::Relaxed);
            // Pairs with the fence in `park`: either the relay sees the slots, or we see that it is parked.
            fence(Ordering::SeqCst);
            if self.parked.load(Ordering::Relaxed) {
                self.nudge();
            }
        }
    }

    /// Lets a parked relay look again.
    pub(crate) fn nudge(&self) {
        let _guard = self.sleep.lock().unwrap_or_else(PoisonError::into_inner);
        self.wake.notify_one();
    }

    /// Slots that are outstanding.
    pub(crate) fn outstanding(&self) -> u64 {
        self.outstanding.load(Ordering::Relaxed)
    }

    /// How often there was something after there had been nothing.
    pub(crate) fn wakes(&self) -> u64 {
        self.wakes.load(Ordering::Relaxed)
    }

    /// Sleeps until something is outstanding, or `stop` holds after a [`nudge`](Self::nudge).
    pub(crate) fn park(&self, stop: impl Fn() -> bool) {
        let mut guard = self.sleep.lock().unwrap_or_else(PoisonError::into_inner);
        self.parked.store(true, Ordering::Relaxed);
        // Pairs with the fence in `note`.
        fence(Ordering::SeqCst);
        while self.outstanding() == 0 && !stop() {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.parked.store(false, Ordering::Relaxed);
    }
}

/// Models for loom; `cargo xtask test --tier loom` runs them.
#[cfg(all(loom, test))]
mod model {
    use std::cell::Cell;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    thread_local! {
        /// The fences are left out: the bug that the model is to find. All threads of a model are one of the system's.
        static PLANTED: Cell<bool> = const { Cell::new(false) };
    }

    pub(super) fn fence(order: Ordering) {
        if !PLANTED.get() {
            loom::sync::atomic::fence(order);
        }
    }

    /// Explores a model with at most three preemptions, and prints how many interleavings there were.
    fn explore(name: &str, model: impl Fn() + Sync + Send + 'static) {
        let explored = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&explored);
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(move || {
            count.fetch_add(1, Ordering::Relaxed);
            model();
        });
        println!("{name}: all {} interleavings with at most 3 preemptions", explored.load(Ordering::Relaxed));
    }

    /// Work comes and goes and comes while the relay falls asleep. A lost wake-up is a deadlock.
    fn work_comes() {
        let parking = Arc::new(Parking::default());
        let theirs = Arc::clone(&parking);
        let relay = loom::thread::spawn(move || theirs.park(|| false));
        parking.note(1);
        parking.note(0);
        parking.note(2);
        relay.join().unwrap();
        assert_eq!((parking.wakes(), parking.outstanding()), (2, 2));
    }

    /// Somebody stops the relay while it falls asleep.
    fn stopped() {
        let parking = Arc::new(Parking::default());
        let stop = Arc::new(AtomicBool::new(false));
        let (theirs, asked) = (Arc::clone(&parking), Arc::clone(&stop));
        let relay = loom::thread::spawn(move || theirs.park(|| asked.load(Ordering::Acquire)));
        stop.store(true, Ordering::Release);
        parking.nudge();
        relay.join().unwrap();
    }

    #[test]
    fn no_wake_up_of_the_relay_is_lost() {
        explore("relay, work comes", work_comes);
    }

    #[test]
    fn a_relay_that_falls_asleep_is_stopped() {
        explore("relay, stopped", stopped);
    }

    #[test]
    fn a_missing_fence_is_found() {
        PLANTED.set(true);
        let found = std::panic::catch_unwind(|| explore("relay without fences", work_comes));
        PLANTED.set(false);
        assert!(found.is_err(), "the planted bug was not found");
        println!("relay, without sequentially consistent fences: the bug was found");
    }
}
