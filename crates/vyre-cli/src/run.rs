//! `vyre run`: a VIR0 program over a file.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use vyre_runtime::protocol::completion::Status;
use vyre_runtime::protocol::control::operation_bit;
use vyre_runtime::protocol::geometry::{Counts, Priority};
use vyre_runtime::protocol::operation::{MAX_TILE_BYTES, Operation};
use vyre_runtime::protocol::resource::ATOMIC;
use vyre_runtime::protocol::slot::Slot;
use vyre_runtime::protocol::vir0::{self, GROUP};
use vyre_runtime::vk::MemoryUse;
use vyre_runtime::{Bindings, HotPolicy, Options, ProgramState, Resource, Runtime};

use crate::{DeviceArgument, Failure, exit_code, programs};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The program: text or a container.
    program: PathBuf,
    /// Resource 0; `-` for standard input. Without it there is one word, which is 0.
    #[arg(long = "in", value_name = "FILE")]
    input: Option<PathBuf>,
    /// Where resource 1 goes, which is 0 when the program begins; `-` for standard output.
    #[arg(long = "out", value_name = "FILE")]
    output: Option<PathBuf>,
    /// Bytes of resource 1; those of resource 0 if left out.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..))]
    out_bytes: Option<u32>,
    /// A parameter, as the text of a program has numbers; again for more.
    #[arg(long = "param", value_name = "NUMBER", value_parser = number, allow_hyphen_values = true)]
    parameters: Vec<u32>,
    /// Items that the program works on; the words of resource 0 if left out.
    #[arg(long)]
    items: Option<u32>,
    /// Items of a tile.
    #[arg(long, default_value_t = GROUP, value_parser = clap::value_parser!(u32).range(1..))]
    span: u32,
    /// Whether the kernel gets the program as code of its own: after many tiles, before the program runs, or never. What it leaves is the
    /// same; building the kernel takes seconds.
    #[arg(long, value_enum, default_value_t)]
    hot: Hot,
    #[command(flatten)]
    device: DeviceArgument,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Hot {
    /// When the program has run for 65,536 tiles.
    Auto,
    /// Waits for the kernel before the program runs.
    Always,
    /// The program is interpreted.
    #[default]
    Never,
}

impl From<Hot> for HotPolicy {
    fn from(hot: Hot) -> HotPolicy {
        match hot {
            Hot::Auto => HotPolicy::AUTOMATIC,
            Hot::Always => HotPolicy::Always,
            Hot::Never => HotPolicy::Never,
        }
    }
}

/// Longest time for a program over a file.
const TIMEOUT: Duration = Duration::from_secs(600);

fn number(text: &str) -> Result<u32, String> {
    vir0::number(text).ok_or_else(|| "a number of 32 bits is needed, such as 7, -7, 0x7f or 1.5".into())
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let program = programs::load(&arguments.program)?;
    let declared = program.parts().resources.len();
    if declared > 2 {
        return Err(format!("the program declares {declared} resources; there are only --in and --out").into());
    }
    let mut input = read(arguments.input.as_deref())?;
    let given = input.len();
    input.resize(given.next_multiple_of(4).max(4), 0);
    let words = u32::try_from(input.len() / 4)?;
    let bytes = arguments.out_bytes.unwrap_or(u32::try_from(given.max(1))?);
    let operations = [Operation::Exec, Operation::Copy, Operation::Fill].iter().map(|op| operation_bit(op.code()));
    let hot = arguments.hot.into();
    let options = Options { operations: operations.sum(), hot, ..Options::new(Counts::default())? };
    let mut runtime = Runtime::open(&arguments.device.choice(), &options)?;
    eprintln!("vyre: running on {}", runtime.engine());
    let access = |index: usize| program.parts().resources.get(index).copied().unwrap_or(0);
    let source = place(&mut runtime, &input, access(0))?;
    let target = place(&mut runtime, &vec![0; bytes.next_multiple_of(4) as usize], access(1))?;
    let loaded = runtime.load_program(&program)?;
    let bindings =
        Bindings { input: source.at(0), output: target.at(0), further: &[], parameters: &arguments.parameters };
    let slot = loaded.slot(&bindings, arguments.items.unwrap_or(words), arguments.span)?;
    if arguments.hot == Hot::Always {
        runtime.await_program(&loaded, TIMEOUT);
    }
    complete(&mut runtime, &slot)?;
    if arguments.hot != Hot::Never {
        eprintln!("vyre: {}", manner(&runtime.program_state(&loaded)));
    }
    let mut out = fetch(&mut runtime, target)?;
    out.truncate(bytes as usize);
    runtime.exit(TIMEOUT)?;
    write(arguments.output.as_deref(), &out)?;
    Ok(exit_code(true, runtime.validation_messages()))
}

/// How the program is run, in words.
fn manner(state: &ProgramState) -> String {
    match state {
        ProgramState::Interpreted => "the program was interpreted".into(),
        ProgramState::Building => "the program was interpreted; the kernel that holds it is not built yet".into(),
        ProgramState::Hot => "the kernel has the program as code of its own".into(),
        ProgramState::Untranslatable(reason) => format!("the program was interpreted: {reason}"),
        ProgramState::NotBuilt(reason) => format!("the program was interpreted: its kernel was not built: {reason}"),
    }
}

fn read(path: Option<&Path>) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    match path {
        None => {}
        Some(path) if path == "-" => {
            std::io::stdin().read_to_end(&mut bytes)?;
        }
        Some(path) => bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?,
    }
    Ok(bytes)
}

fn write(path: Option<&Path>, bytes: &[u8]) -> Result<(), Failure> {
    match path {
        None => {}
        Some(path) if path == "-" => std::io::stdout().write_all(bytes)?,
        Some(path) => std::fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))?,
    }
    Ok(())
}

/// Runs a slot to its end.
fn complete(runtime: &mut Runtime, slot: &Slot) -> Result<(), Failure> {
    let ticket = runtime.publish(Priority::Normal, slot)?;
    let found = runtime.wait(ticket, TIMEOUT)?;
    match found.status {
        Status::Done => Ok(()),
        Status::Faulted => {
            Err(format!("the program faulted: {} ({:#x})", found.fault.meaning().trim(), found.fault_word).into())
        }
    }
}

fn copy(runtime: &mut Runtime, from: &Resource, to: &Resource) -> Result<(), Failure> {
    let slot = Slot { input: from.at(0), output: to.at(0), ..Slot::new(Operation::Copy) };
    complete(runtime, &slot.tiled(from.len(), MAX_TILE_BYTES, 1))
}

/// Memory with these bytes in it. What a program changes atomically lies where the host cannot reach it.
fn place(runtime: &mut Runtime, bytes: &[u8], access: u32) -> Result<Resource, Failure> {
    let host = runtime.allocate(bytes.len() as u64, MemoryUse::DeviceToHost)?;
    host.write(0, bytes)?;
    if access & ATOMIC == 0 {
        return Ok(host);
    }
    let local = runtime.allocate(bytes.len() as u64, MemoryUse::Local)?;
    copy(runtime, &host, &local)?;
    runtime.release(host);
    Ok(local)
}

/// The bytes that are there, which may be out of the host's reach.
fn fetch(runtime: &mut Runtime, resource: Resource) -> Result<Vec<u8>, Failure> {
    let host = runtime.allocate(resource.len().into(), MemoryUse::DeviceToHost)?;
    copy(runtime, &resource, &host)?;
    let mut bytes = vec![0; host.len() as usize];
    host.read(0, &mut bytes)?;
    runtime.release(resource);
    Ok(bytes)
}
