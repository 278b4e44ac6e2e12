//! SIGINT and SIGTERM: a flag that loops look at, and the exit status that a shell expects.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

static CAUGHT: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// Makes the two signals raise the flag that comes back. A second one of them ends the process at once.
pub(crate) fn flag() -> io::Result<Arc<AtomicBool>> {
    let (raised, number) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the second signal finds the flag raised and ends the process.
        flag::register_conditional_default(signal, Arc::clone(&raised))?;
        flag::register_usize(signal, Arc::clone(&number), signal as usize)?;
        flag::register(signal, Arc::clone(&raised))?;
    }
    let _ = CAUGHT.set(number);
    Ok(raised)
}

/// If a signal was caught, ends the process by it, after everything was put in order.
pub(crate) fn raise_again() {
    let number = CAUGHT.get().map_or(0, |number| number.load(Ordering::Relaxed));
    if number != 0 {
        let _ = low_level::emulate_default_handler(number as i32);
    }
}
