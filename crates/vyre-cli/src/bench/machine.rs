//! The machine that a report was made on, and the command that makes it again.

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use vyre_runtime::protocol::geometry::Counts;
use vyre_runtime::{Options, Runtime};

use super::{Common, NOP_ONLY, whole_kernel};
use crate::Failure;

/// Facts without which figures say little.
#[derive(Serialize, Clone)]
pub(crate) struct Machine {
    pub(crate) device: String,
    /// Driver and version; empty for the reference engine.
    pub(crate) driver: String,
    pub(crate) workers: u32,
    /// Number and name of the host's processors.
    pub(crate) processors: String,
    /// Operating system and release of its kernel.
    pub(crate) kernel: String,
    /// UTC, as RFC 3339 writes it.
    pub(crate) date: String,
    /// Version of this binary, and how it was built.
    pub(crate) vyre: String,
    /// This command, as a shell takes it.
    pub(crate) command: String,
}

impl Machine {
    /// Looks at the host, and opens the engine for a moment.
    ///
    /// # Errors
    /// If the engine cannot be opened.
    pub(crate) fn of(common: &Common) -> Result<Machine, Failure> {
        let options = Options { workers: common.workers, operations: NOP_ONLY, ..whole_kernel(Counts::default())? };
        let mut runtime = Runtime::open(&common.device.choice(), &options)?;
        let engine = runtime.engine().clone();
        runtime.exit(Duration::from_secs(10))?;
        Ok(Machine {
            device: engine.name,
            driver: engine.driver.trim().to_owned(),
            workers: engine.workers,
            processors: processors(),
            kernel: format!("{} {}", std::env::consts::OS, first_line("/proc/sys/kernel/osrelease")),
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            vyre: format!(
                "{}, {}",
                env!("CARGO_PKG_VERSION"),
                if cfg!(debug_assertions) { "built without optimisation" } else { "release build" }
            ),
            command: command(std::env::args_os().map(|argument| argument.to_string_lossy().into_owned())),
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { device, driver, processors, kernel, date, vyre, .. } = self;
        let driver = if driver.is_empty() { String::new() } else { format!(", {driver}") };
        write!(f, "{device}{driver}\n{processors}, {kernel}\nvyre {vyre}, {date}")
    }
}

fn first_line(path: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or("of unknown release").to_owned()
}

fn processors() -> String {
    let number = std::thread::available_parallelism().map_or(1, usize::from);
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!("{number} of {}", name.map_or(std::env::consts::ARCH, |(_, name)| name))
}

/// The arguments in one line, quoted where a shell would take them for something else; the program without its folder.
fn command(arguments: impl Iterator<Item = String>) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=,+@%".contains(c);
    let quoted = arguments.enumerate().map(|(place, argument)| {
        let name = Path::new(&argument).file_name().filter(|_| place == 0);
        let word = name.map_or(argument.clone(), |name| name.to_string_lossy().into_owned());
        match !word.is_empty() && word.chars().all(plain) {
            true => word,
            false => format!("'{}'", word.replace('\'', r"'\''")),
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_can_be_pasted_into_a_shell() {
        let arguments = ["target/release/vyre", "bench", "--device", "llvmpipe (LLVM)", "it's", ""];
        let line = command(arguments.into_iter().map(Into::into));
        assert_eq!(line, r"vyre bench --device 'llvmpipe (LLVM)' 'it'\''s' ''");
    }
}
