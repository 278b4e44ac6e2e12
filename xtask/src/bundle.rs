//! One folder that runs on a machine with neither Rust nor a network, so that GPU machines can be used at all.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::process::{self, announce, cargo, output, root};
use crate::rivals;

/// Options of `cargo xtask bundle`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The folder to make.
    #[arg(long, default_value = "target/bundle")]
    out: PathBuf,
}

/// Packages whose test binaries go along.
const TESTED: [&str; 3] = ["vyre-vk", "vyre-runtime", "vyre-cli"];

const SCRIPT: &str = include_str!("bundle.sh");

/// Makes the folder.
///
/// # Errors
/// If a build fails or a file cannot be copied.
pub fn run(arguments: &Arguments) -> Result<()> {
    let out = root().join(&arguments.out);
    fs::create_dir_all(out.join("tests"))?;
    fs::create_dir_all(out.join("spirv"))?;
    process::run(cargo().args(["build", "--release", "--locked", "-p", "vyre-cli"]))?;
    fs::copy(root().join("target/release/vyre"), out.join("vyre"))?;
    process::run(cargo().args(["build", "--release", "--locked", "-p", "vyre-runtime", "--example", "soak"]))?;
    fs::copy(root().join("target/release/examples/soak"), out.join("soak"))?;
    process::run(cargo().args(["build", "--release", "--locked", "--manifest-path", rivals::WGPU_MANIFEST]))?;
    fs::copy(root().join(rivals::WGPU_BINARY), out.join("vyre-rival-wgpu"))?;
    for package in TESTED {
        let mut build = cargo();
        build.args([
            "test",
            "--release",
            "--locked",
            "--no-run",
            "--test",
            "it",
            "--message-format=json",
            "-p",
            package,
        ]);
        announce(&build);
        let binary = test_binary(&output(&mut build)?).with_context(|| format!("{package} has no test binary"))?;
        fs::copy(binary, out.join("tests").join(package))?;
    }
    for module in fs::read_dir(root().join("crates/vyre-vk/spirv"))? {
        let module = module?;
        fs::copy(module.path(), out.join("spirv").join(module.file_name()))?;
    }
    let script = out.join("run.sh");
    fs::write(&script, SCRIPT)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    println!("{} is ready; on the other machine: ./run.sh", out.display());
    Ok(())
}

/// The executable that cargo names in its messages.
fn test_binary(messages: &str) -> Option<PathBuf> {
    messages.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message.get("executable")?.as_str().map(PathBuf::from)
    })
}
