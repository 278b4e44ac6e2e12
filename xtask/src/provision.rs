//! What the suite needs of the system: provided through its packages, after saying so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{exists, root, run};

/// Debian packages that are installed, with a file that tells whether they are there.
const PACKAGES: [(&str, &str); 4] = [
    ("libvulkan1", "/usr/lib/x86_64-linux-gnu/libvulkan.so.1"),
    ("mesa-vulkan-drivers", LAVAPIPE),
    ("glslang-tools", "/usr/bin/glslangValidator"),
    ("spirv-tools", "/usr/bin/spirv-val"),
];

/// The loader's file of Mesa's CPU device.
const LAVAPIPE: &str = "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json";

/// Packages that are unpacked and not installed: they carry SwiftShader and a recent validation layer.
const UNPACKED: [&str; 2] = ["chromium", "chromium-common"];

/// The software Vulkan of this machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Vulkan {
    /// The loader's file of lavapipe, or why there is none.
    pub(crate) lavapipe: Option<PathBuf>,
    /// The loader's file of SwiftShader.
    pub(crate) swiftshader: Option<PathBuf>,
    /// Folder with the validation layer's file.
    pub(crate) layers: Option<PathBuf>,
}

fn folder() -> PathBuf {
    root().join("target/vulkan")
}

/// Looks for what is there.
fn look() -> Vulkan {
    let is_there = |path: PathBuf| path.is_file().then_some(path);
    Vulkan {
        lavapipe: is_there(LAVAPIPE.into()),
        swiftshader: is_there(folder().join("vk_swiftshader_icd.json")),
        layers: is_there(folder().join("VkLayer_khronos_validation.json")).map(|_| folder()),
    }
}

/// Provides what is missing, or only says how, and returns what is there then.
///
/// # Errors
/// If the package manager fails.
pub(crate) fn provide(install: bool) -> Result<Vulkan> {
    let missing: Vec<_> =
        PACKAGES.iter().filter(|(_, file)| !Path::new(file).exists()).map(|(name, _)| *name).collect();
    let found = look();
    let unpack = found.swiftshader.is_none() || found.layers.is_none();
    if missing.is_empty() && !unpack {
        return Ok(found);
    }
    println!("The suite needs of the system's packages:");
    if !missing.is_empty() {
        println!("  to install: apt-get install --no-install-recommends {}", missing.join(" "));
    }
    if unpack {
        println!(
            "  to unpack into target/vulkan, not to install: {} (SwiftShader, validation layer)",
            UNPACKED.join(" ")
        );
    }
    if !install {
        println!("Nothing is installed (--no-install); tiers that lack something are skipped.");
        return Ok(found);
    }
    if !exists("apt-get") {
        println!("This system has no apt-get; tiers that lack something are skipped.");
        return Ok(found);
    }
    run(privileged("apt-get").args(["update", "-qq"]))?;
    if !missing.is_empty() {
        let install = ["install", "-y", "-qq", "--no-install-recommends"];
        run(privileged("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(install).args(&missing))?;
    }
    // Where these packages do not exist, or only lead elsewhere (as on Ubuntu), the tier is skipped and says so.
    if unpack && let Err(error) = unpack_swiftshader() {
        println!("SwiftShader is not to be had: {error:#}");
    }
    Ok(look())
}

/// The command, through sudo if we are not root.
fn privileged(program: &str) -> Command {
    let root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if root {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    command
}

fn unpack_swiftshader() -> Result<()> {
    let (into, work) = (folder(), folder().join("packages"));
    fs::create_dir_all(&work)?;
    for package in UNPACKED {
        let mut download = Command::new("apt-get");
        download.arg("download").arg(package);
        crate::process::announce(&download);
        // Not through `run`, which would work in the root.
        let status = download.current_dir(&work).status()?;
        if !status.success() {
            bail!("apt-get download {package} failed");
        }
    }
    for entry in fs::read_dir(&work)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "deb") {
            run(Command::new("dpkg-deb").arg("-x").arg(&path).arg(work.join("unpacked")))?;
        }
    }
    let from = work.join("unpacked/usr/lib/chromium");
    for name in ["libvk_swiftshader.so", "vk_swiftshader_icd.json", "libVkLayer_khronos_validation.so"] {
        fs::copy(from.join(name), into.join(name)).with_context(|| format!("the packages hold no {name}"))?;
    }
    // The packages carry the layer without the file that tells the loader of it.
    let layer = serde_json::json!({
        "file_format_version": "1.2.0",
        "layer": {
            "name": "VK_LAYER_KHRONOS_validation",
            "type": "GLOBAL",
            "library_path": "./libVkLayer_khronos_validation.so",
            "api_version": "1.4.300",
            "implementation_version": "1",
            "description": "Khronos validation layer",
            "instance_extensions": [{"name": "VK_EXT_debug_utils", "spec_version": "2"}]
        }
    });
    fs::write(into.join("VkLayer_khronos_validation.json"), serde_json::to_string_pretty(&layer)?)?;
    Ok(fs::remove_dir_all(work)?)
}
