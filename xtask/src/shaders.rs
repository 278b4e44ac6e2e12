//! GLSL to SPIR-V, committed with a manifest, so that no user of a crate needs a compiler.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use vyre_protocol::custom::RESIDENT_MODULES;

use crate::abi;
use crate::pieces::{keep, release};
use crate::process::{exists, output, root, run};

type Variant = (&'static str, &'static str, &'static [&'static str]);

/// A module: its name, the source that is compiled, which includes the others, and flags beside the common ones. `--ku`: functions that
/// nothing calls stay.
const VARIANTS: [Variant; 18] = [
    ("resident", "resident.comp", &[]),
    ("resident_int64", "resident.comp", &["-DVYRE_INT64=1"]),
    ("resident_int64_clock", "resident.comp", &["-DVYRE_INT64=1", "-DVYRE_CLOCK=1"]),
    ("exec", "resident.comp", &["--ku", "-DVYRE_EXEC=1", "-DVYRE_HOT=1"]),
    ("exec_int64", "resident.comp", &["--ku", "-DVYRE_EXEC=1", "-DVYRE_HOT=1", "-DVYRE_INT64=1"]),
    (
        "exec_int64_clock",
        "resident.comp",
        &["--ku", "-DVYRE_EXEC=1", "-DVYRE_HOT=1", "-DVYRE_INT64=1", "-DVYRE_CLOCK=1"],
    ),
    ("scalars", "resident.comp", &["-DVYRE_SCALARS=1"]),
    ("scalars_int64", "resident.comp", &["-DVYRE_SCALARS=1", "-DVYRE_INT64=1"]),
    ("scalars_int64_clock", "resident.comp", &["-DVYRE_SCALARS=1", "-DVYRE_INT64=1", "-DVYRE_CLOCK=1"]),
    ("plain", "plain.comp", &[]),
    ("plain_int64", "plain.comp", &["-DVYRE_INT64=1"]),
    ("echo", "echo.comp", &[]),
    ("subnormal", "subnormal.comp", &[]),
    ("rival_saxpy", "rival_saxpy.comp", &[]),
    ("rival_dot", "rival_dot.comp", &[]),
    ("rival_histogram", "rival_histogram.comp", &[]),
    ("rival_crc32", "rival_crc32.comp", &[]),
    ("rival_mandelbrot", "rival_mandelbrot.comp", &[]),
];

/// Flags of the compiler; SPIR-V 1.5 with the Vulkan memory model.
const FLAGS: [&str; 3] = ["-V", "--target-env", "vulkan1.2"];

const MEND: &str = "run `cargo xtask build-shaders` and commit what it writes";

/// What the committed modules were made of.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    compiler: String,
    optimizer: String,
    flags: Vec<String>,
    /// BLAKE3 of each source.
    sources: BTreeMap<String, String>,
    /// BLAKE3 of each module.
    modules: BTreeMap<String, String>,
}

pub(crate) fn sources() -> PathBuf {
    root().join("shaders")
}

pub(crate) fn modules() -> PathBuf {
    root().join("crates/vyre-vk/spirv")
}

/// BLAKE3 of all files of a folder with one of these endings.
fn hashes(folder: &Path, endings: &[&str]) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let ending = path.extension().unwrap_or_default();
        if endings.iter().any(|wanted| ending == *wanted) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            found.insert(name, blake3::hash(&fs::read(&path)?).to_hex().to_string());
        }
    }
    Ok(found)
}

/// First line of what a tool says of its version.
fn version(tool: &str) -> Result<String> {
    if !exists(tool) {
        bail!("{tool} is missing; install it (Debian, Ubuntu: apt-get install glslang-tools spirv-tools)");
    }
    let text = output(Command::new(tool).arg("--version"))?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

/// Compiles, optimises and validates all modules into a folder.
fn compile(into: &Path) -> Result<()> {
    compile_modules(&VARIANTS.iter().collect::<Vec<_>>(), &[], into)
}

/// The same for the variants of the resident kernel, with further flags. A diagnosis of the compiler is the error.
pub(crate) fn compile_resident(flags: &[OsString], into: &Path) -> Result<()> {
    for tool in ["glslangValidator", "spirv-opt"] {
        version(tool)?;
    }
    let resident = |variant: &&Variant| RESIDENT_MODULES.contains(&format!("{}.spv", variant.0).as_str());
    compile_modules(&VARIANTS.iter().filter(resident).collect::<Vec<_>>(), flags, into)
}

/// One module on each processor at a time, since the compilers have one thread each.
fn compile_modules(variants: &[&Variant], flags: &[OsString], into: &Path) -> Result<()> {
    fs::create_dir_all(into)?;
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        while let Some(variant) = variants.get(next.fetch_add(1, Ordering::Relaxed)) {
            compile_module(variant, flags, into)?;
        }
        Ok(())
    };
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..processors.min(variants.len())).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

fn compile_module((name, source, defines): &Variant, flags: &[OsString], into: &Path) -> Result<()> {
    let (raw, module) = (into.join(format!("{name}.raw")), into.join(format!("{name}.spv")));
    let source = sources().join(source);
    let mut compiler = Command::new("glslangValidator");
    output(compiler.args(FLAGS).args(*defines).args(flags).arg("-o").arg(&raw).arg(source))?;
    keep(&raw)?;
    output(Command::new("spirv-opt").arg("-O").arg(&raw).arg("-o").arg(&module))?;
    release(&module)?;
    output(Command::new("spirv-val").args(["--target-env", "vulkan1.2"]).arg(&module))?;
    fs::remove_file(raw)?;
    println!("{}", module.display());
    Ok(())
}

/// Writes `shaders/abi.glsl`, the tables of `docs/abi.md` and `docs/vir0.md`, the modules and the manifest.
///
/// # Errors
/// If a tool is missing or refuses a shader.
pub fn build() -> Result<()> {
    let (compiler, optimizer) = (version("glslangValidator")?, version("spirv-opt")?);
    fs::write(sources().join("abi.glsl"), vyre_protocol::glsl::render())?;
    abi::write()?;
    compile(&modules())?;
    let manifest = Manifest {
        compiler,
        optimizer,
        flags: FLAGS.map(str::to_owned).to_vec(),
        sources: hashes(&sources(), &["glsl", "comp"])?,
        modules: hashes(&modules(), &["spv"])?,
    };
    fs::write(modules().join("manifest.json"), serde_json::to_string_pretty(&manifest)? + "\n")?;
    Ok(())
}

/// Fails if the committed modules are not those of the sources.
pub(crate) fn check_fresh() -> Result<Manifest> {
    let manifest = fs::read(modules().join("manifest.json")).with_context(|| format!("no manifest; {MEND}"))?;
    let manifest: Manifest = serde_json::from_slice(&manifest).with_context(|| format!("bad manifest; {MEND}"))?;
    if fs::read_to_string(sources().join("abi.glsl")).unwrap_or_default() != vyre_protocol::glsl::render() {
        bail!("shaders/abi.glsl does not match the crate vyre-protocol; {MEND}");
    }
    if hashes(&sources(), &["glsl", "comp"])? != manifest.sources {
        bail!("a shader was changed since the modules were built; {MEND}");
    }
    if hashes(&modules(), &["spv"])? != manifest.modules {
        bail!("a module was changed by something else than the compiler; {MEND}");
    }
    Ok(manifest)
}

/// Fails if anything committed is stale.
///
/// # Errors
/// Names what is stale, and the command that mends it.
pub fn check() -> Result<()> {
    let manifest = check_fresh()?;
    if !abi::are_fresh()? {
        bail!("docs/abi.md or docs/vir0.md does not match the crate vyre-protocol; {MEND}");
    }
    let (compiler, optimizer) = (version("glslangValidator")?, version("spirv-opt")?);
    for name in manifest.modules.keys() {
        run(Command::new("spirv-val").args(["--target-env", "vulkan1.2"]).arg(modules().join(name)))?;
    }
    if (compiler.as_str(), optimizer.as_str()) != (manifest.compiler.as_str(), manifest.optimizer.as_str()) {
        println!("not compiled again: the modules are of {}, here is {compiler}", manifest.compiler);
        return Ok(());
    }
    let again = root().join("target/spirv-check");
    // What an earlier version has left there is no module of this one.
    let _ = fs::remove_dir_all(&again);
    compile(&again)?;
    if hashes(&again, &["spv"])? != manifest.modules {
        bail!("compiling again gives other modules; {MEND}");
    }
    println!("the shaders are fresh");
    Ok(())
}
