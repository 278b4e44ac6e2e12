//! The example on every engine: built by the compiler, loaded, run, and compared with the host.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vyre_runtime::protocol::completion::Status;
use vyre_runtime::protocol::control::operation_bit;
use vyre_runtime::protocol::geometry::{Counts, Priority};
use vyre_runtime::protocol::operation::{CUSTOM_MASK, MAX_TILE_BYTES, Operation};
use vyre_runtime::protocol::slot::Slot;
use vyre_runtime::protocol::tenants::TenantConfig;
use vyre_runtime::protocol::vir0::{GROUP, assemble};
use vyre_runtime::vk::MemoryUse;
use vyre_runtime::{Bindings, DeviceChoice, EngineKind, HotPolicy, Options, ProgramState, Runtime};

/// An operation whose tiles of more than 4 bytes cost more than a worker keeps back.
const GREEDY: &str = "
Verdict check_greedy(inout Tile tile) { return check_bytes(); }
uint greedy_fuel(uint bytes) { return MAX_TILE_FUEL + bytes / 4u - 1u; }
uint greedy_stride(uint span) { return span; }
void greedy_tile(Tile tile) {}
";

/// A program that gives each number three times itself.
const THRICE: &str = "
.resource read
.resource read write
get v0, lane
mov v1, 0
mov s0, 0
loop
  ld32 v2, r0[v0]
  add v1, v1, v2
  add s0, s0, 1
  eq s1, s0, 3
  break s1
endloop
st32 r1[v0], v1
end";

/// Longest time for a kernel. A software device compiles for long, and shares the processors.
const BUILD: Duration = Duration::from_secs(300);

fn ops() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("ops")
}

/// Words that no operation leaves as they are, in two whole tiles and a part of a third.
fn words() -> Vec<u32> {
    (1..=2 * MAX_TILE_BYTES / 4 + 77).map(|i| i.wrapping_mul(0x9e37_79b9)).collect()
}

fn check_results(runtime: &mut Runtime, swap: u32, popcount: u32) {
    let words = words();
    let swapped: Vec<u32> = words.iter().map(|word| word.swap_bytes()).collect();
    assert_eq!(custom_op::run(runtime, swap, &words, words.len()).unwrap(), swapped);
    let tiles = words.chunks(MAX_TILE_BYTES as usize / 4);
    let bits: Vec<u32> = tiles.map(|tile| tile.iter().map(|word| word.count_ones()).sum()).collect();
    assert_eq!(custom_op::run(runtime, popcount, &words, bits.len()).unwrap(), bits);
    let short = custom_op::run(runtime, popcount, &words, bits.len() - 1).unwrap_err();
    assert_eq!(short.to_string(), "OutOfRange (0x0)");
    let unknown = custom_op::run(runtime, 0x1007, &words, words.len()).unwrap_err();
    assert_eq!(unknown.to_string(), "UnknownOperation (0x1007)");
    // A tenant may use those whose bits it has.
    let config = TenantConfig { operations: operation_bit(swap), ..TenantConfig::default() };
    let tenant = runtime.register_tenant(config).unwrap();
    let refused = runtime.publish(Priority::Low, &Slot { tenant, ..Slot::with_code(popcount) }).unwrap_err();
    assert!(refused.to_string().contains("may not use operation"), "{refused}");
}

mod device {
    use super::*;

    #[test]
    #[ignore = "needs glslang and a Vulkan device; run by cargo xtask test"]
    fn the_operations_do_what_their_models_do() {
        let folder = tempfile::tempdir().unwrap();
        let (sources, kernel) = (folder.path().join("ops"), folder.path().join("kernel"));
        fs::create_dir(&sources).unwrap();
        for entry in fs::read_dir(ops()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), sources.join(entry.file_name())).unwrap();
        }
        fs::write(sources.join("op_greedy.glsl"), GREEDY).unwrap();
        xtask::custom::build(&sources, &kernel).unwrap();

        let custom = custom_op::operations(&kernel).unwrap();
        assert_eq!(custom.names(), ["greedy", "popcount", "swap"]);
        let [greedy, popcount, swap] = ["greedy", "popcount", "swap"].map(|name| custom.operation(name).unwrap());
        // A kernel of these alone, which is sooner translated than one that also has the others.
        let options =
            Options { custom: Some(custom), operations: CUSTOM_MASK, ..Options::new(Counts::default()).unwrap() };
        for choice in [DeviceChoice::Reference, choice()] {
            let mut runtime = Runtime::open(&choice, &options).unwrap();
            check_results(&mut runtime, swap, popcount);
            if runtime.engine().kind != EngineKind::Reference {
                custom_op::run(&mut runtime, greedy, &[1], 1).unwrap();
                let dear = custom_op::run(&mut runtime, greedy, &[1, 2], 2).unwrap_err();
                assert!(dear.to_string().starts_with("OutOfFuel"), "{dear}");
            }
            assert_eq!(runtime.validation_messages(), 0);
        }
        // What is not compiled in is not there.
        let operations = operation_bit(popcount);
        let mut runtime = Runtime::open(&choice(), &Options { operations, ..options.clone() }).unwrap();
        let unknown = custom_op::run(&mut runtime, swap, &[1], 1).unwrap_err();
        assert_eq!(unknown.to_string(), format!("UnknownOperation ({swap:#x})"));
        check_hot(&options, swap, popcount);
    }

    /// The operations beside a program, before and after that becomes code of their kernel.
    fn check_hot(options: &Options, swap: u32, popcount: u32) {
        let operations = options.operations | operation_bit(Operation::Exec.code());
        let options = Options { operations, hot: HotPolicy::After(2), start_small: false, ..options.clone() };
        let mut runtime = Runtime::open(&choice(), &options).unwrap();
        let program = runtime.load_program(&assemble(THRICE).unwrap()).unwrap();
        let [input, output] = [MemoryUse::HostToDevice, MemoryUse::DeviceToHost]
            .map(|usage| runtime.allocate(4 * u64::from(GROUP), usage).unwrap());
        let numbers: Vec<u8> = (0..GROUP).flat_map(u32::to_le_bytes).collect();
        input.write(0, &numbers).unwrap();
        let bindings = Bindings { input: input.at(0), output: output.at(0), ..Bindings::default() };
        let slot = program.slot(&bindings, GROUP, GROUP).unwrap();
        let expected: Vec<u8> = (0..GROUP).flat_map(|i| (3 * i).to_le_bytes()).collect();
        let check = |runtime: &mut Runtime, state| {
            output.write(0, &vec![0; expected.len()]).unwrap();
            let ticket = runtime.publish(Priority::Normal, &slot).unwrap();
            assert_eq!(runtime.wait(ticket, BUILD).unwrap().status, Status::Done);
            let mut found = vec![0; expected.len()];
            output.read(0, &mut found).unwrap();
            assert_eq!(found, expected);
            check_results(runtime, swap, popcount);
            assert_eq!(runtime.await_program(&program, BUILD), state);
        };
        check(&mut runtime, ProgramState::Interpreted);
        check(&mut runtime, ProgramState::Hot);
        check(&mut runtime, ProgramState::Hot);
        assert_eq!((runtime.quanta().switches, runtime.validation_messages()), (1, 0));
    }

    #[test]
    #[ignore = "needs glslang; run by cargo xtask test"]
    fn a_mistake_is_shown_with_its_file_and_line() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("op_greedy.glsl"), GREEDY.replace("check_bytes()", "check_byte()")).unwrap();
        let error = xtask::custom::build(folder.path(), &folder.path().join("kernel")).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains("op_greedy.glsl:2") && error.contains("check_byte"), "{error}");
    }
}

/// The device that the suite names.
fn choice() -> DeviceChoice {
    match std::env::var("VYRE_TEST_DEVICE").expect("VYRE_TEST_DEVICE says lavapipe, swiftshader or gpu").as_str() {
        "lavapipe" => DeviceChoice::Name("llvmpipe".into()),
        "swiftshader" => DeviceChoice::Name("swiftshader".into()),
        _ => DeviceChoice::Auto,
    }
}
