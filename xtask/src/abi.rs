//! `docs/abi.md` and `docs/vir0.md`: prose by hand, tables generated from the crate vyre-protocol.

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
use vyre_protocol::vir0::{Instruction, Opcode, Special, VECTORS};

use crate::process::root;

const BEGIN: &str = "<!-- generated: ";
const END: &str = "<!-- end -->";

/// The pages that have tables.
const PAGES: [&str; 2] = ["docs/abi.md", "docs/vir0.md"];

fn pages() -> impl Iterator<Item = Result<(PathBuf, String)>> {
    PAGES.into_iter().map(|name| {
        let path = root().join(name);
        let page = fs::read_to_string(&path).context(name)?;
        Ok((path, page))
    })
}

/// Writes the tables into the pages.
///
/// # Errors
/// If a page is not there, or names a table that does not exist.
pub(crate) fn write() -> Result<()> {
    for page in pages() {
        let (path, page) = page?;
        fs::write(path, render(&page)?)?;
    }
    Ok(())
}

/// Whether the pages are as [`write`] would write them.
///
/// # Errors
/// As for [`write`].
pub(crate) fn are_fresh() -> Result<bool> {
    for page in pages() {
        let (_, page) = page?;
        if render(&page)? != page {
            return Ok(false);
        }
    }
    Ok(true)
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
        "instructions on words" => instructions(0x00..=0x3f),
        "instructions on floats" => instructions(0x40..=0x7f),
        "instructions on memory" => instructions(0x80..=0x9f),
        "instructions across lanes" => instructions(0xa0..=0xbf),
        "instructions of control" => instructions(0xc0..=0xff),
        "names" => codes(Special::ALL.iter().map(|special| (special.code().into(), special.name(), special.meaning()))),
        other => match other.strip_prefix("layout of ") {
            Some(module) => layout(module)?,
            None => bail!("a page wants a table '{other}', which does not exist"),
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

fn instructions(range: std::ops::RangeInclusive<u8>) -> String {
    let mut out = String::from("| code | text | fuel | what it does |\n|---|---|---|---|\n");
    for opcode in Opcode::ALL.iter().filter(|opcode| range.contains(&opcode.code())) {
        let operands: Vec<_> = opcode.form().roles().iter().map(|role| role.syntax()).collect();
        let text = format!("{} {}", opcode.name(), operands.join(", "));
        // Field values of a scalar and of a vector register.
        let [scalar, vector] =
            [VECTORS, 0].map(|code| Instruction { d: code, a: code, b: code, ..Instruction::new(*opcode) }.fuel());
        let fuel = if scalar == vector { scalar.to_string() } else { format!("{scalar}, {vector}") };
        out += &format!("| {:#04x} | `{}` | {fuel} | {} |\n", opcode.code(), text.trim_end(), cell(opcode.meaning()));
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
    let folder = root().join(format!("crates/vyre-protocol/src/{module}/mod.rs"));
    let source = if folder.exists() { folder } else { source };
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
