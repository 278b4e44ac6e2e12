//! Running other programs, visibly.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Runs a command in the root, after printing it; an error if it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    command.current_dir(root());
    announce(command);
    let status = command.status().with_context(|| format!("{:?} cannot be started", command.get_program()))?;
    if !status.success() {
        bail!("{:?} failed: {status}", command.get_program());
    }
    Ok(())
}

/// Runs a command in the root quietly and returns what it printed; an error if it fails.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    command.current_dir(root());
    let output = command.output().with_context(|| format!("{:?} cannot be started", command.get_program()))?;
    if !output.status.success() {
        // Some compilers say what is wrong on the standard output.
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        bail!("{command:?} failed: {}\n{}\n{}", output.status, said(&output.stdout), said(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Prints a command.
pub(crate) fn announce(command: &Command) {
    println!("{}", shown(command));
}

/// A command as one could type it.
pub(crate) fn shown(command: &Command) -> String {
    let quiet = |value: &std::ffi::OsStr| value.to_string_lossy().into_owned();
    let mut line = String::from("$");
    for (name, value) in command.get_envs() {
        line += &format!(" {}={}", quiet(name), value.map(quiet).unwrap_or_default());
    }
    line += &format!(" {}", quiet(command.get_program()));
    for argument in command.get_args() {
        line += &format!(" {}", quiet(argument));
    }
    line
}

/// Whether a program of this name is there.
pub(crate) fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
