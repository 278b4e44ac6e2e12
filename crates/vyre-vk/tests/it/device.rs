//! Each test opens the device that `VYRE_TEST_DEVICE` names and fails on any validation message.

use std::time::{Duration, Instant};

use vyre_mem::Region;
use vyre_protocol::completion::Status;
use vyre_protocol::control::{Tenant, TenantState};
use vyre_protocol::fault::Fault;
use vyre_protocol::geometry::{Counts, Geometry, Priority};
use vyre_protocol::header::RegionKind;
use vyre_protocol::operation::{MAX_TILE_BYTES, MAX_TILE_CHUNKS, Operation};
use vyre_protocol::resource::{Handle, READ, ResourceEntry, SHARED, WRITE};
use vyre_protocol::ring::{Completion, Ring};
use vyre_protocol::slot::{Operand, Slot};
use vyre_protocol::stamped;
use vyre_protocol::status::Counters;
use vyre_protocol::tenants::TenantConfig;
use vyre_protocol::words::SharedWords;
use vyre_vk::{
    Buffer, Bulk, DeviceKind, Echo, ImportError, KernelConfig, MemoryUse, Parts, PlainDevice, PlainError, Resident,
    SubmitFence, Vulkan,
};

/// A launched kernel, its ring, and a table of resources.
struct Bench {
    vulkan: Vulkan,
    resident: Resident,
    ring: Ring<Region>,
    resources: u32,
}

impl Bench {
    fn vulkan() -> (Vulkan, usize) {
        // The messages of a failed test; a second test finds the subscriber already set, which is just as well.
        let _ = tracing_subscriber::fmt().with_test_writer().try_init();
        let vulkan = Vulkan::load(std::env::var_os("VYRE_VALIDATION").is_some()).unwrap();
        let wanted = std::env::var("VYRE_TEST_DEVICE").expect("VYRE_TEST_DEVICE says lavapipe, swiftshader or gpu");
        let fits = |name: &str, kind| match wanted.as_str() {
            "lavapipe" => name.contains("llvmpipe"),
            "swiftshader" => name.contains("SwiftShader"),
            _ => kind != DeviceKind::Software,
        };
        let devices = vulkan.devices().unwrap();
        let device = devices.iter().find(|device| fits(&device.name, device.kind));
        let index = device.unwrap_or_else(|| panic!("no device for {wanted} among {devices:?}")).index;
        (vulkan, index)
    }

    fn new(slots: u32, workers: Option<u32>) -> Bench {
        let (vulkan, index) = Self::vulkan();
        let geometry = Geometry::new(Counts { slots, ..Counts::default() }).unwrap();
        let park_after = Duration::from_millis(50);
        let config = KernelConfig { geometry, workers, park_after, start_small: false, ..KernelConfig::default() };
        let resident = vulkan.open(index, &config).unwrap();
        let ring = Ring::new(geometry, resident.ring_memory());
        Bench { vulkan, resident, ring, resources: 0 }
    }

    fn launch(mut self) -> Bench {
        self.resident.launch().unwrap();
        self
    }

    /// Registers a buffer; only before `launch`, so that it is resident for every quantum.
    fn register(&mut self, buffer: &Buffer, access: u32) -> Operand {
        let (index, generation) = (self.resources, 1);
        self.resources += 1;
        let address = buffer.address_words();
        let length = buffer.len() as u32;
        let entry = ResourceEntry { address, length, generation, owner: SHARED, access, reserved: [0; 2] };
        entry.store(&self.resident.region(RegionKind::Resources).unwrap(), index);
        Operand { handle: Handle::new(index, generation).word(), offset: 0 }
    }

    fn buffer(&mut self, bytes: u64, usage: MemoryUse) -> (Buffer, Operand) {
        let buffer = self.resident.allocate(bytes, usage).unwrap();
        let operand = self.register(&buffer, READ | WRITE);
        (buffer, operand)
    }

    fn publish(&mut self, slot: &Slot) {
        self.ring.publish(Priority::Normal, slot).unwrap();
        self.resident.note_outstanding(self.ring.tally().outstanding());
    }

    fn next(&mut self) -> Completion {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(60) {
            if let Some(completion) = self.ring.reap().unwrap() {
                self.resident.note_outstanding(self.ring.tally().outstanding());
                return completion;
            }
            self.resident.health().unwrap();
        }
        panic!("no completion within 60 s: {:?} {:?}", self.ring.tally(), self.resident.quanta());
    }

    /// Waits until Vulkan guarantees that host and device see what the other wrote to memory so far. Software devices see it there
    /// and then.
    fn await_quanta(&self) {
        let launched = self.resident.quanta().launched;
        let start = Instant::now();
        while self.resident.info().kind != DeviceKind::Software && self.resident.quanta().finished < launched {
            assert!(start.elapsed() < Duration::from_secs(10), "no quantum ends: {:?}", self.resident.quanta());
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    fn run(&mut self, slot: &Slot) -> Completion {
        self.publish(slot);
        self.next()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let stopped = self.resident.stop();
        if !std::thread::panicking() {
            stopped.unwrap();
            assert_eq!(self.ring.tally().outstanding(), 0);
            // A quantum that the driver cut off in a loop never counts itself; llvmpipe does that without a word.
            let status = self.resident.region(RegionKind::Status).unwrap();
            let counted = Counters::load(&status).map_or(0, |(_, counters)| u64::from(counters.quanta));
            assert_eq!(counted, self.resident.quanta().finished, "quanta that ended by themselves");
            assert_eq!(self.vulkan.validation_messages(), 0, "validation messages, see the log");
        }
    }
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(len).collect()
}

const STAMP: u32 = 77;

/// A value that a BLAKE3 tile wrote; waits until its stamps are there.
fn stamped_value(target: &Buffer, tile: usize) -> [u8; 32] {
    let start = Instant::now();
    loop {
        if let Some(record) = stamped::load(target.region().unwrap(), tile * 16, STAMP) {
            return stamped::to_bytes(&record);
        }
        assert!(start.elapsed() < Duration::from_secs(10), "the value of tile {tile} never came");
    }
}

fn blake3_slot(input: Operand, output: Operand, length: u32, chunk: u64, root: bool) -> Slot {
    let args = [chunk as u32, (chunk >> 32) as u32, u32::from(root), STAMP];
    let slot = Slot { input, output, ..Slot::new(Operation::Blake3) };
    slot.tiled(length, MAX_TILE_CHUNKS, 1024).with_args(&args).unwrap()
}

#[test]
#[ignore = "needs a Vulkan device; run by cargo xtask test"]
fn device_nops_complete_in_order_with_one_worker_over_many_laps() {
    let mut bench = Bench::new(5, Some(1)).launch();
    for number in 0..20_000 {
        let completion = bench.run(&Slot::new(Operation::Nop));
        assert_eq!((completion.ticket.number, completion.status), (number, Status::Done));
    }
}

#[test]
#[ignore = "needs a Vulkan device; run by cargo xtask test"]
fn device_full_rings_of_all_priorities_complete() {
    for workers in [1, 2, 7] {
        let mut bench = Bench::new(64, Some(workers)).launch();
        for _ in 0..200 {
            for priority in Priority::ALL {
                let free = bench.ring.free(priority) as usize;
                let slots = vec![Slot { tiles: 3, ..Slot::new(Operation::Nop) }; free];
                bench.ring.publish_all(priority, &slots).unwrap();
            }
            bench.resident.note_outstanding(bench.ring.tally().outstanding());
            for _ in 0..64 {
                assert_eq!(bench.next().status, Status::Done);
            }
        }
        bench.resident.stop().unwrap();
        let (_, counters) = Counters::load(&bench.resident.region(RegionKind::Status).unwrap()).unwrap();
        assert_eq!((counters.claimed, counters.completed, counters.faulted), (12_800, 12_800, 0));
        assert_eq!(counters.tiles, 3 * 12_800);
        assert!(counters.resident_peak >= 1 && counters.quanta >= 1);
    }
}

#[test]
#[ignore = "needs a Vulkan device; run by cargo xtask test"]
fn device_fill_and_copy_match_a_model() {
    let mut bench = Bench::new(64, None);
    let len = 200_000;
    let (source, input) = bench.buffer(len, MemoryUse::HostToDevice);
    let (target, output) = bench.buffer(len, MemoryUse::DeviceToHost);
    let mut bench = bench.launch();
    let data = noise(len as usize);
    source.region().unwrap().write_bytes(0, &data).unwrap();
    source.region().unwrap().publish_fence();
    let mut model = vec![0; len as usize];
    for (from, to, bytes, span) in
        [(0, 0, len as u32, MAX_TILE_BYTES), (4, 12, 100_004, 4096), (16, 32, 65_536, 512), (8, 8, 4, 4), (0, 0, 0, 4)]
    {
        let slot = Slot {
            input: Operand { offset: from, ..input },
            output: Operand { offset: to, ..output },
            ..Slot::new(Operation::Copy)
        };
        assert_eq!(bench.run(&slot.tiled(bytes, span, 1)).status, Status::Done);
        let (from, to, bytes) = (from as usize, to as usize, bytes as usize);
        model[to..to + bytes].copy_from_slice(&data[from..from + bytes]);
        let fill = Slot { output: Operand { offset: 20, ..output }, ..Slot::new(Operation::Fill) };
        let fill = fill.tiled(1004, 64, 1).with_args(&[0xdead_beef]).unwrap();
        assert_eq!(bench.run(&fill).status, Status::Done);
        for word in model[20..1024].chunks_exact_mut(4) {
            word.copy_from_slice(&0xdead_beef_u32.to_le_bytes());
        }
        let mut found = vec![0; len as usize];
        bench.await_quanta();
        target.region().unwrap().read_bytes(0, &mut found).unwrap();
        assert!(found == model, "COPY {from} -> {to}, {bytes} bytes in tiles of {span}");
    }
}

#[test]
#[ignore = "needs a Vulkan device; run by cargo xtask test"]
fn device_completions_carry_the_clock_where_there_is_one() {
    let mut bench = Bench::new(16, Some(1)).launch();
    let has_clock = bench.resident.info().device_clock;
    let mut before = None;
    for _ in 0..1000 {
        let [start, end] = bench.run(&Slot::new(Operation::Nop)).clock;
        if has_clock {
            // Low words of a clock, so they wrap; one worker's slots follow each other.
            let after = |earlier: u32, later: u32| later.wrapping_sub(earlier) < 1 << 31;
            assert!(after(start, end) && before.is_none_or(|before| after(before, start)), "{before:?} {start} {end}");
            before = Some(end);
        } else {
            assert_eq!((start, end), (0, 0));
        }
    }
}

#[test]
#[ignore = "needs a Vulkan device; run by cargo xtask test"]
fn device_blake3_of_small_inputs_is_the_hash() {
    let mut bench = Bench::new(64, None);
    let (source, input) = bench.buffer(65_536 + 64, MemoryUse::HostToDevice);
    let (target, output) = bench.buffer(64, MemoryUse::DeviceToHost);
    let mut bench = bench.launch();
    let data = noise(65_536);
    source.region().unwrap().publish_fence();
    let sizes = [0, 1, 3, 4, 63, 64, 65, 1023, 1024, 1025, 2048, 2049, 3072, 5000, 8191, 31_744, 65_535, 65_536];
    for (size, offset) in sizes.into_iter().flat_map(|size| [(size, 0), (size, 4), (size, 64)]) {
        source.region().unwrap().write_bytes(offset as usize, &data[..size as usize]).unwrap();
        source.region().unwrap().publish_fence();
        let slot = blake3_slot(Operand { offset, ..input }, output, size, 0, true);
        // The same stamp serves again and again here, so the place is cleared first.
        target.region().unwrap().write_bytes(0, &[0; 64]).unwrap();
        assert_eq!(bench.run(&slot).status, Status::Done);
        let found = stamped_value(&target, 0);
        assert_eq!(blake3::Hash::from(found), blake3::hash(&data[..size as usize]), "{size} bytes at {offset}");
    }
}

#[test]
#[ignore = "needs a Vulkan device; run by cargo xtask test"]
fn device_blake3_of_a_block_gives_the_chaining_value_of_each_tile() {
    use blake3::hazmat::HasherExt;
    let mut bench = Bench::new(64, None);
    let (source, input) = bench.buffer(1 << 20, MemoryUse::HostToDevice);
    let (target, output) = bench.buffer(64 * 16, MemoryUse::DeviceToHost);
    let mut bench = bench.launch();
    let data = noise((1 << 20) - 1500);
    source.region().unwrap().write_bytes(0, &data).unwrap();
    source.region().unwrap().publish_fence();
    // The counter crosses 32 bits inside the block.
    let chunk = (1_u64 << 32) - 128;
    assert_eq!(bench.run(&blake3_slot(input, output, data.len() as u32, chunk, false)).status, Status::Done);
    for (tile, bytes) in data.chunks(65_536).enumerate() {
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset((chunk + 64 * tile as u64) * 1024).update(bytes);
        assert_eq!(stamped_value(&target, tile), hasher.finalize_non_root(), "tile {tile}");
    }
}

#[test]
#[ignore = "needs a Vulkan device; run by cargo xtask test"]
fn device_bad_slots_fault_with_the_offending_word_and_touch_nothing() {
    let mut bench = Bench::new(64, None);
    let (readable, writable) = (bench.resident.allocate(64, MemoryUse::HostToDevice).unwrap(), MemoryUse::DeviceToHost);
    let (target, output) = bench.buffer(64, writable);
    let input = bench.register(&readable, READ);
    let stale = Operand { handle: Handle::new(0, 2).word(), ..output };
    let beyond = Operand { handle: Handle::new(4000, 1).word(), ..output };
    let mut bench = bench.launch();
    // A tenant that the host takes for registered and the device does not: the device checks for itself.
    let ghost = bench.ring.register_tenant(TenantConfig::default()).unwrap();
    Tenant { state: TenantState::Free, ..Tenant::DEFAULT }
        .store(&bench.resident.region(RegionKind::Control).unwrap(), ghost);
    let narrow = bench.ring.register_tenant(TenantConfig::default()).unwrap();
    Tenant { operations: 1 << Operation::Nop.code(), ..Tenant::DEFAULT }
        .store(&bench.resident.region(RegionKind::Control).unwrap(), narrow);
    let fill = Slot { output, ..Slot::new(Operation::Fill) }.tiled(64, 64, 1);
    let copy = Slot { input, output, ..Slot::new(Operation::Copy) }.tiled(64, 64, 1);
    let blake3 = blake3_slot(input, output, 64, 0, true);
    let at = |operand: Operand, offset| Operand { offset, ..operand };
    let cases = [
        (Slot::with_code(0x1234), Fault::UnknownOperation, 0x1234),
        (Slot { tenant: ghost, ..fill }, Fault::UnknownTenant, ghost),
        (Slot { tenant: narrow, ..fill }, Fault::OperationDenied, fill.operation),
        (Slot { output: stale, ..fill }, Fault::BadHandle, stale.handle),
        (Slot { output: beyond, ..fill }, Fault::BadHandle, beyond.handle),
        (Slot { output: Operand::default(), ..fill }, Fault::BadHandle, 0),
        (Slot { output: input, ..fill }, Fault::AccessDenied, input.handle),
        (Slot { output: at(output, 2), ..fill }, Fault::Misaligned, 2),
        (Slot { output: at(output, 4), ..fill }, Fault::OutOfRange, 4),
        (Slot { input: at(input, 0xffff_fffc), ..copy }, Fault::OutOfRange, 0xffff_fffc),
        (Slot { length: 62, ..fill }, Fault::Misaligned, 62),
        (Slot { tile_span: 0, ..fill }, Fault::BadArgument, 0),
        (Slot { tile_span: 32, ..fill }, Fault::BadArgument, 1),
        (Slot { tile_span: MAX_TILE_BYTES + 4, ..fill }, Fault::BadArgument, MAX_TILE_BYTES + 4),
        (Slot { length: 68, ..fill }, Fault::BadArgument, 1),
        (Slot { tile_span: 3, ..blake3 }, Fault::BadArgument, 3),
        (Slot { output: at(output, 40), ..blake3 }, Fault::OutOfRange, 40),
        (Slot { output: at(output, 36), ..blake3 }, Fault::Misaligned, 36),
        (
            Slot { length: 0xffff_ffff, tiles: 0xffff, ..blake3_slot(input, output, 64, 0, false) },
            Fault::BadArgument,
            0xffff,
        ),
        (blake3.with_args(&[1, 0, 0, STAMP]).unwrap(), Fault::BadArgument, 1),
        (blake3.with_args(&[0, 0, 2, STAMP]).unwrap(), Fault::BadArgument, 2),
        (blake3.with_args(&[0, 0, 0, 0]).unwrap(), Fault::BadArgument, 0),
        (Slot { length: 0, ..blake3.with_args(&[0, 0, 0, STAMP]).unwrap() }, Fault::BadArgument, 0),
    ];
    for (slot, fault, word) in cases {
        let completion = bench.run(&slot);
        assert_eq!(
            (completion.status, completion.fault, completion.fault_word),
            (Status::Faulted, fault, word),
            "{slot:?}"
        );
    }
    let mut bytes = [0; 64];
    bench.await_quanta();
    target.region().unwrap().read_bytes(0, &mut bytes).unwrap();
    assert_eq!(bytes, [0; 64]);
    assert_eq!(bench.run(&fill).status, Status::Done, "good slots run after bad ones");
}

#[test]
#[ignore = "needs a Vulkan device; run by cargo xtask test"]
fn device_a_slot_of_65535_tiles_runs_over_many_quanta() {
    let mut bench = Bench::new(8, Some(3)).launch();
    let slot = Slot { tiles: 65_535, ..Slot::new(Operation::Nop) };
    assert_eq!(bench.run(&slot).status, Status::Done);
    bench.resident.stop().unwrap();
    let (_, counters) = Counters::load(&bench.resident.region(RegionKind::Status).unwrap()).unwrap();
    assert_eq!((counters.claimed, counters.completed, counters.tiles), (1, 1, 65_535));
}

#[test]
#[ignore = "needs a Vulkan device; run by cargo xtask test"]
fn device_parks_when_idle_and_wakes_on_publish() {
    let mut bench = Bench::new(16, None).launch();
    for _ in 0..5 {
        let parks = bench.resident.quanta().parks;
        let start = Instant::now();
        while bench.resident.quanta().parks == parks {
            assert!(start.elapsed() < Duration::from_secs(10), "the relay does not park");
            std::thread::sleep(Duration::from_millis(5));
        }
        let quanta = bench.resident.quanta();
        assert_eq!(quanta.launched, quanta.finished, "nothing is in flight while parked");
        assert_eq!(bench.run(&Slot::new(Operation::Nop)).status, Status::Done);
    }
}

#[test]
#[ignore = "needs a Vulkan device; run by cargo xtask test"]
fn device_stops_with_work_outstanding_and_launches_again() {
    let mut bench = Bench::new(64, Some(2)).launch();
    for round in 0..5 {
        for _ in 0..bench.ring.free(Priority::Normal) {
            bench.publish(&Slot { tiles: 60_000, ..Slot::new(Operation::Nop) });
        }
        bench.resident.stop().unwrap();
        while bench.ring.reap().unwrap().is_some() {}
        let outstanding = bench.ring.tally().outstanding();
        let cancelled = bench.ring.cancel_outstanding();
        assert!(cancelled.len() as u64 == outstanding && outstanding > 0, "round {round}");
        let tally = bench.ring.tally();
        assert_eq!(tally.published, tally.done + tally.faulted + tally.cancelled);
        bench.resident.reset().unwrap();
        bench.ring = Ring::new(*bench.ring.geometry(), bench.resident.ring_memory());
        bench.resident.launch().unwrap();
        assert_eq!(bench.run(&Slot::new(Operation::Nop)).status, Status::Done);
    }
}

#[test]
#[ignore = "needs a Vulkan device; run by cargo xtask test"]
fn device_reads_imported_host_pages_or_says_that_it_cannot() {
    let mut bench = Bench::new(16, None);
    let alignment = bench.resident.info().import_alignment;
    let pages = Region::anonymous(1 << 20, (alignment.unwrap_or(0) as usize).max(65_536)).unwrap();
    let imported = match (bench.resident.import(&pages), alignment) {
        (Ok(imported), Some(_)) => imported,
        (Err(ImportError::Unsupported), None) => return,
        (imported, alignment) => panic!("{:?} with import alignment {alignment:?}", imported.err()),
    };
    assert!(bench.resident.import(&pages.slice(4..8).unwrap()).is_err(), "misaligned pages are refused");
    let input = bench.register(&imported, READ);
    let (target, output) = bench.buffer(1 << 20, MemoryUse::DeviceToHost);
    let mut bench = bench.launch();
    let data = noise(1 << 20);
    for round in 0..20 {
        let start = round * 1000;
        pages.write_bytes(0, &data[start..]).unwrap();
        pages.publish_fence();
        // A GPU may keep host pages in its caches for as long as a quantum runs.
        bench.await_quanta();
        let slot = Slot { input, output, ..Slot::new(Operation::Copy) };
        assert_eq!(bench.run(&slot.tiled(1 << 20, MAX_TILE_BYTES, 1)).status, Status::Done);
        bench.await_quanta();
        let mut found = vec![0; data.len() - start];
        target.region().unwrap().read_bytes(0, &mut found).unwrap();
        assert!(found == data[start..], "round {round}");
    }
}

#[test]
#[ignore = "needs a Vulkan device; run by cargo xtask test"]
fn device_memory_dropped_while_the_kernel_runs_is_returned() {
    let bench = Bench::new(16, None).launch();
    for _ in 0..500 {
        drop(bench.resident.allocate(4 << 20, MemoryUse::Local).unwrap());
        drop(bench.resident.allocate(64 << 10, MemoryUse::DeviceToHost).unwrap());
    }
}

#[test]
#[ignore = "needs a Vulkan device; run by cargo xtask test"]
fn device_snapshots_are_taken_while_the_kernel_runs() {
    let mut bench = Bench::new(16, Some(1)).launch();
    let status = bench.resident.region(RegionKind::Status).unwrap();
    for done in 1..50 {
        bench.run(&Slot::new(Operation::Nop));
        let before = Counters::load(&status).map_or(0, |(stamp, _)| stamp);
        bench.ring.request_snapshot();
        bench.resident.note_outstanding(1);
        let start = Instant::now();
        let counters = loop {
            match Counters::load(&status) {
                Some((stamp, counters)) if stamp != before && counters.completed == done => break counters,
                _ => assert!(start.elapsed() < Duration::from_secs(10), "no snapshot"),
            }
        };
        bench.resident.note_outstanding(0);
        assert_eq!((counters.claimed, counters.completed), (done, done));
    }
}

#[test]
#[ignore = "needs a Vulkan device; run by cargo xtask test"]
fn device_submit_and_fence_is_a_real_rival() {
    let (vulkan, index) = Bench::vulkan();
    let mut rival = SubmitFence::new(&vulkan, index, &KernelConfig::default(), 1).unwrap();
    for _ in 0..1000 {
        assert!(rival.round_trip().unwrap() > Duration::ZERO);
    }
    drop(rival);
    assert_eq!(vulkan.validation_messages(), 0);
}

#[test]
#[ignore = "needs a Vulkan device; run by cargo xtask test"]
fn device_an_echo_answers_each_word() {
    let (vulkan, index) = Bench::vulkan();
    let mut echo = Echo::new(&vulkan, index).unwrap();
    let answered = (0..2000).filter(|_| echo.round_trip().unwrap().is_some()).count();
    // How many depends on what else the processors do; some do, or none was answered by a running kernel.
    assert!(answered > 0, "each of 2000 words needed a new dispatch");
    drop(echo);
    assert_eq!(vulkan.validation_messages(), 0);
}

#[test]
#[ignore = "needs a Vulkan device; run by cargo xtask test"]
fn device_plain_dispatches_and_transfers_stay_within_their_buffers() {
    let (vulkan, index) = Bench::vulkan();
    let mut device = PlainDevice::open(&vulkan, index).unwrap();
    let source = device.allocate(3 * 20_000, MemoryUse::HostToDevice).unwrap();
    let target = device.allocate(3 * 20_000 + 4, MemoryUse::DeviceToHost).unwrap();
    let data = noise(3 * 20_000);
    source.region().unwrap().write_bytes(0, &data).unwrap();
    let parts = Parts { bytes: 20_000, count: 3, tile: 4096 };
    let read = |len: usize| {
        let mut out = vec![0; len];
        target.region().unwrap().read_bytes(0, &mut out).unwrap();
        out
    };
    for (word, transfer) in [(1, false), (2, true)] {
        let mut run = |bulk| match transfer {
            false => device.dispatch(bulk, parts, &source, &target).unwrap().run().unwrap(),
            true => device.transfer(bulk, parts, &source, &target).unwrap().run().unwrap(),
        };
        run(Bulk::Copy);
        assert_eq!(read(60_004), [&data[..], &[0; 4]].concat());
        run(Bulk::Fill(word));
        assert_eq!(read(60_004), [[word as u8, 0, 0, 0].repeat(15_000), vec![0; 4]].concat());
    }
    let more = Parts { count: 4, ..parts };
    let refused = device.dispatch(Bulk::Reduce, more, &source, &target).err();
    assert!(
        matches!(refused, Some(PlainError::Short { operand: "input", needed: 80_000, found: 60_000 })),
        "{refused:?}"
    );
    let refused = device.transfer(Bulk::Fill(0), more, &source, &target).err();
    assert!(matches!(refused, Some(PlainError::Short { operand: "output", needed: 80_000, .. })), "{refused:?}");
    let refused = device.transfer(Bulk::Blake3, parts, &source, &target).err();
    assert!(matches!(refused, Some(PlainError::NoCommand(Operation::Blake3))), "{refused:?}");
    for bytes in [0, 6] {
        let refused = device.dispatch(Bulk::Copy, Parts { bytes, count: 1, ..parts }, &source, &target).err();
        assert!(matches!(refused, Some(PlainError::Bytes { .. })), "{refused:?}");
    }
    for tile in [0, 6, MAX_TILE_BYTES + 4] {
        let refused = device.dispatch(Bulk::Reduce, Parts { tile, ..parts }, &source, &target).err();
        assert!(matches!(refused, Some(PlainError::Tile { .. })), "{refused:?}");
    }
    drop((source, target, device));
    assert_eq!(vulkan.validation_messages(), 0);
}

#[test]
#[ignore = "needs a Vulkan device; run by cargo xtask test"]
fn device_a_launch_on_wrong_regions_is_refused_with_its_reason() {
    use vyre_protocol::fault::LaunchFault;
    use vyre_vk::OpenError;
    let mut bench = Bench::new(16, Some(2));
    for (kind, word, expected) in [
        (RegionKind::Ring, 0, LaunchFault::Magic),
        (RegionKind::Status, 1, LaunchFault::Version),
        (RegionKind::Completions, 2, LaunchFault::Kind),
        (RegionKind::Resources, 3, LaunchFault::Size),
        (RegionKind::DebugLog, 9, LaunchFault::Geometry),
    ] {
        bench.resident.region(kind).unwrap().store(word, 0x1234_5678);
        match bench.resident.launch() {
            Err(OpenError::Refused { fault, region }) => assert_eq!((fault, region), (expected, kind as u32)),
            other => panic!("{kind}: {other:?}"),
        }
        bench.resident.reset().unwrap();
    }
    bench.ring = Ring::new(*bench.ring.geometry(), bench.resident.ring_memory());
    bench.resident.launch().unwrap();
    assert_eq!(bench.run(&Slot::new(Operation::Nop)).status, Status::Done);
}

/// Rebuilding after losses, or a long line of short-lived runtimes, must not use up what a driver has only once.
#[test]
#[ignore = "needs a Vulkan device; run by cargo xtask test"]
fn device_vulkan_is_loaded_again_and_again() {
    for _ in 0..60 {
        let (vulkan, index) = Bench::vulkan();
        assert!(vulkan.devices().unwrap().len() > index);
    }
}
