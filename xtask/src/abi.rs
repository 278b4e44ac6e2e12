//! `docs/abi.md`: prose by hand, tables generated from the crate vyre-protocol.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use vyre_protocol::completion::Status;
use vyre_protocol::control::{Command, TenantState};
use vyre_protocol::fault::{Fault, LaunchFault};
use vyre_protocol::geometry::Direction;
use vyre_protocol::header::RegionKind;
use vyre_protocol::operation::{Operation, Reduction};
use vyre_protocol::packed::inner_words;

use crate::process::root;

const BEGIN: &str = "<!-- generated: ";
const END: &str = "<!-- end -->";

fn path() -> PathBuf {
    root().join("docs/abi.md")
}

/// Writes the tables into the page.
///
/// # Errors
/// If the page is not there, or names a table that does not exist.
pub(crate) fn write() -> Result<()> {
    let page = fs::read_to_string(path()).context("docs/abi.md")?;
    Ok(fs::write(path(), render(&page)?)?)
}

/// Whether the page is as [`write`] would write it.
///
/// # Errors
/// As for [`write`].
pub(crate) fn is_fresh() -> Result<bool> {
    let page = fs::read_to_string(path()).context("docs/abi.md")?;
    Ok(render(&page)? == page)
}

/// The page with all its tables made anew.
fn render(page: &str) -> Result<String> {
    let mut out = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        writeln!(out, "{line}")?;
        if let Some(name) = line.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(" -->")) {
            lines.by_ref().find(|line| *line == END).with_context(|| format!("'{name}' has no '{END}'"))?;
            write!(out, "\n{}\n{END}\n", table(name)?)?;
        }
    }
    Ok(out)
}

fn table(name: &str) -> Result<String> {
    Ok(match name {
        "regions" => regions(),
        "operations" => operations(),
        "reductions" => codes(Reduction::ALL.iter().map(|(value, name)| (value.code(), *name, value.meaning()))),
        "statuses" => codes(Status::ALL.iter().map(|(value, name)| (value.code(), *name, value.meaning()))),
        "faults" => codes(Fault::ALL.iter().map(|(value, name)| (value.code(), *name, value.meaning()))),
        "launch faults" => codes(LaunchFault::ALL.iter().map(|(value, name)| (value.code(), *name, value.meaning()))),
        "commands" => codes(Command::ALL.iter().map(|(value, name)| (value.code(), *name, value.meaning()))),
        "tenant states" => codes(TenantState::ALL.iter().map(|(value, name)| (value.code(), *name, value.meaning()))),
        other => match other.strip_prefix("layout of ") {
            Some(module) => layout(module)?,
            None => bail!("docs/abi.md wants a table '{other}', which does not exist"),
        },
    })
}

fn regions() -> String {
    let mut out = String::from("| number | region | written by | bytes |\n|---|---|---|---|\n");
    let counts = ["slots", "tenants", "observables", "resources", "log records", "IO requests"];
    for kind in RegionKind::ALL {
        let shape = kind.shape();
        let side = match kind.direction() {
            Direction::HostToDevice => "host",
            Direction::DeviceToHost => "device",
            Direction::DeviceOnly => "device, for itself",
        };
        let fixed = 64 + shape.fixed_bytes;
        let rounded = if shape.rounded { ", rounded up to a power of two" } else { "" };
        let (element, count) = (shape.element_bytes, counts[shape.count]);
        out += &format!("| {} | {kind} | {side} | {fixed} + {element} * {count}{rounded} |\n", kind as u32);
    }
    out
}

fn operations() -> String {
    let mut out = String::from("| code | name | words in a packed slot | what it does |\n|---|---|---|---|\n");
    for (operation, name) in Operation::ALL {
        let words = match inner_words(operation.code()) {
            0 => "-".to_owned(),
            words => words.to_string(),
        };
        let name = name.trim_start_matches("OP_");
        out += &format!("| {} | {name} | {words} | {} |\n", operation.code(), cell(operation.meaning()));
    }
    out
}

fn codes<'a>(values: impl Iterator<Item = (u32, &'a str, &'a str)>) -> String {
    let mut out = String::from("| code | name | meaning |\n|---|---|---|\n");
    for (code, name, meaning) in values {
        out += &format!("| {code} | {name} | {} |\n", cell(meaning));
    }
    out
}

/// The tables in a module's own documentation, which is where layouts are defined beside the types.
fn layout(module: &str) -> Result<String> {
    let source = root().join(format!("crates/vyre-protocol/src/{module}.rs"));
    let source = fs::read_to_string(&source).with_context(|| format!("no module '{module}'"))?;
    let mut out = String::new();
    let mut inside = false;
    for line in source.lines().map_while(|line| line.strip_prefix("//!")) {
        let line = line.trim();
        // A row that was too long for the source goes on without a bar.
        let continues = inside && !line.is_empty() && !line.starts_with('|');
        if continues {
            out.pop();
            out += " ";
        } else if inside && line.is_empty() {
            out += "\n";
        }
        inside = line.starts_with('|') || continues;
        if inside {
            out += &plain(line);
            out += "\n";
        }
    }
    if out.is_empty() { bail!("the module '{module}' has no table") } else { Ok(out.trim_end().to_owned() + "\n") }
}

/// The same for a cell of a table, in which a bar would begin the next.
fn cell(text: &str) -> String {
    plain(text).replace('|', "\\|")
}

/// One line, with links of rustdoc as their text.
fn plain(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some((before, link)) = rest.split_once("[`") {
        let Some((name, after)) = link.split_once("`]") else { break };
        out += before;
        out += &format!("`{name}`");
        let target = after.strip_prefix('(').and_then(|target| target.split_once(')'));
        rest = target.map_or(after, |(_, rest)| rest);
    }
    out += rest;
    // Links whose text is no code.
    while let Some((before, link)) = out.clone().split_once("](crate::") {
        let (Some(open), Some((_, after))) = (before.rfind('['), link.split_once(')')) else { break };
        out = format!("{}{}{after}", &before[..open], &before[open + 1..]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_become_their_text() {
        assert_eq!(
            plain("a [`Thing`] and [`other`](crate::x::other), [stamped](crate::stamped)\n now"),
            "a `Thing` and `other`, stamped now"
        );
    }
}
