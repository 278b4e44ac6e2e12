//! `cargo xtask`: the project's own commands.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::{bundle, ci, custom, fuzz, rivals, shaders, soak, suite, tidy};

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
        #[arg(long, conflicts_with = "ops")]
        check: bool,
        /// Leave the committed modules alone, and build a kernel with the operations in DIR, files op_NAME.glsl, beside the built-in
        /// ones: see docs/custom-operations.md.
        #[arg(long, value_name = "DIR")]
        ops: Option<PathBuf>,
        /// Folder for that kernel.
        #[arg(long, value_name = "DIR", requires = "ops", default_value = custom::OUT)]
        out: PathBuf,
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
        Command::BuildShaders { check: true, .. } => shaders::check(),
        Command::BuildShaders { ops: Some(ops), out, .. } => custom::build(&ops, &out),
        Command::BuildShaders { .. } => shaders::build(),
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
