//! Everything that must pass before a change lands.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::process::{self, cargo};
use crate::{fuzz, provision, shaders, suite, tidy};

/// Seconds that each fuzz target runs.
const FUZZ_SECONDS: u64 = 6;

/// Runs a step and prints its time.
fn run_step(name: &str, step: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("\n==== {name}");
    let start = Instant::now();
    step().with_context(|| format!("ci: the step '{name}' failed"))?;
    println!("==== {name}: {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Runs all steps.
///
/// # Errors
/// At the first step that fails.
pub fn run() -> Result<()> {
    run_step("format", || run_cargo(&["fmt", "--all", "--check"]))?;
    run_step("system packages", || provision::provide(true).map(drop))?;
    run_step("clippy", || run_cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))?;
    // Only looks; the suite's tier `spirv` compiles them again.
    run_step("shaders", || shaders::check_fresh().map(drop))?;
    run_step("tidy", tidy::run)?;
    run_step("docs", || docs(cargo().args(["doc", "--no-deps", "--workspace", "--locked"])))?;
    run_step("test", suite::run_strictly)?;
    run_step("fuzz", || fuzz::run(&fuzz::Arguments::smoke(FUZZ_SECONDS)))
}

fn run_cargo(arguments: &[&str]) -> Result<()> {
    process::run(cargo().args(arguments))
}

fn docs(command: &mut std::process::Command) -> Result<()> {
    process::run(command.env("RUSTDOCFLAGS", "-D warnings"))
}
