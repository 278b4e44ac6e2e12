//! What slots print, on every engine.

use std::time::Instant;

use vyre_runtime::protocol::completion::Status;
use vyre_runtime::protocol::fault::Fault;
use vyre_runtime::protocol::geometry::{Counts, Priority};
use vyre_runtime::protocol::slot::{Slot, SlotError};
use vyre_runtime::protocol::tenants::TenantConfig;
use vyre_runtime::protocol::vir0::{MAX_FUEL, PRINT_FUEL, STEP, assemble};
use vyre_runtime::vk::MemoryUse;
use vyre_runtime::{Bindings, Options, Runtime};

use crate::Open;
use crate::cases::{LONG, end, options, run};

fn read(runtime: &mut Runtime) -> vyre_runtime::LogLine {
    let start = Instant::now();
    loop {
        match runtime.read_log() {
            Some(line) => return line,
            None => assert!(start.elapsed() < LONG, "the line never came"),
        }
    }
}

pub(crate) fn g41_lines_carry_ticket_tenant_worker_and_arguments(open: Open) {
    let mut runtime = open(&options(320, None));
    let format = runtime.register_format("{i} of {u}: {f}").unwrap();
    let tenant = runtime.register_tenant(TenantConfig::default()).unwrap();
    let args = [(-3_i32).cast_unsigned(), 7, 0.25_f32.to_bits()];
    let slot = Slot { tenant, ..Slot::printf(format, &args).unwrap() };
    run(&mut runtime, &Slot::printf(format, &[]).unwrap());
    assert_eq!(run(&mut runtime, &slot).status, Status::Done);
    assert_eq!(read(&mut runtime).text, "? of ?: ?");
    let line = read(&mut runtime);
    assert_eq!(line.text, "-3 of 7: 0.25");
    assert_eq!((line.record.tenant, line.record.wire_ticket, line.record.priority), (tenant, 1, Priority::Normal));
    assert!(line.record.worker < runtime.engine().workers);
    assert_eq!(runtime.read_log(), None);
    assert_eq!(Slot::printf(format, &[0; 5]), Err(SlotError::TooManyArguments { given: 5 }));
    let bad = Slot { args: [format, 5, 0, 0, 0, 0], ..slot };
    let found = run(&mut runtime, &bad);
    assert_eq!((found.fault, found.fault_word), (Fault::BadArgument, 5));
    end(runtime);
}

/// A program prints once for the group and not for lanes that stand aside, in order, and no more than its fuel allows.
pub(crate) fn g41_programs_print_what_scalars_hold(open: Open) {
    let text = "
.resource read
.resource read
get s0, tile
get v0, lane
mul v1, v0, 3
shuffle s1, v1, 7
printf 0, s0, s1
eq v2, v0, 300
if v2
  printf 1, s1, s1
endif
eq s2, s0, 7
if s2
  printf 1, s0, s0
endif
mov s3, 0
loop
  eq s2, s3, 5
  break s2
  printf 0, s3, s1
  add s3, s3, 1
endloop
end";
    let mut runtime = open(&crate::programs::options());
    let first = runtime.register_format("{u}: {i}").unwrap();
    let second = runtime.register_format("aside {u} {x}").unwrap();
    assert_eq!((first, second), (0, 1));
    let program = runtime.load_program(&assemble(text).unwrap()).unwrap();
    let memory = runtime.allocate(4, MemoryUse::HostToDevice).unwrap();
    let bindings = Bindings { input: memory.at(0), output: memory.at(0), ..Bindings::default() };
    assert_eq!(run(&mut runtime, &program.slot(&bindings, 1, 1).unwrap()).status, Status::Done);
    let lines: Vec<_> = (0..7).map(|_| read(&mut runtime)).collect();
    let texts: Vec<_> = lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, ["0: 21", "aside 21 0x15", "0: 21", "1: 21", "2: 21", "3: 21", "4: 21"]);
    assert!(lines.iter().all(|line| line.record.wire_ticket == 0 && line.record.worker < runtime.engine().workers));
    assert_eq!(runtime.read_log(), None);
    let vector = assemble("get v0, lane\nmov s0, 0\nprintf 0, s0, v0\nend").unwrap_err();
    assert!(vector.to_string().contains("a scalar register"), "{vector}");
    let endless = "mov s0, 0\nloop\nprintf 0, s0, s0\nbreak s0\nendloop\nend";
    let program = runtime.load_program(&assemble(endless).unwrap()).unwrap();
    assert_eq!(run(&mut runtime, &program.slot(&Bindings::default(), 1, 1).unwrap()).fault, Fault::OutOfFuel);
    let printed = std::iter::from_fn(|| runtime.read_log()).count() as u64 + runtime.log_dropped();
    assert_eq!(printed, u64::from((MAX_FUEL - 2 * STEP - PRINT_FUEL) / (PRINT_FUEL + 2 * STEP)) + 1);
    end(runtime);
}

/// Far more lines than the log holds, read while the kernel writes: in order, none twice, none torn, every missing one counted.
pub(crate) fn s10_g40_the_newest_lines_stay_and_the_others_are_counted(open: Open) {
    let counts = Counts { slots: 320, log_records: 64, ..Counts::default() };
    let mut runtime = open(&Options::new(counts).unwrap());
    let format = runtime.register_format("line {u} {x}").unwrap();
    let total = 5000_u32;
    let (mut published, mut seen) = (0_u32, Vec::new());
    let mut lines = |runtime: &mut Runtime, most: usize| {
        for line in std::iter::from_fn(|| runtime.read_log()).take(most) {
            let [number, check, ..] = line.record.args;
            assert_eq!(check, !number, "a torn record");
            seen.push(number);
        }
    };
    while published < total {
        let count = runtime.free(Priority::Normal).min(total - published).min(40);
        let slot = |i: u32| Slot::printf(format, &[published + i, !(published + i)]).unwrap();
        let slots: Vec<_> = (0..count).map(slot).collect();
        runtime.publish_all(Priority::Normal, &slots).unwrap();
        published += count;
        // At first nobody reads, so that the log overflows for certain.
        lines(&mut runtime, if published < total / 2 { 0 } else { 5 });
        while runtime.reap().unwrap().is_some() {}
    }
    runtime.drain(LONG).unwrap();
    // What is left comes in whole, at the latest when the device has stopped.
    runtime.exit(LONG).unwrap();
    lines(&mut runtime, usize::MAX);
    assert_eq!(seen.len() as u64 + runtime.log_dropped(), u64::from(total));
    assert!(runtime.log_dropped() > 0, "the log never overflowed");
    if runtime.engine().workers == 1 {
        assert!(seen.is_sorted(), "one worker prints in order");
        assert_eq!(seen.last(), Some(&(total - 1)), "the newest line stays");
    }
    let unique = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), unique, "a line came twice");
    assert_eq!(runtime.validation_messages(), 0);
}
