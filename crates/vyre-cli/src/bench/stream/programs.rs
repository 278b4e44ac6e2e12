//! Programs that one would use instead, where they are installed: fio for reading, b3sum for hashing.

use std::ffi::OsStr;
use std::process::{Command, Output};
use std::time::Instant;

use serde::Deserialize;

use super::Sample;
use super::input::{Cache, Input};
use crate::Failure;
use crate::bench::GIB;

/// Runs a program; the error says why there is nothing to compare with.
fn run(program: impl AsRef<OsStr>, arguments: &[&OsStr]) -> Result<Output, String> {
    let program = program.as_ref();
    let name = program.to_string_lossy();
    let missing = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("{name} is not installed (Debian: apt-get install {name})"),
        _ => format!("{name} cannot be started: {error}"),
    };
    let output = Command::new(program).args(arguments).output().map_err(missing)?;
    if output.status.success() {
        return Ok(output);
    }
    let text = [&output.stderr[..], &output.stdout[..]].concat();
    let text = String::from_utf8_lossy(&text);
    Err(format!("{name} failed: {}", text.lines().next().unwrap_or("it did not say why")))
}

/// What is read of fio's JSON.
#[derive(Deserialize)]
struct FioReport {
    jobs: Vec<FioJob>,
}

#[derive(Deserialize)]
struct FioJob {
    read: FioRead,
    /// Milliseconds.
    job_runtime: f64,
    /// Per cent of the job's time.
    usr_cpu: f64,
    sys_cpu: f64,
}

#[derive(Deserialize)]
struct FioRead {
    io_bytes: u64,
    bw_bytes: f64,
}

/// Reads the file by fio: io_uring with fixed buffers and a registered file, O_DIRECT where the file is not cached. CPU time is what
/// fio says of its job.
pub(super) fn fio(input: &Input, cache: Cache, block: usize, depth: usize) -> Result<Sample, String> {
    let mut arguments: Vec<_> = [
        "--name=vyre",
        "--readonly",
        "--rw=read",
        "--ioengine=io_uring",
        "--fixedbufs=1",
        "--registerfiles=1",
        "--invalidate=0",
        "--output-format=json",
    ]
    .map(str::to_owned)
    .into();
    // fio takes a colon for the end of a name.
    arguments.push(format!("--filename={}", input.path.to_string_lossy().replace(':', "\\:")));
    arguments.push(format!("--direct={}", u8::from(cache == Cache::Uncached)));
    arguments.push(format!("--size={}", input.bytes / block as u64 * block as u64));
    arguments.push(format!("--bs={block}"));
    arguments.push(format!("--iodepth={depth}"));
    let arguments: Vec<_> = arguments.iter().map(OsStr::new).collect();
    let output = run("fio", &arguments)?;
    // Warnings may come first.
    let text = String::from_utf8_lossy(&output.stdout);
    let json = text.find('{').map_or("", |start| &text[start..]);
    let report: FioReport =
        serde_json::from_str(json).map_err(|error| format!("fio's report does not parse: {error}"))?;
    let job = report.jobs.first().filter(|job| job.read.io_bytes > 0).ok_or("fio read nothing")?;
    // It counts whole milliseconds: what is less than one counts as half of one.
    let milliseconds = ((job.usr_cpu + job.sys_cpu) / 100.0 * job.job_runtime).max(0.5);
    Ok(Sample { rate: job.read.bw_bytes / GIB, cpu: milliseconds * 1e6 / job.read.io_bytes as f64 })
}

/// Rates of hashing the file by command, in GiB/s: this program on the reference engine, and b3sum, both with so many threads.
pub(super) fn hash_commands(input: &Input, cache: Cache, threads: usize) -> Result<Result<[f64; 2], String>, Failure> {
    let threads = threads.to_string();
    let [threads, path] = [OsStr::new(&threads), input.path.as_os_str()];
    let ours = ["hash", "--device", "reference", "--workers"].map(OsStr::new);
    let ours = [&ours[..], &[threads, path]].concat();
    let theirs = [OsStr::new("--num-threads"), threads, path];
    let mut rates = [0.0; 2];
    let commands = [(std::env::current_exe()?, &ours[..]), ("b3sum".into(), &theirs[..])];
    for ((program, arguments), rate) in commands.into_iter().zip(&mut rates) {
        input.prepare(cache)?;
        let start = Instant::now();
        let output = match run(program, arguments) {
            Ok(output) => output,
            Err(reason) => return Ok(Err(reason)),
        };
        *rate = input.bytes as f64 / GIB / start.elapsed().as_secs_f64();
        // A backslash says that the name behind the hash is escaped.
        let text = String::from_utf8_lossy(&output.stdout);
        if !text.trim_start_matches('\\').starts_with(input.hash.to_hex().as_str()) {
            return Err(format!("{} is not hashed to {}", input.path.display(), input.hash).into());
        }
    }
    Ok(Ok(rates))
}
