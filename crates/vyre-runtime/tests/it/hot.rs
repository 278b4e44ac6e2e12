//! Programs that the kernel holds as code of its own leave what the interpreter leaves.

use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use vyre_runtime::protocol::completion::Status;
use vyre_runtime::protocol::debuglog::LogRecord;
use vyre_runtime::protocol::fault::Fault;
use vyre_runtime::protocol::geometry::Priority;
use vyre_runtime::protocol::operation::Operation;
use vyre_runtime::protocol::ring::Ticket;
use vyre_runtime::protocol::slot::Slot;
use vyre_runtime::protocol::tenants::TenantConfig;
use vyre_runtime::protocol::vir0::{GROUP, PRINT_FUEL, Program, assemble, disassemble};
use vyre_runtime::vk::{DeviceKind, MemoryUse};
use vyre_runtime::{Bindings, EngineKind, HotPolicy, LoadedProgram, Options, ProgramState, Resource, Runtime};

use crate::Open;
use crate::cases::{end, noise, run};
use crate::generate::Gene;
use crate::programs::{bytes, options, words};

/// Longest time for a kernel. A software device compiles for long, and shares the processors.
const BUILD: Duration = Duration::from_secs(300);

/// A program over one tile.
struct Case {
    program: Program,
    parameters: Vec<u32>,
    items: u32,
    span: u32,
}

/// Bytes of input and output, and of the resource between two words of nobody that a generated program has besides.
const INPUT: usize = 8192;
const OUTPUT: usize = 32_768;
const SHARED: usize = 256;

struct Bench {
    runtime: Runtime,
    input: Resource,
    host: Resource,
    output: Resource,
    shared: Resource,
    tenant: u32,
}

/// What a slot leaves: how it ended, the words, and format and arguments of each line, unless there were more than the log holds.
type Outcome = (Status, Fault, u32, Vec<u32>, Vec<[u32; 3]>);

impl Bench {
    fn new(open: Open, hot: HotPolicy) -> Bench {
        let mut runtime = open(&Options { hot, ..options() });
        let input = runtime.allocate(INPUT as u64, MemoryUse::HostToDevice).unwrap();
        let host = runtime.allocate((OUTPUT + SHARED) as u64, MemoryUse::DeviceToHost).unwrap();
        let output = runtime.allocate(OUTPUT as u64, MemoryUse::Local).unwrap();
        let shared = runtime.allocate(SHARED as u64, MemoryUse::Local).unwrap();
        input.write(0, &bytes(&crate::generate::input())).unwrap();
        input.write(INPUT / 4, &noise(INPUT - INPUT / 4, 3)).unwrap();
        let tenant = runtime.register_tenant(TenantConfig::default()).unwrap();
        Bench { runtime, input, host, output, shared, tenant }
    }

    fn load(&mut self, case: &Case) -> (LoadedProgram, Slot) {
        let loaded = self.runtime.load_program(&case.program).unwrap();
        let further = [self.shared.handle()];
        let further = &further[..case.program.parts().resources.len().saturating_sub(2)];
        let (input, output) = (self.input.at(0), self.output.at(0));
        let bindings = Bindings { input, output, further, parameters: &case.parameters };
        let slot = loaded.slot(&bindings, case.items, case.span).unwrap();
        (loaded, Slot { tenant: self.tenant, ..slot })
    }

    /// The lines of a slot that was the last to print.
    fn lines(&mut self, slot: &Slot, ticket: Ticket) -> Vec<[u32; 3]> {
        let dropped = self.runtime.log_dropped();
        let records: Vec<_> = std::iter::from_fn(|| self.runtime.read_log()).map(|line| line.record).collect();
        let whose = (slot.tenant, ticket.number as u32, Priority::Normal, 2);
        let says = |record: &LogRecord| (record.tenant, record.wire_ticket, record.priority, record.arg_count);
        assert!(records.iter().all(|record| says(record) == whose), "{whose:?}: {records:?}");
        let lines = records.iter().map(|record| [record.format, record.args[0], record.args[1]]).collect();
        if self.runtime.log_dropped() == dropped { lines } else { Vec::new() }
    }

    fn run(&mut self, slot: &Slot) -> Outcome {
        let copy =
            |from, to, length| Slot { input: from, output: to, ..Slot::new(Operation::Copy) }.tiled(length, 4096, 1);
        let (output, shared) = (self.output.at(0), self.shared.at(0));
        let (low, high) = (self.host.at(0), self.host.at(OUTPUT as u32));
        self.host.write(0, &[0; OUTPUT + SHARED]).unwrap();
        let mut done = |slot: &Slot| assert_eq!(run(&mut self.runtime, slot).status, Status::Done);
        done(&copy(low, output, OUTPUT as u32));
        done(&copy(high, shared, SHARED as u32));
        let found = run(&mut self.runtime, slot);
        let lines = self.lines(slot, found.ticket);
        let mut done = |slot: &Slot| assert_eq!(run(&mut self.runtime, slot).status, Status::Done);
        done(&copy(output, low, OUTPUT as u32));
        done(&copy(shared, high, SHARED as u32));
        let mut left = vec![0; OUTPUT + SHARED];
        self.host.read(0, &mut left).unwrap();
        (found.status, found.fault, found.fault_word, words(&left), lines)
    }
}

/// Runs each case interpreted, makes one kernel of them all, and runs them again. Gives the outcomes, which are the same both times.
fn compare(open: Open, cases: &[Case]) -> Vec<Outcome> {
    let mut bench = Bench::new(open, HotPolicy::After(2));
    let loaded: Vec<_> = cases.iter().map(|case| bench.load(case)).collect();
    let before: Vec<_> = loaded.iter().map(|(_, slot)| bench.run(slot)).collect();
    let slots: Vec<_> = loaded.iter().map(|(_, slot)| *slot).collect();
    // The second tile of each, all at once.
    bench.runtime.publish_all(Priority::Normal, &slots).unwrap();
    bench.runtime.drain(BUILD).unwrap();
    while bench.runtime.reap().unwrap().is_some() {}
    while bench.runtime.read_log().is_some() {}
    let device = bench.runtime.engine().kind != EngineKind::Reference;
    let states: Vec<_> = loaded.iter().map(|(program, _)| bench.runtime.await_program(program, BUILD)).collect();
    let hot = states.iter().all(|state| *state == ProgramState::Hot);
    assert_eq!(hot, device, "{states:?}");
    for ((case, (_, slot)), before) in cases.iter().zip(&loaded).zip(&before) {
        let after = bench.run(slot);
        assert_eq!((before.0, before.1, before.2), (after.0, after.1, after.2), "{}", disassemble(&case.program));
        let differs = (0..before.3.len()).find(|i| before.3[*i] != after.3[*i]);
        assert_eq!(differs, None, "{}", disassemble(&case.program));
        assert_eq!(before.4, after.4, "{}", disassemble(&case.program));
    }
    let switches = bench.runtime.quanta().switches;
    assert_eq!(switches, u64::from(device), "the kernel was switched once");
    end(bench.runtime);
    before
}

/// A case of a text.
fn case(text: &str, parameters: &[u32], items: u32, span: u32) -> Case {
    let program = assemble(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    Case { program, parameters: parameters.to_vec(), items, span }
}

macro_rules! text {
    ($name:literal) => {
        include_str!(concat!("../../../../programs/", $name, ".vir"))
    };
}

/// Sums and products around the smallest normal number, and what is no number beside what is one.
const SMALL_FLOATS: &str = "
.resource read
.resource write
get v0, lane
mov v1, 0x3c000000 ; 2 to the -7
mov v2, 0x00800000 ; the smallest normal number
mov v3, 0x80a00000 ; and five quarters of it, negative
mov v4, 0x7f800000
u2f v5, v0
mulf v5, v5, v1
mulf v6, v5, v2
subf v7, v2, v6
addf v8, v6, v3
fma v9, v5, v2, v3
mulf v10, v4, v6 ; 0 times infinity for half of the lanes
eqf v11, v10, v10
ltf v12, v5, v10
lef v13, v10, v5
nef v14, v10, v6
shl v0, v0, 4
st32 r1[v0], v6
add v0, v0, 1
st32 r1[v0], v7
add v0, v0, 1
st32 r1[v0], v8
add v0, v0, 1
st32 r1[v0], v9
add v0, v0, 1
st32 r1[v0], v10
shr v0, v0, 2
add v0, v0, 1 ; the next quad
st128 r1[v0], v11
end";

/// Programs of the library: floats and lanes that leave a loop, scans and atomic changes. Drivers take long for more.
pub(crate) fn hot_programs_of_the_library_leave_the_same_bytes(open: Open) {
    let float = |x: f32| x.to_bits();
    let cases = [
        case(text!("mandelbrot"), &[20, float(-2.2), float(-1.2), float(0.13), 60], 256, 256),
        case(text!("filter"), &[0x4000_0000], 250, 256),
        case(SMALL_FLOATS, &[], 256, 256),
    ];
    let outcomes = compare(open, &cases);
    assert!(outcomes.iter().all(|outcome| outcome.0 == Status::Done));
    // Not the fourth, of `fma`, which is exact on some engines only.
    let of_lane = |lane: usize| [0, 1, 2, 4].map(|word| outcomes[2].3[lane * 16 + word]);
    assert_eq!(of_lane(64), [0, 0x0080_0000, 0x80a0_0000, 0x7fc0_0000]);
    assert_eq!(of_lane(176), [0x00b0_0000, 0x8000_0000, 0, 0x7f80_0000]);
}

/// Generated programs, six to a kernel. Where LLVM compiles, one takes minutes, so software devices show what they can by the tests beside
/// this one, and it says so.
pub(crate) fn hot_generated_programs_leave_the_same_bytes(open: Open) {
    let runtime = open(&options());
    let kind = runtime.engine().kind;
    end(runtime);
    if matches!(kind, EngineKind::Reference | EngineKind::Vulkan(DeviceKind::Software)) {
        eprintln!("generated programs become hot on GPUs only: this is {kind:?}");
        return;
    }
    let kernels = std::env::var("VYRE_KERNELS").ok().and_then(|count| count.parse().ok()).unwrap_or(3);
    let mut runner = TestRunner::deterministic();
    let genes = prop::collection::vec(any::<Gene>(), 0..40);
    let mut ended = [0; 2];
    for _ in 0..kernels {
        let programs =
            std::iter::repeat_with(|| crate::generate::program(&genes.new_tree(&mut runner).unwrap().current()));
        let cases: Vec<_> = programs.map(generated).take(6).collect();
        compare(open, &cases).iter().for_each(|outcome| ended[usize::from(outcome.0 == Status::Done)] += 1);
    }
    let [faulted, done] = ended;
    eprintln!("{done} generated programs ended and {faulted} faulted as code of the kernel as they do interpreted");
    assert!(faulted + done == 6 * kernels && done > 0);
}

/// A generated program over one tile.
fn generated(program: Program) -> Case {
    Case { program, parameters: vec![17, 0x8000_0001], items: GROUP, span: GROUP }
}

/// One program that stores now and then and ends with all sorts of fuel, and accesses outside.
pub(crate) fn hot_programs_fault_where_the_interpreter_does(open: Open) {
    let body = "get v0, lane\nget s0, tile\nmov v9, 3\nst32 r1[v0], v9\nadd v1, v0, 1\nadd v2, v1, v0\nmov s1, 0\nloop\n  eq s2, s1, 40\n  \
        break s2\n  add s1, s1, 1\n  and v3, v0, 7\n  ltu v3, s1, v3\n  if v3\n    ld32 v4, r0[v0]\n    st32 r1[v0], v4\n  else\n    \
        sub v2, v2, 1\n  endif\n  if s0\n    mov v5, 1\n  else\n    mov v5, 2\n  endif\n  st32 r1[v0 + 256], v5\nendloop\nst32 r1[v0], v2\nend";
    let head = ".resource read\n.resource read write\n.scratch 4\n";
    let fuelled = |fuel: u32| case(&format!("{head}.fuel {fuel}\n{body}"), &[], 1, 1);
    // An access outside is noted before the one behind it is done, and before the fuel runs out.
    let outside = "get v0, lane\nst32 r1[v0], v0\nld32 v1, r0[v0 + 2000]\nld32 v2, r0[v0 + 1900]\nmov v3, 0\n";
    let trap = "get v0, lane\nmov v1, 5\nand v2, v0, 3\nif v2\n  st32 r1[v0], v1\n  eq v3, v0, 77\n  trap v3, 9\nendif\nst32 r1[v0], v2\nend";
    let cases = [
        fuelled(500),
        case(&format!("{head}.fuel 45\n{outside}add v3, v3, 1\nst32 r1[v0], v3\nend"), &[], 1, 1),
        case(&format!("{head}{trap}"), &[], 1, 1),
    ];
    let outcomes = compare(open, &cases);
    let faults: Vec<_> = outcomes.iter().map(|outcome| outcome.1).collect();
    use Fault::{OutOfFuel, OutOfRange, Trap};
    assert_eq!(faults, [OutOfFuel, OutOfRange, Trap]);
    assert_eq!(outcomes[1].2, 4 * 2048, "the first lane of the first load");
}

/// A loop without memory, which the lanes of a hot program leave by themselves, each at another turn: the fuel runs out at each of its
/// instructions, before and behind the `break`, or lasts until all have left.
pub(crate) fn lanes_that_leave_by_themselves_run_out_of_fuel_together(open: Open) {
    let body = "get v0, lane\nand v4, v0, 31\nmov v1, 0\nmov v2, 0\nloop\n  eq v3, v1, v4\n  break v3\n  and v3, v1, 1\n  if v3\n    add v2, v2, v1\n  \
        else\n    sub v2, v2, 1\n  endif\n  add v1, v1, 1\nendloop\nst32 r1[v0], v2\nend";
    let fuelled = |fuel: u32| case(&format!(".resource read\n.resource read write\n.fuel {fuel}\n{body}"), &[], 1, 1);
    for fuels in [[500, 501, 502, 503], [504, 505, 506, 6000]] {
        let faults = compare(open, &fuels.map(fuelled)).into_iter().map(|outcome| outcome.1);
        let expected = fuels.map(|fuel| if fuel < 6000 { Fault::OutOfFuel } else { Fault::None });
        assert_eq!(faults.collect::<Vec<_>>(), expected);
    }
}

/// Lanes that wait, for the other side of a branch, behind a loop that they left and in one that all leave, find what they had, though hot
/// programs mask only the writes that would reach it.
pub(crate) fn lanes_that_wait_keep_what_they_read(open: Open) {
    let branch = "if v4\n  mul v1, v0, 5\n  mov v5, v1\n  add v2, v2, v5\n  mov v6, v2\n  st32 r1[v0], v6\nelse\n  add v1, v1, v2\n  mov v5, v3\n  \
        st32 r1[v0], v5\nendif\n";
    let nested = "loop\n  add s0, s0, 1\n  mov v5, s0\n  ltu v6, v4, v5\n  break v6\n  add v3, v3, v5\n  mov v7, 0\n  mov v8, v3\n  loop\n    \
        ltu v6, v5, v7\n    break v6\n    add v7, v7, 1\n    add v8, v8, v7\n  endloop\n  add v2, v2, v8\nendloop\n";
    let all_leave = "loop\n  add s1, s1, 1\n  eq v6, v4, 1\n  if v6\n    add v1, v1, 9\n    eq s2, s1, 3\n    break s2\n  endif\n  \
        add v3, v3, 1\nendloop\n";
    let begin = "get v0, lane\nmov v1, v0\nmov v2, 7\nmov v3, v0\nand v4, v0, 3\nmov s0, 0\nmov s1, 0\n";
    let end = "mul v1, v1, 31\nadd v1, v1, v2\nmul v1, v1, 31\nadd v1, v1, v3\nst32 r1[v0 + 256], v1\nend";
    let text = format!(".resource read\n.resource read write\n.fuel 9000\n{begin}{branch}{nested}{all_leave}{end}");
    let outcomes = compare(open, &[case(&text, &[], 1, 1)]);
    assert_eq!((outcomes[0].1, outcomes[0].2), (Fault::None, 0));
}

/// Lines come in order and once for the group, whatever lanes are active; not behind an access outside, and none that the fuel does not pay.
pub(crate) fn hot_programs_print_what_the_interpreter_does(open: Open) {
    let head = ".resource read\n.resource read write\n";
    let ways = "get v0, lane\nget s0, tile\nmul v1, v0, 3\nshuffle s1, v1, 7\nprintf 0, s0, s1\neq v2, v0, 300\nif v2\n  printf 1, s1, s1\nendif\n\
        if s0\n  printf 2, s0, s0\nelse\n  printf 3, s0, s1\nendif\nmov s3, 0\nand v3, v0, 3\nloop\n  eq v2, v3, s3\n  break v2\n  \
        printf 4, s3, s1\n  add s3, s3, 1\nendloop\nmov s4, inf\nsubf s4, s4, s4\nprintf 5, s4, s3\nst32 r1[v0], v1\nend";
    let outside = "get v0, lane\nmov s0, 7\nld32 v1, r0[v0]\nprintf 0, s0, s0\nld32 v1, r0[v0 + 2000]\nadd s0, s0, 1\nprintf 1, s0, s0\nend";
    let row = "mov s0, 5\nprintf 0, s0, s0\nmov s1, 6\nprintf 1, s0, s1\nend";
    let fuelled = |fuel: u32| case(&format!("{head}.fuel {fuel}\n{row}"), &[], 1, 1);
    let ways = ways.replace("inf", &f32::INFINITY.to_bits().to_string());
    let whole = [format!("{head}{ways}"), format!("{head}{outside}")].map(|text| case(&text, &[], 1, 1));
    // Not enough for the first line; for it alone, and for the instruction behind it; for both lines.
    let fuels = [2 + PRINT_FUEL - 1, 2 + PRINT_FUEL, 4 + PRINT_FUEL, 4 + 2 * PRINT_FUEL];
    let cases: Vec<_> = whole.into_iter().chain(fuels.map(fuelled)).collect();
    let (one, two) = ([0, 5, 5], [1, 5, 6]);
    let all = vec![[0, 0, 21], [1, 21, 21], [3, 0, 21], [4, 0, 21], [4, 1, 21], [4, 2, 21], [5, f32::NAN.to_bits(), 3]];
    let expected = [
        (Fault::None, 0, all),
        (Fault::OutOfRange, 4 * 2048, vec![[0, 7, 7]]),
        (Fault::OutOfFuel, 1, vec![]),
        (Fault::OutOfFuel, 2, vec![one]),
        (Fault::OutOfFuel, 3, vec![one]),
        (Fault::OutOfFuel, 4, vec![one, two]),
    ];
    let found: Vec<_> = compare(open, &cases).into_iter().map(|outcome| (outcome.1, outcome.2, outcome.4)).collect();
    assert_eq!(found, expected);
}

/// Words of x and y, and of what a slot leaves in y.
const WORDS: u32 = 4 * GROUP;

/// Slots come all the time, before, while and after the kernel is switched; then the program goes and comes again.
pub(crate) fn a_program_becomes_hot_while_work_runs(open: Open) {
    let mut bench = Bench::new(open, HotPolicy::After(40));
    let device = bench.runtime.engine().kind != EngineKind::Reference;
    let text = ".resource read\n.resource read write atomic\nget v0, item\nget s0, length\nltu v1, v0, s0\nif v1\n  ld32 v2, r0[v0]\n  \
        atadd v3, r1[v0], v2\nendif\nend";
    let case = case(text, &[], WORDS, GROUP);
    let (program, slot) = bench.load(&case);
    assert_eq!(bench.runtime.program_state(&program), ProgramState::Interpreted);
    let zero = Slot { output: bench.output.at(0), ..Slot::new(Operation::Fill) }.tiled(4 * WORDS, 4096, 1);
    assert_eq!(run(&mut bench.runtime, &zero).status, Status::Done);
    let (mut runs, mut behind) = (0, 0);
    while behind < 20 {
        assert_eq!(run(&mut bench.runtime, &slot).status, Status::Done);
        runs += 1;
        let state = bench.runtime.program_state(&program);
        behind += u32::from(!device || state == ProgramState::Hot);
        assert!(matches!(state, ProgramState::Interpreted | ProgramState::Building | ProgramState::Hot), "{state:?}");
    }
    let check = |bench: &mut Bench, runs: u32| {
        let back = Slot { input: bench.output.at(0), output: bench.host.at(0), ..Slot::new(Operation::Copy) };
        assert_eq!(run(&mut bench.runtime, &back.tiled(4 * WORDS, 4096, 1)).status, Status::Done);
        let (mut x, mut y) = (vec![0; 4 * WORDS as usize], vec![0; 4 * WORDS as usize]);
        bench.input.read(0, &mut x).unwrap();
        bench.host.read(0, &mut y).unwrap();
        let sums: Vec<u32> = words(&x).into_iter().map(|word| word.wrapping_mul(runs)).collect();
        assert_eq!(words(&y), sums, "each of {runs} slots ran once");
    };
    check(&mut bench, runs);
    let switches = bench.runtime.quanta().switches;
    bench.runtime.unload_program(program);
    assert_eq!(run(&mut bench.runtime, &slot).fault, Fault::BadHandle);
    let (again, slot) = bench.load(&case);
    let state = bench.runtime.program_state(&again);
    assert_eq!(state == ProgramState::Hot, device, "the kernel still has it: {state:?}");
    assert_eq!(run(&mut bench.runtime, &slot).status, Status::Done);
    check(&mut bench, runs + 1);
    assert_eq!(bench.runtime.quanta().switches, switches);
    end(bench.runtime);
}

/// Nothing is translated where that is not asked for; what cannot be translated says why.
pub(crate) fn what_is_not_hot_says_why(open: Open) {
    let long = format!("get v0, lane\n{}end", "add v0, v0, 1\n".repeat(505));
    let case = case(&long, &[], 1, 1);
    let mut never = Bench::new(open, HotPolicy::Never);
    let (program, slot) = never.load(&case);
    assert_eq!(never.run(&slot).0, Status::Done);
    assert_eq!(never.runtime.await_program(&program, BUILD), ProgramState::Interpreted);
    end(never.runtime);
    let mut always = Bench::new(open, HotPolicy::Always);
    let (program, slot) = always.load(&case);
    let state = always.runtime.await_program(&program, BUILD);
    let software = !matches!(always.runtime.engine().kind, EngineKind::Reference);
    assert_eq!(matches!(state, ProgramState::Untranslatable(_)), software && state != ProgramState::Hot, "{state:?}");
    assert_eq!(always.run(&slot).0, Status::Done);
    end(always.runtime);
}
