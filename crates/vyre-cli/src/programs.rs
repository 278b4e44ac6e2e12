//! `vyre asm`, `vyre disasm`, `vyre check`: VIR0 programs as text and as containers.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use vyre_runtime::protocol::vir0::{self, AssembleError, Program};

use crate::{Failure, print};

#[derive(clap::Args)]
pub(crate) struct Asm {
    /// The program's text.
    file: PathBuf,
    /// Where the container goes; FILE with the ending `vbc` if left out.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(clap::Args)]
pub(crate) struct Disasm {
    /// The container, or a text.
    file: PathBuf,
}

#[derive(clap::Args)]
pub(crate) struct Check {
    /// Containers or texts.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// Reads a program, from a container or from text, whichever the file holds.
pub(crate) fn load(path: &Path) -> Result<Program, Failure> {
    let name = path.display();
    let bytes = std::fs::read(path).map_err(|error| format!("{name}: {error}"))?;
    if bytes.starts_with(b"VIR0") {
        return Ok(Program::decode(&bytes).map_err(|error| format!("{name}: {error}"))?);
    }
    let text = String::from_utf8(bytes).map_err(|_| format!("{name}: neither a container nor text"))?;
    Ok(vir0::assemble(&text).map_err(|error| show(path, &text, &error))?)
}

/// The line of the text that is wrong, with what is wrong there.
fn show(path: &Path, text: &str, error: &AssembleError) -> String {
    let (message, name) = (error.error.to_string(), path.to_string_lossy());
    let place = AnnotationKind::Primary.span(error.span.clone());
    let report = Level::ERROR.primary_title(message).element(Snippet::source(text).path(name).annotation(place));
    let renderer = if std::io::stderr().is_terminal() { Renderer::styled() } else { Renderer::plain() };
    format!("{}: no program\n{}", path.display(), renderer.render(&[report]))
}

pub(crate) fn assemble(arguments: &Asm) -> Result<ExitCode, Failure> {
    let program = load(&arguments.file)?;
    let output = arguments.output.clone().unwrap_or_else(|| arguments.file.with_extension("vbc"));
    if output == arguments.file {
        return Err(format!("{} would be overwritten; name another with --output", output.display()).into());
    }
    std::fs::write(&output, program.encode()).map_err(|error| format!("{}: {error}", output.display()))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn disassemble(arguments: &Disasm) -> Result<ExitCode, Failure> {
    print(vir0::disassemble(&load(&arguments.file)?))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn check(arguments: &Check) -> Result<ExitCode, Failure> {
    let mut all_well = true;
    for file in &arguments.files {
        match load(file) {
            Ok(program) => {
                let parts = program.parts();
                println!(
                    "{}: valid, {} instructions, {} resources, {} parameters, {} words of scratch, fuel {}",
                    file.display(),
                    parts.code.len(),
                    parts.resources.len(),
                    parts.parameters,
                    parts.scratch,
                    parts.fuel
                );
            }
            Err(error) => {
                eprintln!("vyre: {error}");
                all_well = false;
            }
        }
    }
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
