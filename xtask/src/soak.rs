//! A long run of random slots, with everything checked that must hold.

use anyhow::Result;

use crate::process::{cargo, run as run_command};

/// Options of `cargo xtask soak`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Slots to run.
    #[arg(long, default_value_t = 20_000_000)]
    slots: u64,
    /// Engine: reference, an index, or a part of a device's name.
    #[arg(long, default_value = "reference")]
    device: String,
    /// Seed of the slots.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs it.
///
/// # Errors
/// If something that must hold does not.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut command = cargo();
    command.args(["run", "--release", "--locked", "--quiet", "-p", "vyre-runtime", "--example", "soak", "--"]);
    command.args(["--device", &arguments.device]);
    command.args(["--slots", &arguments.slots.to_string(), "--seed", &arguments.seed.to_string()]);
    run_command(&mut command)
}
