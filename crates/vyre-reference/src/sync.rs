//! What threads share and wait with, in one place, so that a model checker's can stand in for it (`--cfg loom`, see `model.rs`).

#[cfg(not(loom))]
mod real {
    pub(crate) use std::hint::spin_loop;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, fence};
    pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
    pub(crate) use std::thread::yield_now;
}

#[cfg(loom)]
mod real {
    pub(crate) use loom::hint::spin_loop;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32};
    pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
    pub(crate) use loom::thread::yield_now;

    thread_local! {
        /// Fences of this ordering are left out: the bug that a model is to find. All threads of a model are one of the system's.
        pub(crate) static PLANTED: std::cell::Cell<Option<super::Ordering>> = const { std::cell::Cell::new(None) };
    }

    pub(crate) fn fence(order: super::Ordering) {
        if PLANTED.get() != Some(order) {
            loom::sync::atomic::fence(order);
        }
    }
}

pub(crate) use real::*;
pub(crate) use std::sync::atomic::Ordering;
