//! The binary `vyre`: hash files on a resident kernel, run programs on it, and look into the devices that could run it.

mod bench;
mod check;
mod devices;
mod doctor;
mod hash;
mod interrupt;
mod names;
mod programs;
mod run;
mod trace;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use vyre_runtime::DeviceChoice;

/// One compute kernel stays resident on the GPU and is fed through a ring in memory.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:\n  vyre hash *.iso > SUMS\n  vyre hash --check SUMS\n  vyre doctor --device 0"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the BLAKE3 hash of files, in b3sum's format.
    Hash(hash::Arguments),
    /// List the engines of this machine, and what would be chosen on them.
    Devices,
    /// Test whether this machine is fit, and say what to do where it is not.
    Doctor(doctor::Arguments),
    /// Record a run for ui.perfetto.dev or chrome://tracing: slots, tiles of each worker, quanta, parks and reads.
    ///
    /// Without a workload a built-in mix runs: four rounds in which each of the five partitions gets two NOPs, a FILL, a COPY and a
    /// REDUCE of 1 MiB in 64 tiles, and a fence; after each round there is nothing to do until the engine has parked, and 50 ms more. A
    /// device also gets 64 NOPs before and after the run, one by one, by which its clock is compared with the host's.
    Trace(trace::Arguments),
    /// Run a VIR0 program over a file.
    Run(run::Arguments),
    /// Assemble a VIR0 program.
    Asm(programs::Asm),
    /// Print a VIR0 program as text.
    Disasm(programs::Disasm),
    /// Say whether VIR0 programs are valid, and what they declare.
    Check(programs::Check),
    /// Measure the ring against what one would use instead.
    #[command(subcommand)]
    Bench(bench::Command),
    /// One start of `vyre bench start`, in a process of its own.
    #[command(hide = true)]
    StartOnce(bench::Once),
}

/// Where to run.
#[derive(clap::Args, Clone)]
struct DeviceArgument {
    /// Engine: auto, reference, an index or a part of a name from `vyre devices`.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: String,
}

impl DeviceArgument {
    fn choice(&self) -> DeviceChoice {
        match self.device.parse() {
            Ok(choice) => choice,
            Err(never) => match never {},
        }
    }
}

/// Exit code where the validation layer had something to say.
const VALIDATION_FAILED: u8 = 70;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("VYRE_LOG").unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let result = match arguments.command {
        Command::Hash(arguments) => hash::run(&arguments),
        Command::Devices => devices::run(),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Trace(arguments) => trace::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Asm(arguments) => programs::assemble(&arguments),
        Command::Disasm(arguments) => programs::disassemble(&arguments),
        Command::Check(arguments) => programs::check(&arguments),
        Command::Bench(command) => bench::run(&command),
        Command::StartOnce(arguments) => bench::run_once(&arguments),
    };
    let code = result.unwrap_or_else(|error| {
        eprintln!("vyre: {error}");
        ExitCode::FAILURE
    });
    interrupt::raise_again();
    code
}

/// Prints to stdout. A reader who has left has seen enough, so that is no error.
fn print(text: impl std::fmt::Display) -> Result<(), Failure> {
    match write!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Any error, as the one line that a user sees.
type Failure = Box<dyn std::error::Error>;

/// The exit code of a run: success unless something failed, and its own where Vulkan was used wrongly.
fn exit_code(all_well: bool, validation_messages: u64) -> ExitCode {
    if validation_messages > 0 {
        eprintln!(
            "vyre: {validation_messages} messages of the validation layer; this is a defect of vyre, please report it"
        );
        return VALIDATION_FAILED.into();
    }
    if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
