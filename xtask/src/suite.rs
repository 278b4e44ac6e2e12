//! The test suite, tier by tier. A tier that cannot run is skipped, with the reason, and never ok.

use std::io::{self, BufRead, BufReader, Write};
use std::panic::resume_unwind;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Result, bail};
use clap::builder::PossibleValuesParser;

use crate::process::{cargo, root, shown};
use crate::provision::{self, Vulkan};
use crate::shaders;

/// Options of `cargo xtask test`.
#[derive(clap::Args, Default)]
pub struct Arguments {
    /// Install nothing; print the command instead, and skip what lacks something.
    #[arg(long)]
    no_install: bool,
    /// Run this tier only.
    #[arg(long, value_parser = PossibleValuesParser::new(tiers()))]
    tier: Option<String>,
}

/// Tiers that run one after another.
type Lane = &'static [&'static str];

/// The tiers. The lanes of a stage run at the same time: nearly all that the drivers of software Vulkan do is to compile kernels, on one
/// processor each.
const STAGES: [&[Lane]; 3] =
    [&[&["pure", "loom", "spirv"]], &[&["swiftshader"], &["lavapipe", "branches"]], &[&["gpu"]]];

fn tiers() -> impl Iterator<Item = &'static str> {
    STAGES.into_iter().flatten().copied().flatten().copied()
}

/// Longest time for each model, where `VYRE_LOOM_SECONDS` does not say another.
const LOOM_SECONDS: u64 = 20;

/// Packages with tests that need a Vulkan device.
const ALL: [&str; 4] = ["vyre-vk", "vyre-runtime", "vyre-cli", "custom-op"];
/// Those among them whose code depends on what the device can do.
const ENGINES: [&str; 2] = ["vyre-vk", "vyre-runtime"];

/// A tier that has run.
struct Run {
    tier: &'static str,
    outcome: Outcome,
    tests: Tests,
}

/// What became of a tier.
enum Outcome {
    Ok,
    Failed(String),
    Skipped(String),
}

/// Sums of the test runner's own counts, and which tests have failed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tests {
    passed: u64,
    failed: u64,
    failures: Vec<String>,
}

/// Runs the tiers.
///
/// # Errors
/// If a tier fails.
pub fn run(arguments: &Arguments) -> Result<()> {
    run_tiers(arguments, false)
}

/// The same, and a skipped tier of software Vulkan fails too.
///
/// # Errors
/// If a tier fails, or one of software Vulkan is skipped.
pub fn run_strictly() -> Result<()> {
    run_tiers(&Arguments::default(), true)
}

fn run_tiers(arguments: &Arguments, strict: bool) -> Result<()> {
    let vulkan = provision::provide(!arguments.no_install)?;
    let chosen = |tier: &&str| arguments.tier.as_deref().is_none_or(|only| only == *tier);
    let chosen_of = |lane: &Lane| -> Vec<_> { lane.iter().copied().filter(chosen).collect() };
    let mut runs = Vec::new();
    for lanes in STAGES {
        let lanes: Vec<_> = lanes.iter().map(chosen_of).filter(|lane| !lane.is_empty()).collect();
        runs.extend(run_stage(&lanes, &vulkan));
    }
    println!("\n== summary");
    let (mut bad, mut skipped) = (0, 0);
    for Run { tier, outcome, tests } in &runs {
        match outcome {
            Outcome::Ok => println!("{tier:<12} ok"),
            Outcome::Failed(why) => {
                bad += 1;
                println!("{tier:<12} FAILED: {why}");
                tests.failures.iter().for_each(|name| println!("{:<12} {name}", ""));
            }
            Outcome::Skipped(why) => {
                skipped += 1;
                bad += u64::from(strict && *tier != "gpu");
                println!("{tier:<12} skipped: {why}");
            }
        }
    }
    // Tiers are counted as skipped, tests as passed and failed: each ignored test belongs to a tier of its own.
    let passed: u64 = runs.iter().map(|run| run.tests.passed).sum();
    let failed: u64 = runs.iter().map(|run| run.tests.failed).sum();
    println!("{passed} passed, {} failed, {skipped} skipped", failed.max(bad));
    if bad > 0 { bail!("{bad} tiers failed, or were skipped where they must not be") } else { Ok(()) }
}

/// Runs the lanes of a stage. The first prints as it goes, the others when it has ended.
fn run_stage(lanes: &[Vec<&'static str>], vulkan: &Vulkan) -> Vec<Run> {
    let [first, others @ ..] = lanes else { return Vec::new() };
    thread::scope(|scope| {
        let apart = others.iter().map(|lane| {
            scope.spawn(|| {
                let mut out = Vec::new();
                (run_lane(lane, vulkan, &mut out), out)
            })
        });
        // All begin before the first one does.
        let apart: Vec<_> = apart.collect();
        let mut runs = run_lane(first, vulkan, &mut io::stdout());
        for lane in apart {
            let (more, out) = lane.join().unwrap_or_else(|panic| resume_unwind(panic));
            print!("{}", String::from_utf8_lossy(&out));
            runs.extend(more);
        }
        runs
    })
}

fn run_lane(lane: &[&'static str], vulkan: &Vulkan, out: &mut dyn Write) -> Vec<Run> {
    lane.iter().map(|tier| run_tier(tier, vulkan, out)).collect()
}

fn run_tier(tier: &'static str, vulkan: &Vulkan, out: &mut dyn Write) -> Run {
    _ = writeln!(out, "\n== tier {tier}");
    let missing = |what: &str| Outcome::Skipped(format!("{what} is not there; run without --no-install"));
    let mut tests = Tests::default();
    let mut test = |mut command: Command| test(&mut command, &mut tests, out);
    let outcome = match tier {
        "pure" => {
            let mut command = cargo();
            command.args(["test", "--workspace", "--locked", "--no-fail-fast"]);
            test(command)
        }
        "loom" => test(models()),
        "spirv" => match shaders::check() {
            Ok(()) => Outcome::Ok,
            Err(error) => Outcome::Failed(format!("{error:#}")),
        },
        "lavapipe" => match (&vulkan.lavapipe, &vulkan.layers) {
            (None, _) => missing("lavapipe"),
            (_, None) => missing("the validation layer"),
            (Some(driver), Some(layers)) => test(device_tests("lavapipe", &ALL, Some(driver), Some(layers), &DEVICE)),
        },
        "swiftshader" => match (&vulkan.swiftshader, &vulkan.layers) {
            (None, _) => missing("SwiftShader"),
            (_, None) => missing("the validation layer"),
            (Some(driver), Some(layers)) => {
                test(device_tests("swiftshader", &ENGINES, Some(driver), Some(layers), &DEVICE))
            }
        },
        "branches" => match &vulkan.swiftshader {
            None => missing("SwiftShader"),
            // On SwiftShader that is told that it is a GPU.
            Some(driver) => {
                let mut command = device_tests("swiftshader", &ENGINES, Some(driver), None, &BRANCHING);
                command.env("VYRE_TREAT_AS_GPU", "1");
                test(command)
            }
        },
        _ => match gpu() {
            Err(why) => Outcome::Skipped(why),
            Ok(()) => test(device_tests("gpu", &ALL, None, vulkan.layers.as_deref(), &DEVICE)),
        },
    };
    Run { tier, outcome, tests }
}

/// Whether a driver of a GPU is likely to be there.
fn gpu() -> Result<(), String> {
    let nodes = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    if nodes.into_iter().any(|node| node.file_name().to_string_lossy().starts_with("nvidia")) {
        return Ok(());
    }
    let render = std::fs::read_dir("/dev/dri").into_iter().flatten().flatten();
    match render.into_iter().any(|node| node.file_name().to_string_lossy().starts_with("renderD")) {
        true => Ok(()),
        false => Err("no GPU (neither /dev/nvidia* nor /dev/dri/renderD*)".into()),
    }
}

/// The models of ring and claim code, each for [`LOOM_SECONDS`] at most.
fn models() -> Command {
    let mut command = cargo();
    // The flag changes every crate, so these builds have a folder of their own.
    command.env("RUSTFLAGS", "--cfg loom").env("CARGO_TARGET_DIR", "target/loom");
    command.env("VYRE_LOOM_SECONDS", std::env::var("VYRE_LOOM_SECONDS").unwrap_or(LOOM_SECONDS.to_string()));
    command.args([
        "test",
        "--release",
        "--locked",
        "--no-fail-fast",
        "-p",
        "vyre-reference",
        "-p",
        "vyre-vk",
        "--lib",
        "--",
        "--nocapture",
    ]);
    command
}

/// What the names of tests that need a device have in them.
const DEVICE: [&str; 1] = ["device"];

/// Tests of what only GPUs run: the interpreter's short ways, the pauses of idle workers and their waking, runs longer than a worker has
/// lanes.
const BRANCHING: [&str; 10] = [
    "once::device::dot",
    "once::device::generated_programs",
    "once::device::histogram",
    "once::device::saxpy",
    "two_workers::device::a_program_runs",
    "two_workers::device::hostile_programs",
    "two_workers::device::lanes_",
    "two_workers::device::runs_of_scalar_slots",
    "two_workers::device::s10_f39",
    "two_workers::device::tiles_of_slots",
];

/// The tests that need a Vulkan device, on one; those whose names contain one of `names`.
fn device_tests(
    device: &str,
    packages: &[&str],
    driver: Option<&Path>,
    layers: Option<&Path>,
    names: &[&str],
) -> Command {
    let mut command = cargo();
    if let Some(driver) = driver {
        // The second name is that of older loaders.
        command.env("VK_DRIVER_FILES", driver).env("VK_ICD_FILENAMES", driver);
    }
    if let Some(layers) = layers {
        command.env("VK_LAYER_PATH", layers).env("VYRE_VALIDATION", "1");
    }
    command.env("VYRE_TEST_DEVICE", device);
    command.args(["test", "--locked", "--no-fail-fast", "--tests"]);
    command.args(packages.iter().flat_map(|package| ["-p", package]));
    // One at a time: a resident kernel on software Vulkan takes a processor for itself.
    command.args(["--", "--ignored", "--test-threads=1"]).args(names);
    command
}

/// Runs tests, passes their output on and notes what became of them.
fn test(command: &mut Command, tests: &mut Tests, out: &mut dyn Write) -> Outcome {
    // Nobody is left to tell of an error of `out`.
    _ = writeln!(out, "{}", shown(command));
    let child = command.current_dir(root()).stdout(Stdio::piped()).spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return Outcome::Failed(format!("cargo cannot be started: {error}")),
    };
    if let Some(lines) = child.stdout.take() {
        for line in BufReader::new(lines).lines().map_while(Result::ok) {
            _ = writeln!(out, "{line}");
            tests.add(&line);
        }
    }
    match child.wait() {
        Ok(status) if status.success() => Outcome::Ok,
        Ok(status) => Outcome::Failed(status.to_string()),
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

impl Tests {
    /// Adds a line of the test runner that closes a failed test or a test binary, if it is one.
    fn add(&mut self, line: &str) {
        let failed = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"));
        self.failures.extend(failed.map(str::to_owned));
        let Some((_, rest)) = line.split_once("test result: ") else { return };
        let number = |what: &str| {
            let part = rest.split([';', '.']).find(|part| part.trim_end().ends_with(what))?;
            part.split_whitespace().find_map(|word| word.parse::<u64>().ok())
        };
        self.passed += number("passed").unwrap_or(0);
        self.failed += number("failed").unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_added_up() {
        let mut tests = Tests::default();
        tests.add("test result: ok. 17 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s");
        tests.add("test result: FAILED. 1 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out");
        tests.add("test something ... ok");
        tests.add("test some::thing ... FAILED");
        assert_eq!(tests, Tests { passed: 18, failed: 3, failures: vec!["some::thing".into()] });
    }
}
