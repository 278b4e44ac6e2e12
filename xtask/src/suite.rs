//! The test suite, tier by tier. A tier that cannot run is skipped, with the reason, and never ok.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::process::{announce, cargo, root};
use crate::provision::{self, Vulkan};
use crate::shaders;

/// Options of `cargo xtask test`.
#[derive(clap::Args, Default)]
pub struct Arguments {
    /// Install nothing; print the command instead, and skip what lacks something.
    #[arg(long)]
    no_install: bool,
    /// Run this tier only.
    #[arg(long, value_parser = TIERS)]
    tier: Option<String>,
}

const TIERS: [&str; 7] = ["pure", "loom", "spirv", "lavapipe", "swiftshader", "branches", "gpu"];

/// Longest time for each model, where `VYRE_LOOM_SECONDS` does not say another.
const LOOM_SECONDS: u64 = 20;

/// What became of a tier.
enum Outcome {
    Ok,
    Failed(String),
    Skipped(String),
}

/// Sums of the test runner's own counts.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
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
    let mut counts = Counts::default();
    let mut outcomes = Vec::new();
    for tier in TIERS.into_iter().filter(|tier| arguments.tier.as_deref().is_none_or(|only| only == *tier)) {
        println!("\n== tier {tier}");
        outcomes.push((tier, run_tier(tier, &vulkan, &mut counts)));
    }
    println!("\n== summary");
    let (mut bad, mut skipped) = (0, 0);
    for (tier, outcome) in &outcomes {
        match outcome {
            Outcome::Ok => println!("{tier:<12} ok"),
            Outcome::Failed(why) => {
                bad += 1;
                println!("{tier:<12} FAILED: {why}");
            }
            Outcome::Skipped(why) => {
                skipped += 1;
                bad += u64::from(strict && *tier != "gpu");
                println!("{tier:<12} skipped: {why}");
            }
        }
    }
    // Tiers are counted as skipped, tests as passed and failed: each ignored test belongs to a tier of its own.
    println!("{} passed, {} failed, {skipped} skipped", counts.passed, counts.failed.max(bad));
    if bad > 0 { bail!("{bad} tiers failed, or were skipped where they must not be") } else { Ok(()) }
}

fn run_tier(tier: &str, vulkan: &Vulkan, counts: &mut Counts) -> Outcome {
    let missing = |what: &str| Outcome::Skipped(format!("{what} is not there; run without --no-install"));
    match tier {
        "pure" => test(cargo().args(["test", "--workspace", "--locked"]), counts),
        "loom" => test(&mut models(), counts),
        "spirv" => match shaders::check() {
            Ok(()) => Outcome::Ok,
            Err(error) => Outcome::Failed(format!("{error:#}")),
        },
        "lavapipe" => match (&vulkan.lavapipe, &vulkan.layers) {
            (None, _) => missing("lavapipe"),
            (_, None) => missing("the validation layer"),
            (Some(driver), Some(layers)) => test(&mut device_tests("lavapipe", Some(driver), Some(layers)), counts),
        },
        "swiftshader" => match (&vulkan.swiftshader, &vulkan.layers) {
            (None, _) => missing("SwiftShader"),
            (_, None) => missing("the validation layer"),
            (Some(driver), Some(layers)) => test(&mut device_tests("swiftshader", Some(driver), Some(layers)), counts),
        },
        "branches" => match &vulkan.swiftshader {
            None => missing("SwiftShader"),
            Some(driver) => test(&mut branching_tests(driver), counts),
        },
        _ => match gpu() {
            Err(why) => Outcome::Skipped(why),
            Ok(()) => test(&mut device_tests("gpu", None, vulkan.layers.as_deref()), counts),
        },
    }
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

/// Tests of the code that only GPUs run, whose workers branch and take runs longer than they have lanes.
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

/// Them, on SwiftShader that is told that it is a GPU: the interpreter's short ways, the pauses of idle workers and their waking.
fn branching_tests(driver: &Path) -> Command {
    let mut command = cargo();
    command.env("VK_DRIVER_FILES", driver).env("VK_ICD_FILENAMES", driver);
    command.env("VYRE_TEST_DEVICE", "swiftshader").env("VYRE_TREAT_AS_GPU", "1");
    command.args(["test", "--locked", "-p", "vyre-runtime", "--tests", "--", "--ignored", "--test-threads=1"]);
    command.args(BRANCHING);
    command
}

/// The tests that need a Vulkan device, on one.
fn device_tests(device: &str, driver: Option<&Path>, layers: Option<&Path>) -> Command {
    let mut command = cargo();
    if let Some(driver) = driver {
        // The second name is that of older loaders.
        command.env("VK_DRIVER_FILES", driver).env("VK_ICD_FILENAMES", driver);
    }
    if let Some(layers) = layers {
        command.env("VK_LAYER_PATH", layers).env("VYRE_VALIDATION", "1");
    }
    command.env("VYRE_TEST_DEVICE", device);
    command.args(["test", "--locked", "-p", "vyre-vk", "-p", "vyre-runtime", "-p", "vyre-cli", "-p", "custom-op"]);
    command.arg("--tests");
    // One at a time: a resident kernel on software Vulkan takes a processor for itself.
    command.args(["--", "--ignored", "device", "--test-threads=1"]);
    command
}

/// Runs tests, passes their output on and adds up their counts.
fn test(command: &mut Command, counts: &mut Counts) -> Outcome {
    announce(command);
    let child = command.current_dir(root()).stdout(Stdio::piped()).spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return Outcome::Failed(format!("cargo cannot be started: {error}")),
    };
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            println!("{line}");
            counts.add(&line);
        }
    }
    match child.wait() {
        Ok(status) if status.success() => Outcome::Ok,
        Ok(status) => Outcome::Failed(status.to_string()),
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

impl Counts {
    /// Adds a closing line of the test runner, if it is one.
    fn add(&mut self, line: &str) {
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
        let mut counts = Counts::default();
        counts.add("test result: ok. 17 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s");
        counts.add("test result: FAILED. 1 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out");
        counts.add("test something ... ok");
        assert_eq!(counts, Counts { passed: 18, failed: 3 });
    }
}
