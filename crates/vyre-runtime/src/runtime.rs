//! Publishing, reaping, waiting, and the life of an engine.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use vyre_mem::Region;
use vyre_protocol::debuglog::{LogEntry, LogReader, LogRecord};
use vyre_protocol::geometry::{Priority, ring_records};
use vyre_protocol::header::RegionKind;
use vyre_protocol::operation::MAX_TILE_BYTES;
use vyre_protocol::resource::{ATOMIC, READ, SHARED, WRITE};
use vyre_protocol::ring::{Completion, Moment, PublishError, Reservation, Ring, Tally, Ticket};
use vyre_protocol::slot::Slot;
use vyre_protocol::status::Counters;
use vyre_protocol::tenants::{Revocation, TenantConfig, TenantError, TenantUsage};
use vyre_vk::{DeviceKind, MemoryUse};

use crate::device::DeviceChoice;
use crate::dispatch::Staged;
use crate::engine::{BulkVisibility, Engine, EngineInfo, EngineKind, Quanta, Words, processors};
use crate::error::{AbortReport, LossReport, OpenError, ResourceError, WaitError};
use crate::hot::HotPrograms;
use crate::log::{FormatError, Log, LogLine};
use crate::options::Options;
use crate::passed::Passed;
use crate::resource::{self, Memory, Resource, Table};
use crate::trace::Recorder;

/// Bytes of the least tile of [`Runtime::tile_bytes`].
const LEAST_TILE_BYTES: u32 = 16 << 10;

/// A resident kernel and all that a host does with it. One owner publishes and reaps; [`Client`](crate::Client) shares it.
pub struct Runtime {
    pub(crate) ring: Ring<Words>,
    pub(crate) engine: Engine,
    pub(crate) info: EngineInfo,
    pub(crate) bulk: BulkVisibility,
    pub(crate) table: Table,
    /// Memory of programs that are gone, and when they went; oldest first.
    pub(crate) spare_programs: VecDeque<(Moment, Memory)>,
    /// Completions that must wait for this many finished quanta, oldest first.
    pub(crate) held: VecDeque<(u64, Completion)>,
    /// Completions that a wait for another ticket has reaped.
    pub(crate) passed: Passed,
    /// New resources are resident once this many quanta have finished.
    pub(crate) settled_at: u64,
    pub(crate) log: Log,
    pub(crate) hot: HotPrograms,
    /// Where the run is traced.
    pub(crate) recorder: Option<Box<Recorder>>,
    /// A tenant has a token bucket, so publishing needs the time.
    pub(crate) rated: bool,
    pub(crate) opened: Instant,
    /// Counts the launches of the kernel.
    pub(crate) launch: u64,
    /// The kernel was stopped and not launched again.
    pub(crate) stopped: bool,
    /// Storage that [`dispatch`](Runtime::dispatch) uses again.
    pub(crate) staged: Staged,
    /// Processors that this process may use.
    pub(crate) processors: usize,
    /// To open the engine again.
    pub(crate) options: Options,
}

impl Runtime {
    /// Opens an engine and starts the kernel on it.
    ///
    /// # Errors
    /// [`OpenError`] says why the choice is not possible.
    pub fn open(choice: &DeviceChoice, options: &Options) -> Result<Runtime, OpenError> {
        let opened = Instant::now();
        let traced = options.trace_events > 0;
        let recorder = traced.then(|| Box::new(Recorder::new(opened, options.trace_events, options.geometry)));
        let (engine, info) = Engine::open(choice, options, opened)?;
        let ring = Ring::new(options.geometry, engine.ring_memory());
        let bulk = match info.kind {
            EngineKind::Reference | EngineKind::Vulkan(DeviceKind::Software) => BulkVisibility::Immediate,
            // Vulkan promises nothing earlier, and only a litmus test on the device could tell.
            EngineKind::Vulkan(_) => BulkVisibility::AtQuantumEnd,
        };
        let table = Table::new(options.geometry.counts().resources);
        let (held, passed) = (VecDeque::new(), Passed::default());
        Ok(Runtime {
            ring,
            engine,
            info,
            bulk,
            table,
            spare_programs: VecDeque::new(),
            held,
            passed,
            settled_at: 0,
            log: Log::default(),
            hot: HotPrograms::default(),
            recorder,
            rated: false,
            opened,
            processors: processors(),
            launch: 0,
            stopped: false,
            staged: Staged::default(),
            options: options.clone(),
        })
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &EngineInfo {
        &self.info
    }

    /// Bytes of a tile with which `bytes` bytes of a bulk operation keep all workers at work: about one for each of them, but none smaller
    /// than 16 KiB, for which taking it would cost as much as running it, nor larger than [`MAX_TILE_BYTES`]. Whole pages of 4 KiB.
    #[must_use]
    pub fn tile_bytes(&self, bytes: u32) -> u32 {
        let share = bytes.div_ceil(self.info.workers.max(1));
        share.clamp(LEAST_TILE_BYTES, MAX_TILE_BYTES).next_multiple_of(4 << 10)
    }

    /// When bulk results are delivered.
    #[must_use]
    pub fn bulk_visibility(&self) -> BulkVisibility {
        self.bulk
    }

    /// Overrides when bulk results are delivered, after a litmus test of this device, say.
    pub fn set_bulk_visibility(&mut self, bulk: BulkVisibility) {
        self.bulk = bulk;
    }

    /// What became of the slots of this launch.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.ring.tally()
    }

    /// Quanta of this launch.
    #[must_use]
    pub fn quanta(&self) -> Quanta {
        self.engine.quanta()
    }

    /// The newest snapshot of the device's counters; `None` before the first.
    #[must_use]
    pub fn counters(&self) -> Option<Counters> {
        let status = self.engine.region(RegionKind::Status)?;
        Counters::load(&status).map(|(_, counters)| counters)
    }

    /// Asks the device for a snapshot of its counters; it comes within a few turns of a worker, or at a quantum's end.
    pub fn request_snapshot(&mut self) {
        self.ring.request_snapshot();
    }

    /// Messages of the validation layer so far.
    #[must_use]
    pub fn validation_messages(&self) -> u64 {
        match &self.engine {
            Engine::Reference(_) => 0,
            Engine::Vulkan { vulkan, .. } => vulkan.validation_messages(),
        }
    }

    /// Slots that a priority takes before one must be reaped.
    #[must_use]
    pub fn free(&self, priority: Priority) -> u32 {
        self.ring.free(priority)
    }

    /// Publishes a slot.
    ///
    /// # Errors
    /// [`PublishError`]; nothing was changed.
    pub fn publish(&mut self, priority: Priority, slot: &Slot) -> Result<Ticket, PublishError> {
        let tickets = self.publish_all(priority, std::slice::from_ref(slot))?;
        Ok(Ticket { priority, number: tickets.start })
    }

    /// Publishes all slots or none.
    ///
    /// # Errors
    /// [`PublishError`]; nothing was changed.
    pub fn publish_all(&mut self, priority: Priority, slots: &[Slot]) -> Result<Range<u64>, PublishError> {
        self.before_publish();
        let tickets = self.ring.publish_all(priority, slots)?;
        self.after_publish(priority, &tickets, slots);
        Ok(tickets)
    }

    /// Publishes all slots and a fence behind them, or nothing. The last ticket is the fence's: waiting for it is waiting for all
    /// that was published in the partition until then.
    ///
    /// # Errors
    /// [`PublishError`]; nothing was changed.
    pub fn publish_batch(&mut self, priority: Priority, slots: &[Slot]) -> Result<Range<u64>, PublishError> {
        self.before_publish();
        let tickets = self.ring.publish_batch(priority, slots)?;
        self.after_publish(priority, &tickets, slots);
        Ok(tickets)
    }

    pub(crate) fn reserve(&mut self, priority: Priority, slots: &[Slot]) -> Result<Reservation, PublishError> {
        self.before_publish();
        self.ring.reserve(priority, slots)
    }

    pub(crate) fn commit(&mut self, reservation: Reservation, slots: &[Slot]) {
        let (priority, tickets) = (reservation.priority(), reservation.tickets());
        self.note_time();
        self.ring.commit(reservation, slots);
        self.after_publish(priority, &tickets, slots);
    }

    pub(crate) fn abandon(&mut self, reservation: Reservation) {
        self.ring.abandon(reservation);
        self.engine.note_outstanding(self.ring.in_flight());
    }

    /// Which launch of the kernel this is.
    pub(crate) fn launch_number(&self) -> u64 {
        self.launch
    }

    fn before_publish(&mut self) {
        self.settle();
        if self.rated {
            self.ring.set_time(self.opened.elapsed());
        }
        self.note_time();
    }

    fn note_time(&mut self) {
        if let Some(recorder) = &mut self.recorder {
            recorder.note_time();
        }
    }

    /// `slots` with the tickets were published, and a fence behind them if there is a ticket more.
    fn after_publish(&mut self, priority: Priority, tickets: &Range<u64>, slots: &[Slot]) {
        if let Some(recorder) = &mut self.recorder {
            recorder.published(priority, tickets.clone(), slots);
        }
        self.note_programs(slots);
        self.engine.note_outstanding(self.ring.in_flight());
    }

    /// Registers a format string for [`Slot::printf`] and gives its number. Placeholders: `{u}` and `{i}` for unsigned and signed
    /// numbers, `{x}` for hexadecimal ones, `{f}` for floats; `{{` is a brace.
    ///
    /// # Errors
    /// [`FormatError`] says what is wrong, and where.
    pub fn register_format(&mut self, format: &str) -> Result<u32, FormatError> {
        self.log.register(format)
    }

    /// Takes the next line that a slot printed, at any time, and reports it as a `tracing` event of the target `vyre::printf`. Who
    /// comes too late for a line finds it counted in [`log_dropped`](Self::log_dropped).
    pub fn read_log(&mut self) -> Option<LogLine> {
        let record = self.log.waiting.pop_front().or_else(|| self.next_line())?;
        let line = self.log.line(record);
        let LogRecord { worker, tenant, wire_ticket: ticket, priority, .. } = line.record;
        let args = &line.record.args[..line.record.arg_count as usize];
        let text = line.text.as_str();
        tracing::info!(target: "vyre::printf", ticket, ?priority, tenant, worker, ?args, "{text}");
        Some(line)
    }

    fn next_line(&mut self) -> Option<LogRecord> {
        loop {
            match self.next_log_entry()? {
                LogEntry::Line(line) => return Some(line),
                LogEntry::Tile(tile) => self.note_tile(tile),
            }
        }
    }

    /// Takes the next record of the debug log that decodes.
    pub(crate) fn next_log_entry(&mut self) -> Option<LogEntry> {
        let log = self.engine.region(RegionKind::DebugLog)?;
        let records = ring_records(self.options.geometry.counts().log_records);
        loop {
            match self.log.reader.read(&log, records) {
                Ok(entry) => return entry,
                Err(error) => tracing::error!("the device wrote a log record that does not decode: {error}"),
            }
        }
    }

    /// Records of the debug log that were overwritten before they were read: printed lines, and where the run is traced tiles too.
    #[must_use]
    pub fn log_dropped(&self) -> u64 {
        self.log.reader.dropped() + self.log.forgotten
    }

    /// Registers a tenant and gives its number, which its slots carry.
    ///
    /// # Errors
    /// [`TenantError`]: no number is free, or a limit is 0.
    pub fn register_tenant(&mut self, config: TenantConfig) -> Result<u32, TenantError> {
        self.rated |= config.rate.is_some();
        self.ring.set_time(self.opened.elapsed());
        self.ring.register_tenant(config)
    }

    /// Refuses all further slots of a tenant. Its resources stay until they are released.
    ///
    /// # Errors
    /// [`TenantError`] if it is not registered.
    pub fn revoke_tenant(&mut self, tenant: u32, how: Revocation) -> Result<(), TenantError> {
        self.ring.revoke_tenant(tenant, how)
    }

    /// Counts of a tenant's slots.
    ///
    /// # Errors
    /// [`TenantError::Unknown`] if nobody ever had the number.
    pub fn tenant_usage(&self, tenant: u32) -> Result<TenantUsage, TenantError> {
        self.ring.tenant_usage(tenant)
    }

    /// Waits until resources made while quanta were in flight are resident. Drivers collect residency when a quantum is
    /// submitted, so those in flight may not see them.
    fn settle(&mut self) {
        while self.engine.quanta().finished < self.settled_at && self.engine.health().is_ok() {
            std::thread::sleep(Duration::from_micros(100));
        }
        self.settled_at = 0;
    }

    /// Refuses every further slot of this launch.
    pub fn close(&mut self) {
        self.ring.close();
    }

    /// Closes, drains and stops the kernel.
    ///
    /// # Errors
    /// [`WaitError`] if the slots did not complete in time; then the kernel still runs, and [`abort`](Self::abort) ends it.
    pub fn exit(&mut self, timeout: Duration) -> Result<(), WaitError> {
        self.close();
        self.drain(timeout)?;
        self.stopped = true;
        self.engine.stop()?;
        self.end_recording();
        Ok(())
    }

    /// Closes and stops the kernel at the next tile boundaries, and says which tickets did not complete.
    pub fn abort(&mut self) -> AbortReport {
        self.close();
        self.stopped = true;
        let lost = self.engine.stop().err();
        // What was completed before the stop counts as completed.
        loop {
            match self.ring.reap() {
                Ok(Some(completion)) => {
                    self.note_reaped(&completion);
                    self.passed.push(completion);
                }
                Ok(None) => break,
                Err(error) => tracing::error!("{error}"),
            }
        }
        self.held.drain(..).for_each(|(_, completion)| self.passed.push(completion));
        self.end_recording();
        AbortReport { cancelled: self.ring.cancel_outstanding(), lost }
    }

    /// Starts the kernel again after [`exit`](Self::exit) or [`abort`](Self::abort), with an empty ring and an empty resource
    /// table. Resources from before are dead: their handles fault.
    ///
    /// # Errors
    /// [`OpenError`] if the device does not start again.
    pub fn relaunch(&mut self) -> Result<(), OpenError> {
        self.end_recording();
        self.engine.relaunch()?;
        let geometry = *self.ring.geometry();
        self.ring = Ring::new(geometry, self.engine.ring_memory());
        self.rated = false;
        self.log.reader = LogReader::default();
        if let Some(recorder) = &mut self.recorder {
            recorder.begin_launch();
        }
        self.table = Table::new(geometry.counts().resources);
        self.spare_programs.clear();
        self.hot.forget_handles();
        self.held.clear();
        self.passed = Passed::default();
        self.settled_at = 0;
        self.launch += 1;
        self.stopped = false;
        Ok(())
    }

    /// Opens the engine again after [`WaitError::Lost`], and says what became of each outstanding slot. The ring is new and empty,
    /// all resources are dead: their handles fault, their contents are gone. A trace begins anew; what it held counts as dropped.
    /// Nothing is run again by itself, since only the caller can make the resources again and knows what may run twice.
    ///
    /// # Errors
    /// [`OpenError`] if the device does not open again; then the runtime stays closed.
    pub fn rebuild(&mut self) -> Result<LossReport, OpenError> {
        // What waited for a quantum's end was completed by a device that can no longer guarantee its results.
        let mut unknown: Vec<_> = self.held.drain(..).map(|(_, completion)| completion.ticket).collect();
        let AbortReport { cancelled, lost } = self.abort();
        unknown.extend(cancelled);
        let completed = self.passed.drain();
        let choice = self.info.index.map_or(DeviceChoice::Reference, DeviceChoice::Index);
        let (bulk, launch) = (self.bulk, self.launch + 1);
        let before = std::mem::replace(self, Runtime::open(&choice, &self.options)?);
        (self.bulk, self.launch) = (bulk, launch);
        if let Some((recorder, before)) = self.recorder.as_mut().zip(before.recorder) {
            recorder.lose(&before);
        }
        Ok(LossReport { lost, completed, unknown })
    }

    /// A switch that makes a device report its loss, for tests; `None` on the reference engine.
    #[doc(hidden)]
    #[must_use]
    pub fn loss_switch(&self) -> Option<Arc<AtomicBool>> {
        self.engine.loss_switch()
    }

    /// Allocates memory and registers it for reading and writing. The host can reach it unless it is [`MemoryUse::Local`]; only
    /// there operations can change a word in one step ([`ATOMIC`]).
    ///
    /// # Errors
    /// [`ResourceError`] says why that is not possible.
    pub fn allocate(&mut self, bytes: u64, usage: MemoryUse) -> Result<Resource, ResourceError> {
        self.allocate_for(SHARED, bytes, usage)
    }

    /// The same for one tenant alone: slots of others that name it fault, and so do slots of the tenant's successor, once it is
    /// released.
    ///
    /// # Errors
    /// [`ResourceError`] says why that is not possible.
    pub fn allocate_for(&mut self, tenant: u32, bytes: u64, usage: MemoryUse) -> Result<Resource, ResourceError> {
        let memory = resource::allocate(&self.engine, bytes, usage)?;
        let atomic = if usage == MemoryUse::Local { ATOMIC } else { 0 };
        self.register(memory, bytes.next_multiple_of(4) as u32, READ | WRITE | atomic, tenant)
    }

    /// Maps host pages into the device and registers them for reading.
    ///
    /// # Errors
    /// [`ResourceError`] says why that is not possible.
    pub fn import(&mut self, pages: &Region) -> Result<Resource, ResourceError> {
        let Engine::Vulkan { resident, .. } = &self.engine else { return Err(ResourceError::NoImport) };
        let buffer = resident.import(pages)?;
        let len = buffer.len() as u32;
        self.register(Memory::Device(buffer), len, READ, SHARED)
    }

    /// Registers a place for blocks that are lent one after another; `None` on a Vulkan device.
    pub(crate) fn register_lent(&mut self, bytes: u32) -> Option<Result<Resource, ResourceError>> {
        matches!(self.engine, Engine::Reference(_)).then(|| self.register(Memory::Lent, bytes, READ, SHARED))
    }

    /// Lends bytes under a handle from [`register_lent`](Self::register_lent).
    pub(crate) fn lend(&self, resource: &Resource, bytes: vyre_reference::SharedBytes) {
        if let Engine::Reference(reference) = &self.engine {
            reference.rebind(resource.handle.index(), vyre_reference::Backing::Lent(bytes));
        }
    }

    pub(crate) fn register(
        &mut self,
        memory: Memory,
        len: u32,
        access: u32,
        owner: u32,
    ) -> Result<Resource, ResourceError> {
        let resource = self.enter(memory, len, access, owner)?;
        self.settled_at = self.engine.quanta().launched;
        Ok(resource)
    }

    /// Registers memory that is resident.
    pub(crate) fn enter(
        &mut self,
        memory: Memory,
        len: u32,
        access: u32,
        owner: u32,
    ) -> Result<Resource, ResourceError> {
        self.table.sweep(|moment| self.ring.is_past(moment));
        let handle = self.table.take(&memory)?;
        let resource = Resource { handle, len, access, owner, memory };
        self.bind(&resource, true);
        Ok(resource)
    }

    fn bind(&self, resource: &Resource, bound: bool) {
        if let Some(table) = self.engine.region(RegionKind::Resources) {
            resource::bind(&self.engine, &table, resource, bound);
        }
    }

    /// Gives a resource back: its handle faults from now on, its memory is freed when no quantum can touch it any more.
    pub fn release(&mut self, resource: Resource) {
        self.bind(&resource, false);
        self.table.retire(resource.handle, self.ring.moment());
    }
}
