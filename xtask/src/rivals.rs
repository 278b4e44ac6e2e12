//! vyre beside programs that do the same through other libraries, in turns. These are workspaces of their own in rivals/, which nothing
//! else builds.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process::{self, cargo, output, root};

/// Options of `cargo xtask rivals`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Vulkan device of all: auto, an index or a part of a name, as `vyre bench` takes it.
    #[arg(long, default_value = "auto")]
    device: String,
    /// Rounds in which all take turns.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

pub(crate) const WGPU_MANIFEST: &str = "rivals/wgpu/Cargo.toml";
pub(crate) const WGPU_BINARY: &str = "rivals/wgpu/target/release/vyre-rival-wgpu";

/// Round trips of each in a round.
const SAMPLES: &str = "4000";

/// Milliseconds of each measurement of a rate.
const MILLISECONDS: &str = "60";

/// What a round found: round trips in microseconds, and rates per second.
struct Round {
    live: f64,
    fence: f64,
    wgpu: f64,
    live_rate: f64,
    recorded_rate: f64,
    wgpu_rate: f64,
}

/// Builds both, lets them take turns, and prints figures and ratios.
///
/// # Errors
/// If a build or a run fails, or a report lacks a figure.
pub fn run(arguments: &Arguments) -> Result<()> {
    process::run(cargo().args(["build", "--release", "--locked", "-p", "vyre-cli"]))?;
    process::run(cargo().args(["build", "--release", "--locked", "--manifest-path", WGPU_MANIFEST]))?;
    let mut rounds = Vec::new();
    for round in 1..=arguments.rounds {
        println!("round {round} of {}", arguments.rounds);
        rounds.push(measure(&arguments.device)?);
    }
    println!("\n{:<52}{:>12}{:>12}{:>12}", "medians of the rounds", "median", "min", "max");
    let line = |what: &str, figure: fn(&Round) -> f64| {
        let mut figures: Vec<_> = rounds.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        let [median, min, max] = [figures.len() / 2, 0, figures.len() - 1].map(|place| figures[place]);
        let digits = if median < 100.0 { 2 } else { 0 };
        println!("{what:<52}{median:>12.digits$}{min:>12.digits$}{max:>12.digits$}");
    };
    line("round trip, live ring, p50, us", |round| round.live);
    line("round trip, submit + fence, p50, us", |round| round.fence);
    line("round trip, wgpu, p50, us", |round| round.wgpu);
    line("rate, live ring, best batch, 1/s", |round| round.live_rate);
    line("rate, 1,000 in a command buffer, 1/s", |round| round.recorded_rate);
    line("rate, wgpu, 1,000 in a pass, 1/s", |round| round.wgpu_rate);
    line("ratio of round trips, wgpu over live", |round| round.wgpu / round.live);
    line("ratio of round trips, wgpu over submit + fence", |round| round.wgpu / round.fence);
    line("ratio of rates, live over wgpu", |round| round.live_rate / round.wgpu_rate);
    line("ratio of rates, a command buffer over wgpu", |round| round.recorded_rate / round.wgpu_rate);
    println!(
        "note: wgpu's dispatches share nothing and have no barriers between them; those of the command buffer share the ring"
    );
    Ok(())
}

fn measure(device: &str) -> Result<Round> {
    let bench = |arguments: &[&str]| {
        let mut vyre = Command::new(root().join("target/release/vyre"));
        report(vyre.arg("bench").args(arguments).args(["--json", "--device", device]))
    };
    let latency = bench(&["latency", "--samples", SAMPLES])?;
    let engine = latency["engine"].as_str().context("vyre's report names no engine")?;
    let throughput = bench(&["throughput", "--milliseconds", MILLISECONDS])?;
    let mut wgpu = Command::new(root().join(WGPU_BINARY));
    let wgpu = report(wgpu.args([engine, SAMPLES, MILLISECONDS]))?;
    Ok(Round {
        live: best(&latency, "live ring", "p50")?,
        fence: best(&latency, "submit + fence", "p50")?,
        wgpu: best(&wgpu, "wgpu, submit + poll", "p50")?,
        live_rate: best(&throughput, "live, batches of", "median")?,
        recorded_rate: best(&throughput, "1000 in a command buffer", "median")?,
        wgpu_rate: best(&wgpu, "wgpu, 1000 in a pass", "median")?,
    })
}

fn report(command: &mut Command) -> Result<Value> {
    serde_json::from_str(&output(command)?).with_context(|| format!("{command:?} printed no report"))
}

/// The largest figure of a column in the rows whose names start so.
fn best(report: &Value, rows: &str, column: &str) -> Result<f64> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let tables = list(&report["tables"]).into_iter().filter_map(|table| {
        let place = list(&table["columns"]).iter().position(|name| name == column)?;
        Some(list(&table["rows"]).into_iter().filter_map(move |row| {
            let wanted = row["name"].as_str()?.starts_with(rows);
            row["values"][place].as_f64().filter(|_| wanted)
        }))
    });
    let best = tables.flatten().max_by(f64::total_cmp);
    best.with_context(|| format!("the report of {} has no figure '{column}' of '{rows}'", report["bench"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_by_row_and_column() {
        let row = |name, values: [f64; 2]| serde_json::json!({ "name": name, "values": values });
        let rows = [row("live, 1", [1.0, 2.0]), row("live, 2", [3.0, 4.0]), row("other", [5.0, 6.0])];
        let report = serde_json::json!({ "bench": "x", "tables": [{ "columns": ["median", "max"], "rows": rows }] });
        assert_eq!(best(&report, "live, ", "median").unwrap(), 3.0);
        assert_eq!(best(&report, "other", "max").unwrap(), 6.0);
        let missing = best(&report, "none", "max").unwrap_err().to_string();
        assert_eq!(missing, "the report of \"x\" has no figure 'max' of 'none'");
    }
}
