//! Rules that the compiler does not check: layers, budgets, and where unsafe code may be.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Result, bail};

use crate::process::{cargo, output, root};

/// The crates from the bottom up, each with the crates of ours that it may depend on.
const LAYERS: [(&str, &[&str]); 7] = [
    ("vyre-protocol", &[]),
    ("vyre-mem", &["vyre-protocol"]),
    ("vyre-vk", &["vyre-protocol", "vyre-mem"]),
    ("vyre-io", &["vyre-mem"]),
    ("vyre-reference", &["vyre-protocol"]),
    ("vyre-runtime", &["vyre-protocol", "vyre-mem", "vyre-vk", "vyre-io", "vyre-reference"]),
    ("vyre-cli", &["vyre-runtime"]),
];

/// Dependencies that only one crate may have.
const OWNED: [(&str, &str); 3] = [("ash", "vyre-vk"), ("gpu-allocator", "vyre-vk"), ("io-uring", "vyre-io")];

/// Folders in which unsafe code may be.
const UNSAFE: [&str; 3] = ["crates/vyre-mem/", "crates/vyre-vk/", "crates/vyre-io/"];

const FUNCTION_LINES: usize = 70;
const FILE_LINES: usize = 600;
const FILE_LINES_HARD: usize = 1000;

/// What breaks a rule: place, rule and remedy in one line.
type Finding = String;

/// Checks all rules.
///
/// # Errors
/// If a rule is broken.
pub fn run() -> Result<()> {
    let mut findings = Vec::new();
    let files = output(Command::new("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]))?;
    for name in files.lines().filter(|name| root().join(name).is_file()) {
        let Ok(text) = fs::read_to_string(root().join(name)) else { continue };
        check_file(name, &text, &mut findings);
    }
    check_layers(&mut findings)?;
    check_dependency_reasons(&fs::read_to_string(root().join("Cargo.toml"))?, &mut findings);
    check_readmes(&mut findings);
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() { Ok(()) } else { bail!("tidy: {} findings", findings.len()) }
}

fn check_file(name: &str, text: &str, findings: &mut Vec<Finding>) {
    let rust = name.ends_with(".rs");
    let shader = name.ends_with(".glsl") || name.ends_with(".comp");
    for (number, line) in text.lines().enumerate() {
        // Put together here, so that this file does not break its own rule.
        if ["work", "root", "home"].iter().any(|folder| line.contains(&format!("/{folder}/")))
            && !name.ends_with(".lock")
        {
            findings.push(format!("{name}:{}: a path of one machine; write it relative to the repository", number + 1));
        }
        let unfinished = ["todo", "unimplemented", "dbg"].iter().any(|word| line.contains(&format!("{word}!(")));
        if rust && unfinished {
            findings.push(format!("{name}:{}: unfinished code; finish it or take it out", number + 1));
        }
    }
    if rust && !text.starts_with("//!") {
        findings.push(format!("{name}:1: no module documentation; say in `//!` what the file is for"));
    }
    if rust || shader {
        let lines = text.lines().count();
        if lines > FILE_LINES_HARD {
            findings.push(format!("{name}: {lines} lines, at most {FILE_LINES_HARD} are allowed; split it by subject"));
        } else if lines > FILE_LINES {
            println!("{name}: {lines} lines, more than {FILE_LINES}; think of splitting it");
        }
    }
    if rust || shader {
        for (line, length) in long_functions(text) {
            findings.push(format!(
                "{name}:{line}: a function of {length} lines, at most {FUNCTION_LINES} are allowed; name its parts"
            ));
        }
    }
    if rust {
        check_unsafe(name, text, findings);
    }
}

fn check_unsafe(name: &str, text: &str, findings: &mut Vec<Finding>) {
    let marker = "unsafe";
    let uses = text.lines().position(|line| {
        let code = line.split("//").next().unwrap_or_default();
        [" {", " fn", " impl", " extern"].iter().any(|next| code.contains(&format!("{marker}{next}")))
    });
    let Some(line) = uses else { return };
    if !UNSAFE.iter().any(|folder| name.starts_with(folder)) {
        findings
            .push(format!("{name}:{}: unsafe code outside of vyre-mem, vyre-vk and vyre-io; move it there", line + 1));
    } else if !text.lines().take_while(|line| line.starts_with("//!")).any(|line| line == "//! # Safety") {
        findings.push(format!("{name}:{}: unsafe code without a `# Safety` section in the file's header", line + 1));
    }
}

/// First lines and lengths of functions over the budget. Formatted code closes a function at the indentation that opened it.
fn long_functions(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<_> = text.lines().collect();
    let mut long = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let words = code.split('(').next().unwrap_or_default();
        let rust = words.split_whitespace().rev().nth(1) == Some("fn");
        let shader = indent == 0 && code.ends_with(") {");
        if !(rust || shader) || code.ends_with(';') {
            continue;
        }
        let close = format!("{}}}", " ".repeat(indent));
        let length = lines[start..].iter().position(|line| *line == close).map_or(0, |end| end + 1);
        if length > FUNCTION_LINES {
            long.push((start + 1, length));
        }
    }
    long
}

fn check_layers(findings: &mut Vec<Finding>) -> Result<()> {
    let metadata = output(cargo().args(["metadata", "--format-version=1", "--no-deps", "--locked"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
    let allowed: BTreeMap<_, _> = LAYERS.into_iter().collect();
    for package in &packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(allowed) = allowed.get(name) else { continue };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let other = dependency["name"].as_str().unwrap_or_default();
            let ours = LAYERS.iter().any(|(layer, _)| *layer == other);
            if ours && dependency["kind"].is_null() && !allowed.contains(&other) {
                findings.push(format!(
                    "crates/{name}: depends on {other}, which is not below it; see the table in tidy.rs"
                ));
            }
        }
    }
    // What nobody names directly could still come in through another crate, so cargo's own tree has the last word.
    for (dependency, owner) in OWNED {
        let tree = output(cargo().args([
            "tree",
            "--locked",
            "--edges=normal",
            "--depth=1",
            "--prefix=none",
            "-i",
            dependency,
        ]))?;
        let outsiders = tree.lines().skip(1).filter_map(|line| line.split_whitespace().next());
        let known = |user: &str| user == owner || !user.starts_with("vyre") && user != "xtask";
        for user in outsiders.filter(|user| !known(user)) {
            findings.push(format!("crates/{user}: uses {dependency}, which belongs to {owner} alone"));
        }
    }
    Ok(())
}

/// Each external dependency of the workspace needs a comment above it, or above the group it stands in.
fn check_dependency_reasons(manifest: &str, findings: &mut Vec<Finding>) {
    let section = manifest.split("[workspace.dependencies]").nth(1).unwrap_or_default();
    let mut explained = false;
    for line in section.lines().skip(1).take_while(|line| !line.starts_with('[')) {
        if line.is_empty() {
            explained = false;
        } else if line.starts_with('#') {
            explained = true;
        } else if !explained && !line.contains("path =") {
            findings.push(format!("Cargo.toml: `{line}` has no reason; write it in a comment above"));
        }
    }
}

/// The program in the README of `vyre-NAME` is its example `readme_NAME`, word for word.
fn check_readmes(findings: &mut Vec<Finding>) {
    for (name, _) in LAYERS {
        let folder = root().join("crates").join(name);
        if !folder.join("src/lib.rs").exists() {
            continue;
        }
        let readme = fs::read_to_string(folder.join("README.md")).unwrap_or_default();
        let short = name.trim_start_matches("vyre-");
        let file = format!("examples/readme_{short}.rs");
        let example = fs::read_to_string(folder.join(&file)).unwrap_or_default();
        if example.is_empty() || program(&readme) != Some(code(&example)) {
            findings.push(format!("crates/{name}/README.md: its program is not {file} without its first line"));
        }
    }
}

fn program(readme: &str) -> Option<String> {
    let block = readme.split("```rust\n").nth(1)?.split("```").next()?;
    Some(block.trim().to_owned())
}

/// An example without its documentation line.
fn code(example: &str) -> String {
    example.lines().filter(|line| !line.starts_with("//!")).collect::<Vec<_>>().join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_is_tidy() {
        run().unwrap();
    }

    #[test]
    fn long_functions_are_found_by_their_indentation() {
        let body = "        x();\n".repeat(FUNCTION_LINES);
        let text = format!("impl T {{\n    pub fn long(&self) {{\n{body}    }}\n    fn short() {{\n    }}\n}}\n");
        assert_eq!(long_functions(&text), [(2, FUNCTION_LINES + 2)]);
        assert_eq!(long_functions(&format!("void main() {{\n{body}}}\n")), [(1, FUNCTION_LINES + 2)]);
    }

    #[test]
    fn broken_rules_are_found() {
        let find = |name: &str, text: &str| {
            let mut findings = Vec::new();
            check_file(name, text, &mut findings);
            findings.len()
        };
        assert_eq!(find("crates/vyre-cli/src/a.rs", "//! Fine.\nfn f() {}\n"), 0);
        assert_eq!(find("crates/vyre-cli/src/a.rs", "fn f() {}\n"), 1);
        let block = format!("//! Doc.\nfn f() {{ {} {{ g() }} }}\n", "unsafe");
        assert_eq!(find("crates/vyre-cli/src/a.rs", &block), 1);
        assert_eq!(find("crates/vyre-vk/src/a.rs", &block), 1);
        assert_eq!(find("crates/vyre-vk/src/a.rs", &block.replace("//! Doc.", "//! Doc.\n//! # Safety")), 0);
        assert_eq!(find("a.md", &["see /", "home/x"].concat().replace("x", "x/y")), 1);
    }

    #[test]
    fn dependencies_need_reasons() {
        let mut findings = Vec::new();
        check_dependency_reasons(
            "[workspace.dependencies]\na = \"1\"\n# Why.\nb = \"1\"\nc = \"2\"\n\n[x]\n",
            &mut findings,
        );
        assert_eq!(findings.len(), 1);
    }
}
