//! `cargo xtask`: the project's own commands.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::{bundle, ci, fuzz, rivals, shaders, soak, suite, tidy};

/// The project's own commands.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compile the shaders to the SPIR-V that is committed in crates/vyre-vk/spirv.
    BuildShaders {
        /// Change nothing; fail if anything is stale.
        #[arg(long)]
        check: bool,
    },
    /// Run the whole test suite, and provide first what it needs.
    Test(suite::Arguments),
    /// Check the rules that the compiler does not check.
    Tidy,
    /// Everything that must pass before a change lands.
    Ci,
    /// Make a folder that runs doctor, device tests and benches on a machine with neither Rust nor a network.
    Bundle(bundle::Arguments),
    /// Run every fuzz target.
    Fuzz(fuzz::Arguments),
    /// Run millions of random slots and check what must hold.
    Soak(soak::Arguments),
    /// Measure vyre and its rivals, in turns; builds rivals/, which fetches wgpu.
    Rivals(rivals::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::BuildShaders { check: true } => shaders::check(),
        Command::BuildShaders { check: false } => shaders::build(),
        Command::Test(arguments) => suite::run(&arguments),
        Command::Tidy => tidy::run(),
        Command::Ci => ci::run(),
        Command::Bundle(arguments) => bundle::run(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Soak(arguments) => soak::run(&arguments),
        Command::Rivals(arguments) => rivals::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
