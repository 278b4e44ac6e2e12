//! The atomics that the claim code uses, in one place, so that a model checker's can stand in for them.

pub(crate) use std::sync::atomic::{AtomicU32, Ordering, fence};
