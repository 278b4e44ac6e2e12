//! `vyre run`: a VIR0 program over a file, as a whole or block by block.

mod output;
pub(crate) mod results;
mod stream;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use vyre_runtime::protocol::completion::Status;
use vyre_runtime::protocol::control::operation_bit;
use vyre_runtime::protocol::geometry::{Counts, Priority};
use vyre_runtime::protocol::operation::Operation;
use vyre_runtime::protocol::resource::ATOMIC;
use vyre_runtime::protocol::ring::Completion;
use vyre_runtime::protocol::slot::{Operand, Slot};
use vyre_runtime::protocol::vir0::{self, GROUP, Program};
use vyre_runtime::vk::MemoryUse;
use vyre_runtime::{
    BindError, Bindings, HotPolicy, LoadedProgram, Options, ProgramState, Resource, Runtime, WaitError,
};

use crate::hash::BlockArguments;
use crate::{DeviceArgument, Failure, exit_code, interrupt, programs};
use output::Output;
use results::Results;
use stream::Cut;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The program: text or a container.
    program: PathBuf,
    /// Resource 0; `-` for standard input. Without it there is one word, which is 0.
    #[arg(long = "in", value_name = "FILE")]
    input: Option<PathBuf>,
    /// Where resource 1 goes, which is 0 when the program begins; `-` for standard output. The file is there when all of it is.
    #[arg(long = "out", value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the output if it is there.
    #[arg(long)]
    force: bool,
    /// Resources 2 and 3, as a whole.
    #[arg(long = "resource", value_name = "FILE")]
    further: Vec<PathBuf>,
    /// A parameter, as the text of a program has numbers; again for more. `first` is the number of the block's first item, modulo 2^32;
    /// without --stream it is 0.
    #[arg(long = "param", value_name = "NUMBER", value_parser = parameter, allow_hyphen_values = true)]
    parameters: Vec<Parameter>,
    /// Run the program over one block after another, for inputs of any size, larger than memory too. `item`, `tile` and `length` then count
    /// within a block: only for programs that are right for each part of the input by itself.
    #[arg(long, requires = "input")]
    stream: bool,
    /// Bytes of resource 0 that an item has.
    #[arg(long, value_name = "BYTES", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    item_bytes: u32,
    /// Bytes of resource 1 that an item has; those of resource 0 if left out. A stream writes them in the order of the items.
    #[arg(long, value_name = "BYTES", conflicts_with = "out_bytes", value_parser = clap::value_parser!(u32).range(1..))]
    out_item_bytes: Option<u32>,
    /// Bytes of resource 1, whatever the number of items: a sum or a histogram, say. All blocks of a stream work on them, and they are
    /// written at its end.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..))]
    out_bytes: Option<u32>,
    /// Items that the program works on; as many as resource 0 has if left out.
    #[arg(long, conflicts_with = "stream")]
    items: Option<u32>,
    /// Items of a tile.
    #[arg(long, default_value_t = GROUP, value_parser = clap::value_parser!(u32).range(1..))]
    span: u32,
    /// Whether the kernel gets the program as code of its own: after many tiles, before the program runs, or never. What it leaves is the
    /// same; building the kernel takes seconds.
    #[arg(long, value_enum, default_value_t)]
    hot: Hot,
    /// Print on stderr what was done, how, and how fast.
    #[arg(long)]
    stats: bool,
    #[command(flatten)]
    device: DeviceArgument,
    #[command(flatten)]
    blocks: BlockArguments,
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

#[derive(Clone, Copy)]
enum Parameter {
    Number(u32),
    /// Number of the block's first item.
    First,
}

/// Longest time for a program over a file, and without any completion of a stream.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long to wait before another look at the interrupt flag.
const LOOK: Duration = Duration::from_millis(50);

/// Most bytes of a file that becomes a resource as a whole.
const MOST_WHOLE: u64 = 1 << 30;

fn parameter(text: &str) -> Result<Parameter, String> {
    if text == "first" {
        return Ok(Parameter::First);
    }
    let number = vir0::number(text).map(Parameter::Number);
    number.ok_or_else(|| "a number of 32 bits is needed, such as 7, -7, 0x7f or 1.5; or the word first".into())
}

/// A loaded program, and what it works on beside its input and output.
struct Job<'a> {
    arguments: &'a Arguments,
    runtime: Runtime,
    program: LoadedProgram,
    /// Resources 2 and 3.
    further: Vec<Resource>,
    interrupted: &'a AtomicBool,
}

/// `None` if it was interrupted.
type Unless<T> = Result<Option<T>, Failure>;

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let program = programs::load(&arguments.program)?;
    let output = Output::create(arguments.output.as_deref(), arguments.force)?;
    let cut = if arguments.stream { Some(Cut::new(arguments, program.parts())?) } else { None };
    let whole = if cut.is_some() { Vec::new() } else { read_whole(arguments.input.as_deref())? };
    let interrupted = interrupt::flag()?;
    let start = Instant::now();
    let mut job = Job::new(arguments, &program, &interrupted)?;
    if arguments.hot == Hot::Always {
        job.runtime.await_program(&job.program, PATIENCE);
    }
    let ran = match cut {
        None => job.run_whole(whole, output)?,
        Some(cut) => stream::run(&mut job, &cut, output)?,
    };
    if !ran {
        return Ok(ExitCode::FAILURE);
    }
    if arguments.hot != Hot::Never {
        eprintln!("vyre: {}", manner(&job.runtime.program_state(&job.program)));
    }
    job.runtime.exit(PATIENCE)?;
    if arguments.stats {
        eprintln!("seconds: {:.3}", start.elapsed().as_secs_f64());
        eprintln!("peak_memory: {} KiB", peak_memory().unwrap_or(0));
    }
    Ok(exit_code(true, job.runtime.validation_messages()))
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

impl<'a> Job<'a> {
    fn new(arguments: &'a Arguments, program: &Program, interrupted: &'a AtomicBool) -> Result<Job<'a>, Failure> {
        let operations = [Operation::Exec, Operation::Copy, Operation::Fill, Operation::Fence];
        let operations = operations.iter().map(|op| operation_bit(op.code())).sum();
        let hot = arguments.hot.into();
        let options = Options { operations, hot, ..Options::new(Counts::default())? };
        let mut runtime = Runtime::open(&arguments.device.choice(), &options)?;
        eprintln!("vyre: running on {}", runtime.engine());
        let program = runtime.load_program(program)?;
        let mut job = Job { arguments, runtime, program, further: Vec::new(), interrupted };
        for (index, path) in arguments.further.iter().enumerate() {
            let bytes = read_whole(Some(path))?;
            let access = job.access(2 + index);
            // An interrupted one shows in whatever comes next.
            let Some(resource) = job.place(bytes, access)? else { break };
            job.further.push(resource);
        }
        Ok(job)
    }

    /// What the program declares for a resource.
    fn access(&self, index: usize) -> u32 {
        self.program.program().parts().resources.get(index).copied().unwrap_or(0)
    }

    /// The slot that runs the program over `items` items, of which the first is number `first`.
    fn slot(&self, input: Operand, output: Operand, first: u64, items: u32) -> Result<Slot, BindError> {
        let value = |parameter: &Parameter| match parameter {
            Parameter::Number(number) => *number,
            Parameter::First => first as u32,
        };
        let parameters: Vec<_> = self.arguments.parameters.iter().map(value).collect();
        let further: Vec<_> = self.further.iter().map(Resource::handle).collect();
        let bindings = Bindings { input, output, further: &further, parameters: &parameters };
        self.program.slot(&bindings, items, self.arguments.span)
    }

    /// Runs the program over all of the input at once; `false` if it was interrupted, or nobody reads the output any more.
    fn run_whole(&mut self, mut input: Vec<u8>, mut output: Output) -> Result<bool, Failure> {
        let Arguments { item_bytes, out_item_bytes, out_bytes, items, .. } = *self.arguments;
        let given = input.len() as u32;
        let items = match (items, &self.arguments.input) {
            (Some(items), _) => items,
            (None, None) => 1,
            (None, Some(path)) => whole_items(path, given.into(), item_bytes)? as u32,
        };
        input.resize(input.len().next_multiple_of(4).max(4), 0);
        let of_items = out_item_bytes.map(|bytes| items.saturating_mul(bytes));
        let bytes = out_bytes.or(of_items).unwrap_or(if self.arguments.input.is_some() { given } else { 4 });
        let Some(source) = self.place(input, self.access(0))? else { return Ok(false) };
        let access = self.access(1);
        let results = Results::new(&mut self.runtime, bytes, access)?;
        let work = self.slot(source.at(0), results.at(), 0, items)?;
        for slot in [Some(results.clear()), Some(work), results.collect()].into_iter().flatten() {
            if self.complete(&slot)?.is_none() {
                return Ok(false);
            }
        }
        let mut found = Vec::new();
        results.read(bytes as usize, &mut found)?;
        Ok(output.write(&found)? && output.finish().map(|()| true)?)
    }

    /// Memory with these bytes in it. What a program changes atomically lies where the host cannot reach it.
    fn place(&mut self, mut bytes: Vec<u8>, access: u32) -> Unless<Resource> {
        bytes.resize(bytes.len().next_multiple_of(4).max(4), 0);
        let host = self.runtime.allocate(bytes.len() as u64, MemoryUse::HostToDevice)?;
        host.write(0, &bytes)?;
        if access & ATOMIC == 0 {
            return Ok(Some(host));
        }
        let local = self.runtime.allocate(bytes.len() as u64, MemoryUse::Local)?;
        let copied = self.complete(&results::copy(&host, &local))?;
        self.runtime.release(host);
        Ok(copied.map(|()| local))
    }

    /// Runs a slot to its end. If it does not get there the kernel is stopped, since the slot's memory goes.
    fn complete(&mut self, slot: &Slot) -> Unless<()> {
        let ticket = self.runtime.publish(Priority::Normal, slot)?;
        let start = Instant::now();
        while !self.interrupted.load(Ordering::Relaxed) {
            match self.runtime.wait(ticket, LOOK) {
                Ok(found) => return check(&found).map(Some),
                Err(WaitError::Timeout { .. }) if start.elapsed() < PATIENCE => {}
                Err(error) => {
                    self.runtime.abort();
                    return Err(error.into());
                }
            }
        }
        self.runtime.abort();
        Ok(None)
    }
}

/// The error of a slot that faulted.
fn check(found: &Completion) -> Result<(), Failure> {
    match found.status {
        Status::Done => Ok(()),
        Status::Faulted => {
            Err(format!("the program faulted: {} ({:#x})", found.fault.meaning().trim(), found.fault_word).into())
        }
    }
}

/// The items of so many bytes.
fn whole_items(path: &Path, bytes: u64, item: u32) -> Result<u64, Failure> {
    if bytes.is_multiple_of(item.into()) {
        return Ok(bytes / u64::from(item));
    }
    Err(format!(
        "{}: {bytes} bytes are no whole number of items of {item} bytes; give --item-bytes, or cut or fill up the input",
        path.display()
    )
    .into())
}

/// All of a file, unless that is too much.
fn read_whole(path: Option<&Path>) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let Some(path) = path else { return Ok(bytes) };
    let named = |error: std::io::Error| format!("{}: {error}", path.display());
    let limit = MOST_WHOLE + 1;
    let read = match path {
        path if path == "-" => std::io::stdin().take(limit).read_to_end(&mut bytes),
        path => File::open(path).map_err(named)?.take(limit).read_to_end(&mut bytes),
    };
    read.map_err(named)?;
    if bytes.len() as u64 > MOST_WHOLE {
        return Err(format!(
            "{}: more than {MOST_WHOLE} bytes, which is the most that becomes one resource; an input can go block by block \
             with --stream, if the program is right for each part by itself",
            path.display()
        )
        .into());
    }
    Ok(bytes)
}

/// Most memory that this process has had, in KiB.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
