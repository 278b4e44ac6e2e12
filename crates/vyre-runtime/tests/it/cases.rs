//! The cases; each opens what it needs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use vyre_runtime::io::{BackendChoice, IoMode, Source};
use vyre_runtime::protocol::completion::Status;
use vyre_runtime::protocol::fault::Fault;
use vyre_runtime::protocol::geometry::{Counts, Priority};
use vyre_runtime::protocol::operation::{MAX_TILE_BYTES, MAX_TILE_CHUNKS, Operation};
use vyre_runtime::protocol::ring::{Completion, PublishError, Ticket};
use vyre_runtime::protocol::slot::{MAX_TILES, Operand, Slot};
use vyre_runtime::vk::MemoryUse;
use vyre_runtime::{
    BulkVisibility, EngineKind, FileHasher, HashError, HashOptions, Options, Runtime, StagingTier, TierChoice,
    WaitError, WaitPolicy, litmus,
};

use crate::Open;

pub(crate) const LONG: Duration = Duration::from_secs(60);
pub(crate) const NOP: Slot = Slot::new(Operation::Nop);

pub(crate) fn options(slots: u32, workers: Option<u32>) -> Options {
    Options { workers, ..Options::new(Counts { slots, ..Counts::default() }).unwrap() }
}

/// Ends a runtime and checks what must hold of every one.
pub(crate) fn end(mut runtime: Runtime) {
    runtime.exit(LONG).unwrap();
    let tally = runtime.tally();
    assert_eq!(tally.published, tally.done + tally.faulted + tally.cancelled);
    assert_eq!(runtime.validation_messages(), 0);
}

pub(crate) fn run(runtime: &mut Runtime, slot: &Slot) -> Completion {
    let ticket = runtime.publish(Priority::Normal, slot).unwrap();
    runtime.wait(ticket, LONG).unwrap()
}

pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(len).collect()
}

pub(crate) fn operations_match_a_model(open: Open) {
    let mut runtime = open(&options(64, None));
    let len = 100_000;
    let input = runtime.allocate(len, MemoryUse::HostToDevice).unwrap();
    let output = runtime.allocate(len, MemoryUse::DeviceToHost).unwrap();
    let data = noise(len as usize, 1);
    input.write(0, &data).unwrap();
    let fill = Slot { output: output.at(0), args: [0xabcd_1234, 0, 0, 0, 0, 0], ..Slot::new(Operation::Fill) };
    assert_eq!(run(&mut runtime, &fill.tiled(len as u32, 512, 1)).status, Status::Done);
    let copy = Slot { input: input.at(8), output: output.at(16), ..Slot::new(Operation::Copy) };
    assert_eq!(run(&mut runtime, &copy.tiled(50_000, 256, 1)).status, Status::Done);
    let mut model: Vec<u8> = 0xabcd_1234_u32.to_le_bytes().into_iter().cycle().take(len as usize).collect();
    model[16..50_016].copy_from_slice(&data[8..50_008]);
    let mut found = vec![0; len as usize];
    output.read(0, &mut found).unwrap();
    assert!(found == model);
    for size in [0, 1, 64, 1024, 1025, 65_536] {
        let slot = Slot { input: input.at(4), output: output.at(0), ..Slot::new(Operation::Blake3) };
        let slot = slot.with_args(&[0, 0, 1, size + 1]).unwrap().tiled(size, MAX_TILE_CHUNKS, 1024);
        assert_eq!(run(&mut runtime, &slot).status, Status::Done);
        let start = Instant::now();
        let record = loop {
            match output.read_stamped(0, size + 1).unwrap() {
                Some(record) => break record,
                None => assert!(start.elapsed() < Duration::from_secs(10), "the value never came"),
            }
        };
        let hash = vyre_protocol::stamped::to_bytes(&record);
        assert_eq!(blake3::Hash::from(hash), blake3::hash(&data[4..4 + size as usize]), "{size} bytes");
    }
    end(runtime);
}

pub(crate) fn s10_bad_slots_fault_and_good_ones_run_after_them(open: Open) {
    let mut runtime = open(&options(64, None));
    let output = runtime.allocate(64, MemoryUse::DeviceToHost).unwrap();
    let fill = Slot { output: output.at(0), ..Slot::new(Operation::Fill) }.tiled(64, 64, 1);
    let at = |offset| Operand { offset, ..fill.output };
    let stale = Operand { handle: fill.output.handle + (1 << 20), offset: 0 };
    for (slot, fault, word) in [
        (Slot::with_code(0xfff0), Fault::UnknownOperation, 0xfff0),
        (Slot { output: stale, ..fill }, Fault::BadHandle, stale.handle),
        (Slot { output: Operand::default(), ..fill }, Fault::BadHandle, 0),
        (Slot { output: at(1), ..fill }, Fault::Misaligned, 1),
        (Slot { output: at(8), ..fill }, Fault::OutOfRange, 8),
        (Slot { length: 0xffff_fffc, tiles: 0xffff, tile_span: MAX_TILE_BYTES, ..fill }, Fault::BadArgument, 0xffff),
        (Slot { length: 62, ..fill }, Fault::Misaligned, 62),
        (Slot { tile_span: 2, ..fill }, Fault::Misaligned, 2),
        (Slot { tile_span: 0, ..fill }, Fault::BadArgument, 0),
        (Slot { tile_span: 16, tiles: 3, ..fill }, Fault::BadArgument, 3),
    ] {
        let found = run(&mut runtime, &slot);
        assert_eq!((found.status, found.fault, found.fault_word), (Status::Faulted, fault, word), "{slot:?}");
    }
    // The first fault of many tiles is the slot's; the others are spared.
    let many = Slot { tiles: 1000, ..Slot::with_code(0x2000) };
    assert_eq!(run(&mut runtime, &many).fault, Fault::UnknownOperation);
    assert_eq!(run(&mut runtime, &fill).status, Status::Done);
    assert_eq!(runtime.tally().faulted, 11);
    end(runtime);
}

pub(crate) fn s10_f33_one_partition_is_a_fifo(open: Open) {
    let mut runtime = open(&options(5, None));
    for number in 0..3000 {
        let completion = run(&mut runtime, &NOP);
        assert_eq!((completion.ticket.number, completion.status), (number, Status::Done));
    }
    assert!(matches!(runtime.publish_all(Priority::Low, &[NOP, NOP]), Err(PublishError::TooMany { .. })));
    end(runtime);
}

pub(crate) fn f32_higher_priorities_come_first_but_lower_ones_come(open: Open) {
    let mut runtime = open(&options(500, Some(1)));
    // A long slot holds the one worker while the others are published; where this thread was too slow for that, it tries again.
    let blocker = Slot { tiles: 20_000, ..NOP };
    let mut order = Vec::new();
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < LONG, "the worker was always quicker");
        runtime.publish(Priority::Critical, &blocker).unwrap();
        runtime.publish_all(Priority::Idle, &[NOP; 50]).unwrap();
        runtime.publish_all(Priority::High, &[NOP; 50]).unwrap();
        let in_time = runtime.reap().unwrap().map(|completion| order.push(completion.ticket.priority)).is_none();
        while order.len() < 101 {
            assert!(start.elapsed() < LONG, "{order:?}");
            order.extend(runtime.reap().unwrap().map(|completion| completion.ticket.priority));
        }
        if in_time {
            break;
        }
        order.clear();
    }
    // While higher work goes on, one lower claim comes every 16: among the first 50 there are some, and few.
    let last_high = order.iter().rposition(|priority| *priority == Priority::High).unwrap();
    let early = order[..last_high].iter().filter(|priority| **priority == Priority::Idle).count();
    assert!(early < 50, "IDLE was not served before HIGH");
    assert_eq!(order.iter().filter(|priority| **priority == Priority::Idle).count(), 50);
    end(runtime);
}

/// Processor time of this thread.
fn thread_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split_whitespace().next().unwrap().parse().unwrap())
}

pub(crate) fn every_wait_policy_waits_and_sleepers_leave_the_processor(open: Open) {
    for wait in [WaitPolicy::Spin, WaitPolicy::BackOff, WaitPolicy::Sleep] {
        let mut runtime = open(&Options { wait, ..options(64, Some(1)) });
        for _ in 0..100 {
            assert_eq!(run(&mut runtime, &NOP).status, Status::Done);
        }
        // A ticket that nobody has published never completes.
        let never = Ticket { priority: Priority::Low, number: 1 << 40 };
        let (start, before) = (Instant::now(), thread_time());
        let timeout = Duration::from_millis(200);
        assert!(matches!(runtime.wait(never, timeout), Err(WaitError::Timeout { .. })), "{wait:?}");
        let (waited, used) = (start.elapsed(), thread_time() - before);
        assert!(waited >= timeout, "{wait:?}: {waited:?}");
        if wait != WaitPolicy::Spin {
            assert!(used < waited / 2, "{wait:?} used {used:?} of {waited:?}");
        }
        end(runtime);
    }
}

pub(crate) fn s10_f32_every_partition_alone_is_served(open: Open) {
    let mut runtime = open(&options(25, None));
    for priority in Priority::ALL {
        for _ in 0..200 {
            let ticket = runtime.publish(priority, &NOP).unwrap();
            assert_eq!(runtime.wait(ticket, LONG).unwrap().ticket, ticket);
        }
    }
    end(runtime);
}

pub(crate) fn s10_drain_exit_abort_and_relaunch_keep_the_tally(open: Open) {
    let mut runtime = open(&options(500, None));
    runtime.publish_all(Priority::Normal, &[NOP; 100]).unwrap();
    runtime.drain(LONG).unwrap();
    assert_eq!(std::iter::from_fn(|| runtime.reap().unwrap()).count(), 100, "drained completions are still delivered");
    runtime.close();
    assert_eq!(runtime.publish(Priority::Normal, &NOP), Err(PublishError::Closed));
    runtime.exit(LONG).unwrap();
    for _ in 0..3 {
        runtime.relaunch().unwrap();
        runtime.publish_all(Priority::Normal, &vec![Slot { tiles: 50_000, ..NOP }; 90]).unwrap();
        let report = runtime.abort();
        assert!(report.lost.is_none() && !report.cancelled.is_empty());
        let tally = runtime.tally();
        assert_eq!(tally.cancelled, report.cancelled.len() as u64);
        assert_eq!((tally.outstanding(), tally.published), (0, 90));
    }
    runtime.relaunch().unwrap();
    assert_eq!(run(&mut runtime, &NOP).status, Status::Done);
    end(runtime);
}

pub(crate) fn s10_waits_last_as_long_as_they_say(open: Open) {
    let mut runtime = open(&options(500, Some(1)));
    for _ in 0..80 {
        runtime.publish(Priority::Normal, &Slot { tiles: 65_535, ..NOP }).unwrap();
    }
    let ticket = runtime.publish(Priority::Normal, &NOP).unwrap();
    let start = Instant::now();
    let waited = runtime.wait(ticket, Duration::from_millis(100));
    let took = start.elapsed();
    assert!(matches!(waited, Err(WaitError::Timeout { .. })), "{waited:?}");
    assert!(took >= Duration::from_millis(100) && took < Duration::from_millis(200), "{took:?}");
    runtime.abort();
    assert_eq!(runtime.validation_messages(), 0);
}

pub(crate) fn resources_come_and_go_while_the_kernel_runs(open: Open) {
    let counts = Counts { resources: 8, slots: 64, ..Counts::default() };
    let mut runtime = open(&Options::new(counts).unwrap());
    for round in 0..30_u32 {
        let output = runtime.allocate(4096, MemoryUse::DeviceToHost).unwrap();
        let operand = output.at(0);
        let fill = Slot { output: operand, args: [round; 6], ..Slot::new(Operation::Fill) }.tiled(4096, 4096, 1);
        assert_eq!(run(&mut runtime, &fill).status, Status::Done);
        let mut word = [0; 4];
        output.read(4092, &mut word).unwrap();
        assert_eq!(u32::from_le_bytes(word), round);
        assert!(output.read(4093, &mut word).is_err() && output.write(4096, &word).is_err());
        runtime.release(output);
        assert_eq!(run(&mut runtime, &fill).fault, Fault::BadHandle, "a released handle faults");
    }
    let all: Vec<_> = std::iter::from_fn(|| runtime.allocate(64, MemoryUse::Local).ok()).collect();
    assert_eq!(all.len(), 8);
    end(runtime);
}

pub(crate) fn the_litmus_test_finds_nothing(open: Open) {
    let mut runtime = open(&options(320, None));
    let reports = litmus::run(&mut runtime, 6400).unwrap();
    assert!(reports[0].tries == 6400 && reports[1].tries == 100, "{reports:?}");
    for report in reports {
        // A GPU may keep imported pages in its caches: then staging passes them over.
        assert!(report.host_to_device() || report.probe.input == litmus::Input::Imported, "{report:?}");
        // And it may be late with bulk results: that is what safe mode is for.
        assert!(report.late_outputs == 0 || runtime.bulk_visibility() == BulkVisibility::AtQuantumEnd, "{report:?}");
    }
    end(runtime);
}

/// Safe mode on every device: what nobody else keeps the kernel for ends the quanta in flight, beside parks and between them.
pub(crate) fn bulk_results_wait_for_no_quantum_that_has_nothing_to_do(open: Open) {
    const ROUNDS: u32 = 100;
    let mut runtime = open(&Options { park_after: Duration::from_micros(100), ..options(64, Some(2)) });
    let device = runtime.engine().kind != EngineKind::Reference;
    if device {
        runtime.set_bulk_visibility(BulkVisibility::AtQuantumEnd);
    }
    let memory = runtime.allocate(4, MemoryUse::DeviceToHost).unwrap();
    for round in 0..ROUNDS {
        let fill = Slot { output: memory.at(0), args: [round; 6], ..Slot::new(Operation::Fill) }.tiled(4, 4, 1);
        assert_eq!(run(&mut runtime, &fill).status, Status::Done);
        let mut found = [0; 4];
        memory.read(0, &mut found).unwrap();
        assert_eq!(u32::from_le_bytes(found), round);
        if round % 10 == 9 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    let quanta = runtime.quanta();
    // Some may have ended by themselves.
    assert!(!device || (ROUNDS as u64 / 2..=ROUNDS.into()).contains(&quanta.cut_short), "{quanta:?}");
    end(runtime);
}

fn hasher(open: Open, options: HashOptions) -> FileHasher {
    let runtime = open(&Options::new(Counts::default()).unwrap());
    FileHasher::new(runtime, options).unwrap()
}

fn hash(hasher: &mut FileHasher, path: &std::path::Path) -> Result<blake3::Hash, HashError> {
    let source = Source::Path(path.into());
    hasher.hash(&source, &AtomicBool::new(false), |_, _| ()).map(|found| found.hash)
}

pub(crate) fn hashers_follow_each_other_on_one_runtime(open: Open) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let data = noise(300_000, 9);
    std::fs::write(file.path(), &data).unwrap();
    // Enough for a hasher of eight blocks, and too few for a second one if the first gave nothing back.
    let mut runtime = open(&Options::new(Counts { resources: 10, ..Counts::default() }).unwrap());
    for round in 0..6 {
        let options = HashOptions { block_size: 4096 << round, ..HashOptions::default() };
        let mut hasher = FileHasher::new(runtime, options).unwrap();
        assert_eq!(hash(&mut hasher, file.path()).unwrap(), blake3::hash(&data));
        runtime = hasher.into_runtime();
    }
    end(runtime);
}

fn end_hasher(mut hasher: FileHasher) {
    hasher.runtime_mut().exit(LONG).unwrap();
    assert_eq!(hasher.runtime().validation_messages(), 0);
    assert_eq!(hasher.staging().reader.pool().free(), hasher.staging().blocks(), "every block is back");
}

pub(crate) fn files_of_all_sizes_have_their_hash(open: Open) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let data = noise(3 << 20, 7);
    for (block_size, depth) in [(4 << 10, 1), (4 << 10, 64), (64 << 10, 2), (1 << 20, 3), (16 << 20, 1)] {
        let io = IoMode::Buffered;
        let mut hasher = hasher(open, HashOptions { block_size, depth, io, ..HashOptions::default() });
        let near = [block_size - 1, block_size, block_size + 1, 3 * block_size + 5];
        let sizes = [0, 1, 1023, 1024, 1025, 65_535, 65_536, 65_537, 1_000_000];
        for size in sizes.into_iter().chain(near).filter(|size| *size <= data.len()) {
            std::fs::write(file.path(), &data[..size]).unwrap();
            let found = hash(&mut hasher, file.path()).unwrap();
            assert_eq!(found, blake3::hash(&data[..size]), "{size} bytes in {depth} blocks of {block_size}");
        }
        end_hasher(hasher);
    }
}

pub(crate) fn a_bad_file_does_not_disturb_the_next(open: Open) {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good");
    let data = noise(1 << 20, 9);
    std::fs::write(&good, &data).unwrap();
    let mut hasher = hasher(open, HashOptions { block_size: 64 << 10, depth: 4, ..HashOptions::default() });
    for _ in 0..10 {
        assert!(matches!(hash(&mut hasher, folder.path()), Err(HashError::Open(_))));
        assert!(matches!(hash(&mut hasher, &folder.path().join("missing")), Err(HashError::Open(_))));
        assert_eq!(hash(&mut hasher, &good).unwrap(), blake3::hash(&data));
        // The file shrinks in mid-stream.
        let shrinking = folder.path().join("shrinking");
        std::fs::write(&shrinking, &data).unwrap();
        let source = Source::Path(shrinking.clone());
        let file = std::fs::OpenOptions::new().write(true).open(&shrinking).unwrap();
        let cut = hasher.hash(&source, &AtomicBool::new(false), |_, _| file.set_len(100_000).unwrap());
        assert!(matches!(cut, Err(HashError::Read(_))), "{:?}", cut.map(|found| found.bytes));
        // The caller gives up in mid-stream.
        let flag = AtomicBool::new(false);
        let interrupted = hasher.hash(&Source::Path(good.clone()), &flag, |_, _| {
            flag.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert!(matches!(interrupted, Err(HashError::Interrupted)));
        assert_eq!(hash(&mut hasher, &good).unwrap(), blake3::hash(&data));
    }
    end_hasher(hasher);
}

pub(crate) fn a_lost_device_is_opened_again_and_the_file_hashed_once_more(open: Open) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let data = noise(20 << 20, 9);
    std::fs::write(file.path(), &data).unwrap();
    let options = HashOptions { block_size: 64 << 10, depth: 2, ..HashOptions::default() };
    let mut hasher = hasher(open, options);
    let Some(switch) = hasher.runtime().loss_switch() else { return end_hasher(hasher) };
    let source = Source::Path(file.path().into());
    let mut most = 0;
    let mut steps_back = 0;
    let found = hasher.hash(&source, &AtomicBool::new(false), |bytes, _| {
        steps_back += u32::from(bytes < most);
        most = bytes;
        if bytes > 1 << 20 && !switch.swap(true, Ordering::Relaxed) {
            // The relay looks between two quanta, and a fast device hashes all of the file in one.
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    assert_eq!(found.unwrap().hash, blake3::hash(&data));
    assert_eq!(steps_back, 1, "the file was begun again once");
    assert_eq!(hash(&mut hasher, file.path()).unwrap(), blake3::hash(&data));
    end_hasher(hasher);
}

pub(crate) fn a_rebuild_reports_every_ticket(open: Open) {
    let mut runtime = open(&options(64, None));
    let Some(switch) = runtime.loss_switch() else { return end(runtime) };
    let done = runtime.publish(Priority::Normal, &NOP).unwrap();
    runtime.drain(LONG).unwrap();
    switch.store(true, Ordering::Relaxed);
    let start = Instant::now();
    let long = Slot { tiles: MAX_TILES, ..NOP };
    let lost = loop {
        if runtime.free(Priority::Normal) > 0 {
            runtime.publish(Priority::Normal, &long).unwrap();
        }
        match runtime.drain(Duration::from_millis(1)) {
            Err(WaitError::Lost(lost)) => break lost,
            _ => assert!(start.elapsed() < LONG, "the loss was never reported"),
        }
    };
    let published = runtime.tally().published;
    let report = runtime.rebuild().unwrap();
    assert_eq!(report.lost, Some(lost));
    assert!(report.completed.iter().any(|completion| completion.ticket == done));
    assert_eq!((report.completed.len() + report.unknown.len()) as u64, published, "{report:?}");
    assert_eq!(run(&mut runtime, &NOP).status, Status::Done, "the device serves again");
    end(runtime);
}

/// Two small blocks, rewritten thousands of times: a stale one would change the hash. `VYRE_STALE_MIB` makes it longer.
pub(crate) fn recycled_blocks_are_never_stale(open: Open) {
    let mib = std::env::var("VYRE_STALE_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(16);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let mut expected = blake3::Hasher::new();
    for part in 0..mib {
        let bytes = noise(1 << 20, part + 1);
        std::io::Write::write_all(&mut file, &bytes).unwrap();
        expected.update(&bytes);
    }
    let options = HashOptions { block_size: 64 << 10, depth: 2, ..HashOptions::default() };
    let mut hasher = hasher(open, options);
    assert_eq!(hash(&mut hasher, file.path()).unwrap(), expected.finalize());
    end_hasher(hasher);
}

pub(crate) fn staging_tiers_count_what_they_copy(open: Open) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let data = noise(1_234_567, 3);
    std::fs::write(file.path(), &data).unwrap();
    for tier in [TierChoice::Auto, TierChoice::Copied] {
        for backend in [BackendChoice::IoUring, BackendChoice::Threads] {
            let options = HashOptions { block_size: 64 << 10, depth: 4, tier, backend, ..HashOptions::default() };
            let mut hasher = hasher(open, options);
            assert_eq!(hash(&mut hasher, file.path()).unwrap(), blake3::hash(&data));
            let counters = hasher.staging().reader.counters();
            assert_eq!(counters.bytes_read, data.len() as u64);
            let copied = hasher.staging().tier() == StagingTier::Copied;
            let reference = hasher.runtime().engine().kind == EngineKind::Reference;
            assert!(copied || tier == TierChoice::Auto || reference);
            assert_eq!(counters.bounce_bytes, if copied { data.len() as u64 } else { 0 });
            end_hasher(hasher);
        }
    }
}
