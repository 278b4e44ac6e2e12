//! VIR0 programs, on every engine.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use vyre_runtime::protocol::completion::Status;
use vyre_runtime::protocol::fault::Fault;
use vyre_runtime::protocol::geometry::{Counts, Priority};
use vyre_runtime::protocol::operation::Operation;
use vyre_runtime::protocol::resource::Handle;
use vyre_runtime::protocol::ring::Completion;
use vyre_runtime::protocol::slot::{Operand, Slot};
use vyre_runtime::protocol::vir0::{MAX_FUEL, assemble};
use vyre_runtime::vk::MemoryUse;
use vyre_runtime::{Bindings, Client, EngineKind, Options, Resource, ResourceError, Runtime};

use crate::Open;
use crate::cases::{LONG, end, noise, run};

/// A program over words: input, output, parameters, items and span.
struct Work<'a> {
    text: &'a str,
    input: &'a [u32],
    output: usize,
    parameters: &'a [u32],
    items: u32,
    span: u32,
}

/// Options of a kernel that runs programs.
pub(crate) fn options() -> Options {
    Options { operations: u32::MAX, ..crate::cases::options(64, None) }
}

pub(crate) fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

pub(crate) fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
}

/// Runs it and gives the completion and the output, which begins as the words 0xeeeeeeee.
fn execute(runtime: &mut Runtime, work: &Work<'_>) -> (Completion, Vec<u32>) {
    let program = assemble(work.text).unwrap_or_else(|error| panic!("{error}\n{}", work.text));
    let program = runtime.load_program(&program).unwrap();
    let input = runtime.allocate(4 * work.input.len().max(1) as u64, MemoryUse::HostToDevice).unwrap();
    let output = runtime.allocate(4 * work.output as u64, MemoryUse::DeviceToHost).unwrap();
    input.write(0, &bytes(work.input)).unwrap();
    output.write(0, &vec![0xee; 4 * work.output]).unwrap();
    let bindings = Bindings { input: input.at(0), output: output.at(0), parameters: work.parameters, further: &[] };
    let slot = program.slot(&bindings, work.items, work.span).unwrap();
    let completion = run(runtime, &slot);
    let mut found = vec![0; 4 * work.output];
    output.read(0, &mut found).unwrap();
    runtime.release(input);
    runtime.release(output);
    runtime.unload_program(program);
    (completion, words(&found))
}

/// y = a * x + y over words that no tile shares.
const SAXPY: &str = "
.resource read
.resource read write
.params 1
get v0, item
get s0, length
get s1, p0
ltu v1, v0, s0
if v1
  ld32 v2, r0[v0]
  ld32 v3, r1[v0]
  mulf v2, v2, s1
  addf v3, v3, v2
  st32 r1[v0], v3
endif
end";

pub(crate) fn a_program_runs_over_its_items_and_no_further(open: Open) {
    let mut runtime = open(&options());
    let x: Vec<u32> = (0..1000).map(|i| (i as f32 * 0.37).to_bits()).collect();
    for items in [0, 1, 255, 256, 257, 1000] {
        let work = Work { text: SAXPY, input: &x, output: 1001, parameters: &[2.5_f32.to_bits()], items, span: 256 };
        let (completion, found) = execute(&mut runtime, &work);
        assert_eq!(completion.status, Status::Done, "{:?} {:#x}", completion.fault, completion.fault_word);
        let y = f32::from_bits(0xeeee_eeee);
        for (i, word) in found.iter().enumerate() {
            let expected = if i < items as usize { (y + 2.5 * f32::from_bits(x[i])).to_bits() } else { 0xeeee_eeee };
            assert_eq!(*word, expected, "{i} of {items}");
        }
    }
    end(runtime);
}

/// Lanes go round a loop as often as their number says, in a branch within a branch; what they count shows who was active.
pub(crate) fn lanes_diverge_and_come_together(open: Open) {
    let text = "
.resource write
.resource write
get v0, lane
mov v1, 0
and v2, v0, 1
if v2
  mov v3, v0
  loop
    eq v4, v3, 0
    break v4
    sub v3, v3, 1
    and v5, v3, 3
    if v5
      add v1, v1, 1
    else
      add v1, v1, 100
      eq v6, v3, 8
      break v6
    endif
  endloop
  add v1, v1, 10000
else
  ltu v4, v0, 128
  if v4
    sub v1, v1, 1
  endif
  mov s0, 5
  add v1, v1, s0
endif
st32 r1[v0], v1
end";
    let expected = |lane: u32| {
        if lane.is_multiple_of(2) {
            return if lane < 128 { 4 } else { 5 };
        }
        let (mut count, mut left) = (0, lane);
        while left != 0 {
            left -= 1;
            count += if left % 4 != 0 { 1 } else { 100 };
            if left == 8 {
                break;
            }
        }
        count + 10_000
    };
    let mut runtime = open(&options());
    let work = Work { text, input: &[], output: 256, parameters: &[], items: 256, span: 256 };
    let (completion, found) = execute(&mut runtime, &work);
    assert_eq!(completion.status, Status::Done, "{:?} {:#x}", completion.fault, completion.fault_word);
    (0..256).for_each(|lane| assert_eq!(found[lane as usize], expected(lane), "lane {lane}"));
    end(runtime);
}

/// Each lane writes a row of twelve words with what it got from others.
const EXCHANGE: &str = "
.resource read
.resource write
.scratch 256
.const 3, 5, 7, 11
get v0, lane
ld32 v1, r0[v0]
and v2, v0, 3
ld32 v3, const[v2]
mul v4, v1, v3
scan v5, v4
shuffle v6, v5, 255
sub v7, 255, v0
st32 scratch[v7], v5
ld32 v8, scratch[v0]
sum s0, v4
mostu s1, v1
leastu s2, v1
all s3, v1
any s4, v1
if v2
  scan v9, v1
  sum s5, v1
  shuffle v10, v1, 4
  mul v11, v0, 12
  st32 r1[v11], v9
  st32 r1[v11 + 1], v10
endif
mul v11, v0, 12
st32 r1[v11 + 2], v5
st32 r1[v11 + 3], v6
st32 r1[v11 + 4], v8
st32 r1[v11 + 5], s0
st32 r1[v11 + 6], s1
st32 r1[v11 + 7], s2
st32 r1[v11 + 8], s3
st32 r1[v11 + 9], s4
st32 r1[v11 + 10], s5
mov s6, 0
atadd v12, scratch[0], s6
st32 r1[v11 + 11], v12
end";

pub(crate) fn lanes_exchange_what_they_hold(open: Open) {
    let input = words(&noise(1024, 11));
    let mut runtime = open(&options());
    let work = Work { text: EXCHANGE, input: &input, output: 12 * 256, parameters: &[], items: 256, span: 256 };
    let (completion, found) = execute(&mut runtime, &work);
    assert_eq!(completion.status, Status::Done, "{:?} {:#x}", completion.fault, completion.fault_word);
    let product: Vec<u32> = input.iter().enumerate().map(|(i, word)| word.wrapping_mul([3, 5, 7, 11][i % 4])).collect();
    let scan: Vec<u32> = product
        .iter()
        .scan(0_u32, |sum, word| {
            *sum = sum.wrapping_add(*word);
            Some(*sum)
        })
        .collect();
    let odd = |lane: usize| !lane.is_multiple_of(4);
    let sum_odd = |end: usize| (0..end).filter(|i| odd(*i)).fold(0_u32, |sum, i| sum.wrapping_add(input[i]));
    for lane in 0..256 {
        let row = &found[12 * lane..12 * lane + 12];
        // Lane 4 is not active in the branch.
        let branch = if odd(lane) { [sum_odd(lane + 1), 0] } else { [0xeeee_eeee; 2] };
        let reduced = [
            scan[255],
            *input.iter().max().unwrap(),
            *input.iter().min().unwrap(),
            input.iter().fold(u32::MAX, |all, word| all & word),
            input.iter().fold(0, |any, word| any | word),
            sum_odd(256),
        ];
        assert_eq!(row[..2], branch, "lane {lane}");
        assert_eq!(row[2..5], [scan[lane], scan[255], scan[255 - lane]], "lane {lane}");
        assert_eq!(row[5..11], reduced, "lane {lane}");
        assert_eq!(row[11], scan[255], "lane {lane}");
    }
    end(runtime);
}

/// What goes wrong is a fault with the value that is wrong, and memory beside the output is as it was.
pub(crate) fn hostile_programs_fault_and_touch_nothing_else(open: Open) {
    let head =
        ".resource read\n.resource read write\n.scratch 4\n.const 1\nget v0, lane\nget s0, tile\nmov s1, 0x3fffffff\n";
    let nested = format!("{}mov v1, 1\n{}", "if v0\n".repeat(16), "endif\n".repeat(16));
    let endless = "loop\n  break s0\nendloop\n";
    let mut deep = String::new();
    (0..16).for_each(|_| deep += "loop\nbreak s0\n");
    deep += "add s1, s1, 1\n";
    (0..16).for_each(|_| deep += "endloop\n");
    let cases: [(&str, Fault, u32); 14] = [
        ("ld32 v1, r0[v0 + 16]", Fault::OutOfRange, 64),
        ("ld32 s2, r0[s1]", Fault::OutOfRange, 0xffff_fffc),
        ("ld32 v1, const[1]", Fault::OutOfRange, 4),
        ("ld8 v1, r0[s1]", Fault::OutOfRange, 0x3fff_ffff),
        ("st32 scratch[v0], v0", Fault::OutOfRange, 16),
        ("add v2, v0, 250\nst32 r1[v2], v0", Fault::OutOfRange, 1024),
        ("sub v2, v0, 255\nst32 r1[v2], v0", Fault::OutOfRange, 0xffff_ffff),
        ("mov v4, 0\nmov v5, 0\nmov v6, 0\nmov v7, 0\nst128 r1[v0], v4", Fault::OutOfRange, 1024),
        ("trap v0, 77\nst32 r1[v0], v0", Fault::Trap, 77),
        ("eq v1, v0, 99\nif v1\ntrap v0, 5\nendif\nst32 r1[v0], v0", Fault::Trap, 5),
        (endless, Fault::OutOfFuel, 4),
        (&deep, Fault::OutOfFuel, 35),
        ("loop\neq v1, v0, 256\nbreak v1\nendloop", Fault::OutOfFuel, 6),
        (&nested, Fault::None, 0),
    ];
    let mut runtime = open(&options());
    let input = runtime.allocate(64, MemoryUse::HostToDevice).unwrap();
    let output = runtime.allocate(4096, MemoryUse::DeviceToHost).unwrap();
    let quiet = vec![0xee; 4096];
    for (code, fault, word) in cases {
        let program = assemble(&format!("{head}{code}\nend")).unwrap_or_else(|error| panic!("{error}: {code}"));
        let program = runtime.load_program(&program).unwrap();
        output.write(0, &quiet).unwrap();
        // The program sees a window of 1024 bytes up to the end.
        let bindings = Bindings { input: input.at(0), output: output.at(3072), ..Bindings::default() };
        let found = run(&mut runtime, &program.slot(&bindings, 1, 1).unwrap());
        let status = if fault == Fault::None { Status::Done } else { Status::Faulted };
        assert_eq!((found.status, found.fault), (status, fault), "{code}: {:#x}", found.fault_word);
        assert_eq!(found.fault_word, word, "{code}");
        let mut all = vec![0; 4096];
        output.read(0, &mut all).unwrap();
        assert_eq!(all[..3072], quiet[..3072], "{code}");
        runtime.unload_program(program);
    }
    // A neighbour runs as if nothing had been.
    let fill = Slot { output: output.at(0), args: [7, 0, 0, 0, 0, 0], ..Slot::new(Operation::Fill) };
    assert_eq!(run(&mut runtime, &fill.tiled(4096, 4096, 1)).status, Status::Done);
    end(runtime);
}

/// A driver that counts the iterations of all loops in a quantum must not have reached its end before the worker has.
pub(crate) fn programs_that_use_all_their_fuel_follow_each_other(open: Open) {
    // Quanta as long as llvmpipe bears, and not as long as is short enough.
    let mut runtime = open(&Options { workers: Some(1), quantum_fuel: Some(1 << 16), ..options() });
    for body in ["add s0, s0, 1\n", "if s1\nelse\nendif\n", "if v0\nendif\n", "loop\neq s2, s1, 0\nbreak s2\nendloop\n"]
    {
        for fuel in [MAX_FUEL, MAX_FUEL / 4 * 3] {
            let head = format!(".fuel {fuel}\nget v0, lane\nmov s0, 0\nmov s1, 0\n");
            let program = assemble(&format!("{head}loop\nbreak s1\n{}endloop\nend", body.repeat(20))).unwrap();
            let program = runtime.load_program(&program).unwrap();
            let slot = program.slot(&Bindings::default(), 1, 1).unwrap();
            for ticket in [(); 3].map(|()| runtime.publish(Priority::Normal, &slot).unwrap()) {
                let found = runtime.wait(ticket, LONG).unwrap();
                assert_eq!((found.status, found.fault), (Status::Faulted, Fault::OutOfFuel), "{body:?} with {fuel}");
            }
            runtime.unload_program(program);
        }
    }
    end(runtime);
}

pub(crate) fn slots_of_programs_are_checked(open: Open) {
    let mut runtime = open(&options());
    let memory = runtime.allocate(64, MemoryUse::HostToDevice).unwrap();
    let text = ".resource read\n.resource read write\n.resource write\n.params 2\nget s0, p0\nget s1, p1\nget s2, bytes2\nadd s0, s0, s1\nst32 r2[0], s0\nst32 r2[1], s2\nend";
    let program = runtime.load_program(&assemble(text).unwrap()).unwrap();
    let bindings =
        Bindings { input: memory.at(0), output: memory.at(0), further: &[memory.handle()], parameters: &[30, 12] };
    let error = program.slot(&Bindings { further: &[], ..bindings }, 1, 1).unwrap_err();
    assert_eq!(error.to_string(), "the program declares 1 resources beyond input and output, given are 0");
    assert_eq!(program.slot(&Bindings { parameters: &[1], ..bindings }, 1, 1).unwrap_err().expected, 2);
    let good = program.slot(&bindings, 1, 1).unwrap();
    assert_eq!(run(&mut runtime, &good).status, Status::Done);
    let mut found = [0; 8];
    memory.read(0, &mut found).unwrap();
    assert_eq!(words(&found), [42, 64]);
    let (handle, code) = (memory.handle().word(), program.handle().word());
    let none = Operand::default();
    let with = |args: [u32; 6]| Slot { args, ..good };
    let cases = [
        (Slot { tile_span: 0, ..good }, Fault::BadArgument, 0),
        (Slot { length: 5, ..good }, Fault::BadArgument, 1),
        (with([handle, handle, 0, 0, 0, 0]), Fault::AccessDenied, handle),
        (with([0, handle, 0, 0, 0, 0]), Fault::BadHandle, 0),
        (with([code, code, 0, 0, 0, 0]), Fault::AccessDenied, code),
        (with([code, 0, 0, 0, 0, 0]), Fault::BadHandle, 0),
        (Slot { input: none, ..good }, Fault::BadHandle, 0),
        (Slot { output: memory.at(68), ..good }, Fault::OutOfRange, 68),
        (Slot { output: memory.at(2), ..good }, Fault::Misaligned, 2),
        (Slot { input: Operand { handle: code, offset: 0 }, ..good }, Fault::AccessDenied, code),
    ];
    for (slot, fault, word) in cases {
        let found = run(&mut runtime, &slot);
        assert_eq!((found.status, found.fault, found.fault_word), (Status::Faulted, fault, word), "{slot:?}");
    }
    // Nobody reads or changes a program by another operation.
    let copy = Slot { input: Operand { handle: code, offset: 0 }, output: memory.at(0), ..Slot::new(Operation::Copy) }
        .tiled(64, 64, 1);
    assert_eq!(run(&mut runtime, &copy).fault, Fault::AccessDenied);
    let back = Slot { input: memory.at(0), output: Operand { handle: code, offset: 0 }, ..copy };
    assert_eq!(run(&mut runtime, &back).fault, Fault::AccessDenied);
    runtime.unload_program(program);
    assert_eq!(run(&mut runtime, &good).fault, Fault::BadHandle);
    end(runtime);
}

pub(crate) fn a_kernel_without_exec_says_so(open: Open) {
    let mut runtime = open(&crate::cases::options(64, None));
    let loaded = runtime.load_program(&assemble("end").unwrap());
    match runtime.engine().kind {
        // The reference engine has all operations.
        EngineKind::Reference => assert!(loaded.is_ok()),
        EngineKind::Vulkan(_) => {
            assert!(matches!(loaded, Err(ResourceError::NoPrograms)));
            let slot = Slot::exec(Handle::new(0, 1), &[], &[]).unwrap();
            assert_eq!(run(&mut runtime, &slot).fault, Fault::UnknownOperation);
        }
    }
    end(runtime);
}

/// Tiles that use nearly all fuel there is, many workers, and other work in between.
pub(crate) fn long_programs_share_the_kernel(open: Open) {
    let text = format!(
        ".resource write\n.resource write\n.fuel {MAX_FUEL}\nget v0, item\nmov v1, 0\nmov s0, 0\nloop\n  eq s1, s0, 1800\n  break s1\n  \
         add v1, v1, v0\n  add s0, s0, 1\nendloop\nst32 r1[v0], v1\nend"
    );
    let mut runtime = open(&options());
    let output = runtime.allocate(4096, MemoryUse::DeviceToHost).unwrap();
    let program = runtime.load_program(&assemble(&text.replace("1800", "1400")).unwrap()).unwrap();
    let bindings = Bindings { input: output.at(0), output: output.at(0), ..Bindings::default() };
    let slot = program.slot(&bindings, 1024, 256).unwrap();
    let tickets = runtime.publish_all(Priority::Low, &[slot; 3]).unwrap();
    assert_eq!(run(&mut runtime, &Slot::new(Operation::Nop)).status, Status::Done);
    runtime.drain(LONG).unwrap();
    assert_eq!(tickets.end - tickets.start, 3);
    while let Some(completion) = runtime.reap().unwrap() {
        assert_eq!(completion.status, Status::Done, "{:?} {}", completion.fault, completion.fault_word);
    }
    let mut found = vec![0; 4096];
    output.read(0, &mut found).unwrap();
    (0..1024).for_each(|i| assert_eq!(words(&found)[i], 1400 * i as u32));
    runtime.unload_program(program);
    let program = runtime.load_program(&assemble(&text).unwrap()).unwrap();
    let slot = program.slot(&bindings, 256, 256).unwrap();
    assert_eq!(run(&mut runtime, &slot).fault, Fault::OutOfFuel);
    end(runtime);
}

/// Programs come, run once each and go, while another thread has work on the kernel at all times: none is mistaken for another, the table
/// does not fill up, and the work goes on. With `VYRE_LOADS`, which says how many, it must be the only test of its process: the figures
/// are printed, and memory must not grow.
pub(crate) fn programs_come_and_go_while_work_runs(open: Open) {
    let counts = Counts { slots: 320, resources: 64, ..Counts::default() };
    let runtime = open(&Options { operations: u32::MAX, ..Options::new(counts).unwrap() });
    let usual = if runtime.engine().kind == EngineKind::Reference { 10_000 } else { 100 };
    let asked = std::env::var("VYRE_LOADS").ok().and_then(|count| count.parse().ok());
    let loads: u32 = asked.unwrap_or(usual);
    let client = Client::new(runtime);
    let output = client.with(|runtime| runtime.allocate(4, MemoryUse::DeviceToHost)).unwrap();
    let over = AtomicBool::new(false);
    let (memory, start) = (resident_kib(), Instant::now());
    let (gone, (slots, stall)) = std::thread::scope(|scope| {
        let work = scope.spawn(|| work_on(&client, &over));
        let gone: Vec<_> = (0..loads).map(|number| come_and_go(&client, &output, number)).collect();
        over.store(true, Ordering::Relaxed);
        (gone, work.join().unwrap())
    });
    let (time, grown) = (start.elapsed(), resident_kib().saturating_sub(memory));
    println!(
        "{loads} programs in {time:?}; memory grew from {memory} KiB by {grown}; beside them {slots} slots, with none for {stall:?} at most"
    );
    assert!(asked.is_none() || grown < 16 << 10, "{grown} KiB more after {loads} programs");
    assert!(stall < Duration::from_secs(5), "the work stood still for {stall:?}");
    for slot in gone.iter().step_by(37) {
        let found = client.with(|runtime| run(runtime, slot));
        assert_eq!((found.status, found.fault), (Status::Faulted, Fault::BadHandle));
    }
    client.with(|runtime| {
        runtime.exit(LONG).unwrap();
        assert_eq!(runtime.validation_messages(), 0);
    });
}

/// Loads a program, runs it, looks at what it leaves, and gives it back; the slot that now names nothing.
fn come_and_go(client: &Client, output: &Resource, number: u32) -> Slot {
    let text = format!(".resource write\n.resource write\nmov s0, {number}\nst32 r1[0], s0\nend");
    let program = client.with(|runtime| runtime.load_program(&assemble(&text).unwrap())).unwrap();
    let bindings = Bindings { input: output.at(0), output: output.at(0), ..Bindings::default() };
    let slot = program.slot(&bindings, 1, 1).unwrap();
    let ticket = client.publish(Priority::Normal, &slot).unwrap();
    assert_eq!(client.wait(ticket, LONG).unwrap().status, Status::Done);
    let mut found = [0; 4];
    output.read(0, &mut found).unwrap();
    assert_eq!(u32::from_le_bytes(found), number);
    client.with(|runtime| runtime.unload_program(program));
    slot
}

/// Keeps two slots outstanding, so that never nothing is; gives how many there were, and the longest time without a completion.
fn work_on(client: &Client, over: &AtomicBool) -> (u32, Duration) {
    let nop = Slot { tiles: 20, ..Slot::new(Operation::Nop) };
    let publish = || client.publish(Priority::Low, &nop).unwrap();
    let (mut first, mut slots, mut stall) = (publish(), 0, Duration::ZERO);
    let mut last = Instant::now();
    while !over.load(Ordering::Relaxed) {
        let second = publish();
        assert_eq!(client.wait(first, LONG).unwrap().status, Status::Done);
        stall = stall.max(last.elapsed());
        (first, slots, last) = (second, slots + 1, Instant::now());
    }
    client.wait(first, LONG).unwrap();
    (slots, stall)
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
