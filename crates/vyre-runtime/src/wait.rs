//! Reaping and waiting: the part of [`Runtime`] that hands out completions.

use std::time::{Duration, Instant};

use vyre_protocol::header::RegionKind;
use vyre_protocol::operation::leaves_bulk;
use vyre_protocol::ring::{Completion, Lookout, Ticket};
use vyre_protocol::status::OBSERVABLES;
use vyre_protocol::words::SharedWords;

use crate::engine::{BulkVisibility, EngineKind, Words};
use crate::error::WaitError;
use crate::options::WaitPolicy;
use crate::runtime::Runtime;

/// How long a wait spins before it yields, and yields before it naps. A nap of 50 us takes Linux 100: by then that is a tenth of the wait.
const SPIN: Duration = Duration::from_micros(30);
const YIELD: Duration = Duration::from_millis(1);

/// On fewer processors a client that spins takes too much from workers that are host threads.
const MANY_PROCESSORS: usize = 8;

impl Runtime {
    /// Waits until nothing of a tenant is outstanding. Completions stay for [`reap`](Self::reap).
    ///
    /// # Errors
    /// [`WaitError`] if the time is up (it says how many slots are outstanding), the tenant is unknown, the device is lost or
    /// wrote nonsense.
    pub fn quiesce(&mut self, tenant: u32, timeout: Duration) -> Result<(), WaitError> {
        let start = Instant::now();
        loop {
            let outstanding = self.ring.tenant_usage(tenant)?.outstanding;
            if outstanding == 0 {
                return Ok(());
            }
            match self.reap_ring()? {
                Some(completion) => self.passed.push(completion),
                None if start.elapsed() >= timeout => {
                    return Err(WaitError::Timeout { ticket: None, timeout, outstanding });
                }
                None => self.pause(start.elapsed(), timeout.saturating_sub(start.elapsed())),
            }
        }
    }

    /// Takes the next completion that may be delivered.
    ///
    /// # Errors
    /// [`WaitError`] if the device is lost or wrote nonsense.
    // With all that it calls: to move a completion from function to function takes three times as long as to read it.
    #[inline]
    pub fn reap(&mut self) -> Result<Option<Completion>, WaitError> {
        match self.passed.pop() {
            Some(completion) => Ok(Some(completion)),
            None => self.reap_ring(),
        }
    }

    #[inline]
    pub(crate) fn reap_ring(&mut self) -> Result<Option<Completion>, WaitError> {
        self.record();
        while let Some(completion) = self.ring.reap()? {
            self.note_reaped(&completion);
            // What the relay must hear is that nothing is left; that something is, it has heard.
            if self.ring.in_flight() == 0 {
                self.engine.note_outstanding(0);
            }
            if self.bulk == BulkVisibility::Immediate || !leaves_bulk(completion.operation) {
                return Ok(Some(completion));
            }
            self.held.push_back((self.engine.quanta().launched, completion));
        }
        if !self.held.is_empty()
            && let Some(completion) = self.take_held()
        {
            return Ok(Some(completion));
        }
        if self.ring.tally().outstanding() > 0 {
            self.engine.health()?;
        }
        Ok(None)
    }

    /// The first of the completions that wait for a quantum's end, if it may be delivered. If not, and no worker has anything to do until then,
    /// the quantum ends now.
    #[cold]
    fn take_held(&mut self) -> Option<Completion> {
        if self.may_deliver_held() {
            return self.held.pop_front().map(|(_, completion)| completion);
        }
        if let Some((quanta, _)) = self.held.back().filter(|_| self.ring.in_flight() == 0) {
            self.engine.hurry(*quanta);
        }
        None
    }

    /// Waits for one ticket. Completions of others stay for [`reap`](Self::reap).
    ///
    /// # Errors
    /// [`WaitError`] if the time is up, the device is lost or wrote nonsense.
    pub fn wait(&mut self, ticket: Ticket, timeout: Duration) -> Result<Completion, WaitError> {
        let start = Instant::now();
        loop {
            if let Some(completion) = self.poll(ticket)? {
                return Ok(completion);
            }
            if start.elapsed() >= timeout {
                let outstanding = self.ring.tally().outstanding();
                return Err(WaitError::Timeout { ticket: Some(ticket), timeout, outstanding });
            }
            self.pause(start.elapsed(), timeout.saturating_sub(start.elapsed()));
        }
    }

    /// The completion of a ticket, if it has come. Those of others stay for [`reap`](Self::reap).
    pub(crate) fn poll(&mut self, ticket: Ticket) -> Result<Option<Completion>, WaitError> {
        if let Some(completion) = self.take(ticket) {
            return Ok(Some(completion));
        }
        while let Some(completion) = self.reap_ring()? {
            if completion.ticket == ticket {
                return Ok(Some(completion));
            }
            self.passed.push(completion);
        }
        Ok(None)
    }

    /// The completion of a ticket, if somebody has reaped it.
    pub(crate) fn take(&mut self, ticket: Ticket) -> Option<Completion> {
        self.passed.take(ticket)
    }

    /// Whether [`take`](Self::take) would give it.
    pub(crate) fn has_passed(&self, ticket: Ticket) -> bool {
        self.passed.contains(ticket)
    }

    /// Keeps a completion for [`reap`](Self::reap) or another wait.
    pub(crate) fn keep(&mut self, completion: Completion) {
        self.passed.push(completion);
    }

    /// Whether looking for completions would find one, or that there will be none.
    pub(crate) fn has_news(&self) -> bool {
        self.ring.has_completion() || self.may_deliver_held() || self.engine.health().is_err()
    }

    pub(crate) fn lookout(&self) -> Lookout<Words> {
        self.ring.lookout()
    }

    fn may_deliver_held(&self) -> bool {
        self.held.front().is_some_and(|(quanta, _)| self.engine.quanta().finished >= *quanta)
    }

    /// Passes time while nothing is there, by the [`WaitPolicy`]. `waited` is how long that goes on already.
    pub fn pause(&self, waited: Duration, at_most: Duration) {
        let (spin, yielding) = self.wait_phases();
        if waited < spin {
            std::hint::spin_loop();
        } else if waited < yielding {
            std::thread::yield_now();
        } else {
            self.engine.nap(at_most.min(Duration::from_millis(1)), || self.ring.has_completion());
        }
    }

    /// How long a wait spins, and until when it yields, before it naps.
    pub(crate) fn wait_phases(&self) -> (Duration, Duration) {
        match (self.options.wait, self.info.kind) {
            (WaitPolicy::Spin, _) => (Duration::MAX, Duration::MAX),
            (WaitPolicy::Sleep, _) => (Duration::ZERO, Duration::ZERO),
            (WaitPolicy::BackOff, EngineKind::Reference) if self.processors < MANY_PROCESSORS => (SPIN / 16, SPIN / 16),
            (WaitPolicy::BackOff, EngineKind::Reference) => (SPIN, SPIN),
            (WaitPolicy::BackOff, EngineKind::Vulkan(_)) => (SPIN, YIELD),
        }
    }

    /// What an observable is now. Operations set it through [`Operand::observable`](vyre_protocol::slot::Operand::observable).
    ///
    /// # Errors
    /// [`WaitError::NoObservable`] if there are fewer.
    pub fn observable(&self, index: u32) -> Result<u32, WaitError> {
        let count = self.options.geometry.counts().observables;
        let status = self.engine.region(RegionKind::Status).filter(|_| index < count);
        let status = status.ok_or(WaitError::NoObservable { index, count })?;
        Ok(status.load_acquire((OBSERVABLES + index) as usize))
    }

    /// Waits until an observable is as wanted, and gives its value. Completions stay where they are.
    ///
    /// # Errors
    /// [`WaitError`] if the time is up, there is no such observable, or the device is lost.
    pub fn wait_observable(
        &self,
        index: u32,
        wanted: impl Fn(u32) -> bool,
        timeout: Duration,
    ) -> Result<u32, WaitError> {
        let start = Instant::now();
        loop {
            let last = self.observable(index)?;
            if wanted(last) {
                return Ok(last);
            }
            if start.elapsed() >= timeout {
                return Err(WaitError::Observable { index, last, timeout });
            }
            self.engine.health()?;
            self.pause(start.elapsed(), timeout.saturating_sub(start.elapsed()));
        }
    }

    /// Waits until nothing is outstanding. Completions stay for [`reap`](Self::reap).
    ///
    /// # Errors
    /// [`WaitError`] as for [`wait`](Self::wait).
    pub fn drain(&mut self, timeout: Duration) -> Result<(), WaitError> {
        let start = Instant::now();
        while self.ring.tally().outstanding() > 0 || !self.held.is_empty() {
            match self.reap_ring()? {
                Some(completion) => self.passed.push(completion),
                None if start.elapsed() >= timeout => {
                    let outstanding = self.ring.tally().outstanding();
                    return Err(WaitError::Timeout { ticket: None, timeout, outstanding });
                }
                None => self.pause(start.elapsed(), timeout.saturating_sub(start.elapsed())),
            }
        }
        Ok(())
    }
}
