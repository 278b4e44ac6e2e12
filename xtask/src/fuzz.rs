//! Fuzzing, with cargo-fuzz and a nightly compiler.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::process::{self, announce, cargo, exists, output, root};

/// Options of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Seconds for each target.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// This target only.
    #[arg(long)]
    target: Option<String>,
}

impl Arguments {
    /// A short run of all targets.
    #[must_use]
    pub fn smoke(seconds: u64) -> Self {
        Arguments { seconds, target: None }
    }
}

/// Runs the targets.
///
/// # Errors
/// If a target finds something, or the tools cannot be had.
pub fn run(arguments: &Arguments) -> Result<()> {
    if output(Command::new("rustup").args(["run", "nightly", "rustc", "--version"])).is_err() {
        bail!("fuzzing needs a nightly compiler; run `rustup toolchain install nightly`");
    }
    if !exists("cargo-fuzz") {
        println!("cargo-fuzz is missing and is installed now");
        process::run(cargo().args(["install", "cargo-fuzz", "--locked", "--version", "0.13.2"]))?;
    }
    let list = fuzz(&["list"]).output().context("cargo fuzz list")?;
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    let targets: Vec<_> = list.lines().filter(|name| arguments.target.as_deref().is_none_or(|t| t == *name)).collect();
    if targets.is_empty() {
        bail!("there is no such target; `cd fuzz && cargo +nightly fuzz list` names them");
    }
    let mut rates = Vec::new();
    for target in targets {
        rates.push((target, run_target(target, arguments.seconds)?));
    }
    println!("\n{:<16}{:>20}{:>16}", "target", "executions/s", "edges covered");
    for (target, (rate, edges)) in rates {
        println!("{target:<16}{rate:>20}{edges:>16}");
    }
    Ok(())
}

/// A command of cargo-fuzz. The address sanitizer is left out: the decoders have no unsafe code, and overflow checks and
/// assertions are on.
fn fuzz(arguments: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo", "fuzz"]).args(arguments).current_dir(root().join("fuzz"));
    // Cargo sets these for us, and they would lead the other toolchain astray.
    for name in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN", "CARGO_TARGET_DIR"] {
        command.env_remove(name);
    }
    command
}

/// Executions per second, and edges of the program that were reached.
fn run_target(target: &str, seconds: u64) -> Result<(String, String)> {
    let limit = format!("-max_total_time={seconds}");
    // New inputs go to the first folder, so that the committed corpus stays as it is.
    let (found, committed) = (format!("../target/fuzz-corpus/{target}"), format!("corpus/{target}"));
    std::fs::create_dir_all(root().join("fuzz").join(&found))?;
    let run = ["run", "--sanitizer", "none", target, &found, &committed, "--", &limit, "-print_final_stats=1"];
    let mut command = fuzz(&run);
    announce(&command);
    let child = command.stderr(Stdio::piped()).spawn().context("cargo fuzz cannot be started")?;
    let done = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&done.stderr);
    if !done.status.success() {
        bail!("the target {target} found something:\n{text}");
    }
    let rate = text.lines().find_map(|line| line.strip_prefix("stat::average_exec_per_sec:")).unwrap_or("unknown");
    let edges = text.lines().rev().find_map(|line| line.split_once(" cov: ")?.1.split_whitespace().next());
    Ok((rate.trim().to_owned(), edges.unwrap_or("unknown").to_owned()))
}
