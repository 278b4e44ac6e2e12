//! How a runtime is opened.

use std::time::Duration;

use vyre_protocol::geometry::{Counts, Geometry, GeometryError};
use vyre_protocol::operation::DEFAULT_OPERATIONS;

use crate::custom::CustomOperations;

/// How to open a runtime.
#[derive(Debug, Clone)]
pub struct Options {
    /// Counts of the ring; the slots are shared out over the priorities.
    pub geometry: Geometry,
    /// Workers; `None` lets the engine decide.
    pub workers: Option<u32>,
    /// Time without outstanding slots after which a device has nothing in flight any more.
    pub park_after: Duration,
    /// Operations compiled into a device's kernel: their [`operation_bit`](vyre_protocol::control::operation_bit)s. A kernel pays for what it holds: its heaviest
    /// operation sets how many workers fit, and on llvmpipe each turn runs through the code of all. A GPU's always has COPY. Who wants
    /// to run programs asks for EXEC, which [`DEFAULT_OPERATIONS`] leave out: `u32::MAX` is all there are.
    pub operations: u32,
    /// Operations of the user's own. Those among them that `operations` leaves out are not compiled in.
    pub custom: Option<CustomOperations>,
    /// Fuel of each quantum in loop iterations; less than one action with the dearest tile needs becomes that. `None` steers it by the
    /// time that quanta take. For tests and measurements.
    pub quantum_fuel: Option<u32>,
    /// Begins with a small kernel where workers are host threads and compilers are slow: scalar slots run after a fifth of the time, while the
    /// kernel with all operations is built in the background. Slots of other operations wait for that, for seconds if no cache has it. Else
    /// [`Runtime::open`](crate::Runtime::open) takes that time, as it does for a kernel without scalar operations.
    pub start_small: bool,
    /// How a client waits for a completion.
    pub wait: WaitPolicy,
    /// Most events that [`Runtime::take_trace`](crate::Runtime::take_trace) hands out at once; with 0 nothing is recorded, and a
    /// device's kernel is built without what leaves the records. The records of tiles go through the debug log, so it should be
    /// large: see [`Counts::log_records`].
    pub trace_events: usize,
    /// Which programs a device's kernel gets as code of its own, in place of interpreting them.
    pub hot: HotPolicy,
    /// Turns Vulkan's validation layer on.
    pub validation: bool,
}

/// When a loaded program is translated, so that the kernel need not interpret it. What it does is the same. A kernel with it is built
/// beside the one that runs and takes over between two quanta, which takes the driver seconds of a processor; a runtime that goes away
/// meanwhile waits for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HotPolicy {
    /// Never.
    #[default]
    Never,
    /// When so many of its tiles were published.
    After(u64),
    /// When it is loaded.
    Always,
}

impl HotPolicy {
    /// After tiles enough that building a kernel may pay.
    pub const AUTOMATIC: HotPolicy = HotPolicy::After(1 << 16);

    /// Tiles after which a program is translated; `None` if it never is.
    pub(crate) fn tiles(self) -> Option<u64> {
        match self {
            HotPolicy::Never => None,
            HotPolicy::After(tiles) => Some(tiles),
            HotPolicy::Always => Some(0),
        }
    }
}

/// How a client passes the time until a completion comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WaitPolicy {
    /// Looks all the time: shortest waits, one processor kept busy.
    Spin,
    /// Spins for microseconds, then yields, then sleeps for tens of microseconds between two looks.
    #[default]
    BackOff,
    /// Sleeps between two looks from the start: least use of processors.
    Sleep,
}

impl Options {
    /// Options with the slots shared out evenly over the priorities.
    ///
    /// # Errors
    /// [`GeometryError`] names the count that is not possible.
    pub fn new(counts: Counts) -> Result<Options, GeometryError> {
        let geometry = Geometry::new(counts)?;
        let park_after = Duration::from_millis(50);
        Ok(Options {
            geometry,
            workers: None,
            park_after,
            operations: DEFAULT_OPERATIONS,
            custom: None,
            quantum_fuel: None,
            start_small: true,
            wait: WaitPolicy::default(),
            trace_events: 0,
            hot: HotPolicy::default(),
            validation: crate::validation_from_environment(),
        })
    }
}
