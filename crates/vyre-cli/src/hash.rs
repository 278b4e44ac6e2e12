//! `vyre hash`.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use vyre_runtime::io::{BackendChoice, IoMode, Source};
use vyre_runtime::protocol::geometry::Counts;
use vyre_runtime::protocol::operation::Operation;
use vyre_runtime::{FileHash, FileHasher, HashError, HashOptions, Options, Runtime, TierChoice};

use crate::{DeviceArgument, Failure, check, exit_code, interrupt, names};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Files; `-` or none for standard input.
    files: Vec<OsString>,
    /// Read checksums from FILE (`-` for standard input) and check them.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["files", "json"])]
    check: Option<PathBuf>,
    /// Print one JSON object a file: name, hash, bytes, seconds.
    #[arg(long)]
    json: bool,
    /// Print on stderr what was done, how, and how fast.
    #[arg(long)]
    stats: bool,
    #[command(flatten)]
    device: DeviceArgument,
    /// Workers of the engine; its own choice if left out.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    workers: Option<u32>,
    #[command(flatten)]
    blocks: BlockArguments,
}

/// How a file gets to the kernel.
#[derive(clap::Args)]
pub(crate) struct BlockArguments {
    /// Size of a block: a power of two from 4KiB to 16MiB. If left out, 512KiB; to hash on eight threads or more, 256KiB.
    #[arg(long, value_parser = block_size)]
    block_size: Option<usize>,
    /// Blocks in flight. If left out, 8; to hash on eight threads or more, 24.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=64))]
    depth: Option<u32>,
    /// Through the page cache or past it.
    #[arg(long, value_enum, default_value_t = Io::Auto)]
    io: Io,
    /// How the kernel gets at the blocks.
    #[arg(long, value_enum, default_value_t = Tier::Auto)]
    tier: Tier,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Io {
    /// Asks the page cache.
    Auto,
    /// O_DIRECT, or an error.
    Direct,
    /// Through the page cache.
    Buffered,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Tier {
    /// The best that works.
    Auto,
    /// Host pages that the device maps.
    Imported,
    /// Device memory that the host maps.
    Mapped,
    /// A copy by the CPU.
    Copied,
}

fn block_size(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "B" => 1,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        unit => return Err(format!("unit '{unit}' is not known; use KiB or MiB")),
    };
    let size = digits.parse::<usize>().ok().and_then(|number| number.checked_mul(unit));
    match size {
        Some(size) if size.is_power_of_two() && (4 << 10..=16 << 20).contains(&size) => Ok(size),
        _ => Err("a power of two from 4KiB to 16MiB is needed".into()),
    }
}

impl BlockArguments {
    /// The options, with those of `left_out` where none are given.
    pub(crate) fn options(&self, left_out: HashOptions) -> HashOptions {
        HashOptions {
            block_size: self.block_size.unwrap_or(left_out.block_size),
            depth: self.depth.map_or(left_out.depth, |depth| depth as usize),
            io: match self.io {
                Io::Auto => IoMode::Auto,
                Io::Direct => IoMode::Direct,
                Io::Buffered => IoMode::Buffered,
            },
            tier: match self.tier {
                Tier::Auto => TierChoice::Auto,
                Tier::Imported => TierChoice::Imported,
                Tier::Mapped => TierChoice::Mapped,
                Tier::Copied => TierChoice::Copied,
            },
            backend: BackendChoice::Auto,
        }
    }
}

impl Arguments {
    fn hasher(&self) -> Result<FileHasher, Failure> {
        let operations = 1 << Operation::Blake3.code();
        let options = Options { workers: self.workers, operations, ..Options::new(Counts::default())? };
        let runtime = Runtime::open(&self.device.choice(), &options)?;
        eprintln!("vyre: running on {}", runtime.engine());
        let options = self.blocks.options(HashOptions::of(&runtime));
        Ok(FileHasher::new(runtime, options)?)
    }
}

/// One line of `--json`.
#[derive(Serialize)]
struct Record<'a> {
    name: &'a str,
    hash: &'a str,
    bytes: u64,
    seconds: f64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let interrupted = interrupt::flag()?;
    let mut hasher = arguments.hasher()?;
    let start = Instant::now();
    let mut how = Vec::new();
    let all_well = match &arguments.check {
        Some(sums) => {
            let mut hash = |source: &Source| hash_one(&mut hasher, source, &interrupted, &mut how);
            check::run(sums, &mut hash)?
        }
        None => print_hashes(&arguments.files, arguments.json, &mut hasher, &interrupted, &mut how)?,
    };
    if arguments.stats {
        print_stats(&mut hasher, start.elapsed(), &how);
    }
    // A kernel that does not answer any more is not worth a second minute.
    let _ = hasher.runtime_mut().exit(Duration::from_secs(5));
    Ok(exit_code(all_well && !interrupted.load(Ordering::Relaxed), hasher.runtime().validation_messages()))
}

/// Prints the hash of each file, of standard input if none is named; whether all were hashed.
pub(crate) fn print_hashes(
    named: &[OsString],
    json: bool,
    hasher: &mut FileHasher,
    interrupted: &AtomicBool,
    how: &mut Vec<String>,
) -> Result<bool, Failure> {
    let stdin = [OsString::from("-")];
    let files = if named.is_empty() { &stdin } else { named };
    let mut out = std::io::stdout().lock();
    let mut all_well = true;
    for file in files {
        let source = Source::from(file.as_os_str());
        let start = Instant::now();
        let written = match hash_one(hasher, &source, interrupted, how) {
            Ok(found) if json => {
                let (name, hash) = (&*source.name().to_string_lossy(), found.hash.to_hex());
                let record = Record { name, hash: &hash, bytes: found.bytes, seconds: start.elapsed().as_secs_f64() };
                writeln!(out, "{}", serde_json::to_string(&record)?)
            }
            // As b3sum does it: the hash of standard input stands alone only when no file was named.
            Ok(found) if named.is_empty() => writeln!(out, "{}", found.hash),
            Ok(found) => writeln!(out, "{}", names::format_line(&found.hash, source.name())),
            Err(HashError::Interrupted) => return Ok(false),
            Err(error) => {
                eprintln!("vyre: {error}");
                all_well = false;
                // Without its device no further file can be hashed.
                if matches!(error, HashError::Wait(_)) {
                    return Ok(false);
                }
                Ok(())
            }
        };
        match written.and_then(|()| out.flush()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(false),
            other => other?,
        }
    }
    Ok(all_well)
}

/// Hashes one source, with a progress bar where somebody looks.
fn hash_one(
    hasher: &mut FileHasher,
    source: &Source,
    interrupted: &AtomicBool,
    how: &mut Vec<String>,
) -> Result<FileHash, HashError> {
    let bar = progress_bar();
    let result = hasher.hash(source, interrupted, |bytes, size| {
        if let Some(bar) = &bar {
            bar.set_length(size.unwrap_or(bytes));
            bar.set_position(bytes);
        }
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let result = result?;
    if how.last().is_none_or(|last| *last != result.info.to_string()) && how.len() < 4 {
        how.push(result.info.to_string());
    }
    Ok(result)
}

fn progress_bar() -> Option<ProgressBar> {
    if !std::io::stderr().is_terminal() {
        return None;
    }
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}").ok()?;
    let bar = ProgressBar::no_length().with_style(style);
    // Files that are through at once show no bar.
    bar.set_draw_target(indicatif::ProgressDrawTarget::stderr_with_hz(5));
    Some(bar)
}

fn print_stats(hasher: &mut FileHasher, time: Duration, how: &[String]) {
    let reader = hasher.staging().reader.counters();
    let rate = reader.bytes_read as f64 / time.as_secs_f64() / f64::from(1 << 30);
    let runtime = hasher.runtime();
    let (tally, quanta) = (hasher.tally(), runtime.quanta());
    eprintln!("engine: {} {}", runtime.engine(), runtime.engine().driver);
    eprintln!("bulk_visibility: {:?}", runtime.bulk_visibility());
    eprintln!("quanta_launched: {}", quanta.launched);
    eprintln!("slots: {} published, {} done, {} faulted", tally.published, tally.done, tally.faulted);
    let staging = hasher.staging();
    eprintln!("staging: {}, {} blocks", staging.tier(), staging.blocks());
    for reason in staging.passed_over() {
        eprintln!("staging passed over: {reason}");
    }
    eprintln!("io: {}; {}", staging.reader.backend(), how.join(", "));
    eprintln!("files: {}", reader.files);
    eprintln!("reads: {}, {} short, {} retried", reader.reads, reader.short_reads, reader.retries);
    eprintln!("bytes_read: {} ({} direct, {} buffered)", reader.bytes_read, reader.bytes_direct, reader.bytes_buffered);
    eprintln!("bounce_bytes: {}", reader.bounce_bytes);
    eprintln!("seconds: {:.3} ({rate:.3} GiB/s)", time.as_secs_f64());
}
