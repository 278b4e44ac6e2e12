//! A kernel with operations from a folder of the user's, for `vyre_runtime::CustomOperations`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use vyre_protocol::custom::{MANIFEST_FILE, Manifest, RESIDENT_MODULES, check_module, check_names, checksum};
use vyre_protocol::operation::USER_OPERATIONS;

use crate::{pieces, shaders};

/// Where the kernel goes if nobody says otherwise.
pub const OUT: &str = "target/custom-kernel";

/// File that `shaders/custom.glsl` includes.
const DISPATCH: &str = "custom_operations.glsl";

/// What each operation defines, with NAME in place of its name, and the function of the kernel's that calls it.
struct Function {
    wanted: &'static str,
    caller: &'static str,
    operation: &'static str,
    call: &'static str,
    otherwise: &'static str,
}

const FUNCTIONS: [Function; 4] = [
    Function {
        wanted: "Verdict check_NAME(inout Tile tile)",
        caller: "Verdict custom_check(inout Tile tile)",
        operation: "tile.operation",
        call: "return check_NAME(tile);",
        otherwise: "return ACCEPTED;",
    },
    Function {
        wanted: "uint NAME_fuel(uint bytes)",
        caller: "uint custom_fuel(uint operation, uint bytes)",
        operation: "operation",
        call: "return NAME_fuel(bytes);",
        otherwise: "return 0u;",
    },
    Function {
        wanted: "uint NAME_stride(uint span)",
        caller: "uint custom_stride(uint operation, uint span)",
        operation: "operation",
        call: "return NAME_stride(span);",
        otherwise: "return 0u;",
    },
    Function {
        wanted: "void NAME_tile(Tile tile)",
        caller: "void custom_tile(Tile tile)",
        operation: "tile.operation",
        call: "NAME_tile(tile);",
        otherwise: "",
    },
];

/// Builds the kernel with the operations of the folder `ops` and writes its modules and their manifest to `out`.
///
/// # Errors
/// If the folder holds no operations, too many, or one that is not well-formed; what the compiler says of it, with file and line.
pub fn build(ops: &Path, out: &Path) -> Result<()> {
    let ops = fs::canonicalize(ops).with_context(|| format!("{}: no folder with operations", ops.display()))?;
    let names = operations(&ops)?;
    shaders::check_fresh()?;
    fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    let out = fs::canonicalize(out)?;
    // What stays from an earlier build would not belong to what this one leaves behind when it fails.
    let manifest = out.join(MANIFEST_FILE);
    if manifest.exists() {
        fs::remove_file(&manifest)?;
    }
    fs::write(out.join(DISPATCH), dispatch(&names))?;
    let include = |folder: &Path| {
        let mut flag = OsString::from("-I");
        flag.push(folder);
        flag
    };
    shaders::compile_resident(&["-DVYRE_CUSTOM=1".into(), include(&ops), include(&out)], &out)?;
    let [ours, theirs] =
        [shaders::modules(), out.clone()].map(|folder| pieces::names(&folder.join(RESIDENT_MODULES[0])));
    if let Some(name) = theirs?.difference(&ours?).next() {
        bail!("a function is called `{name}`; names that begin with hot_ are the kernel's, choose another");
    }
    let mut checksums = BTreeMap::new();
    for name in RESIDENT_MODULES {
        let bytes = fs::read(out.join(name))?;
        // What a program would find wrong with it is better said now.
        check_module(&bytes, checksum(&bytes)).with_context(|| name)?;
        checksums.insert(name.to_owned(), checksum(&bytes));
    }
    for (code, name) in (USER_OPERATIONS..).zip(&names) {
        println!("{name}: operation {code:#x}");
    }
    let kernel = checksum(&fs::read(shaders::modules().join(RESIDENT_MODULES[0]))?);
    let text = serde_json::to_string_pretty(&Manifest { kernel, operations: names, modules: checksums })?;
    fs::write(manifest, text + "\n").with_context(|| out.display().to_string())
}

/// Names of the operations of a folder, sorted.
fn operations(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let file = entry?.file_name().to_string_lossy().into_owned();
        names.extend(file.strip_prefix("op_").and_then(|rest| rest.strip_suffix(".glsl")).map(str::to_owned));
    }
    names.sort_unstable();
    check_names(&names).with_context(|| format!("{}: files op_NAME.glsl", folder.display()))?;
    for name in &names {
        let file = format!("op_{name}.glsl");
        if shaders::sources().join(&file).exists() {
            bail!("{file}: the kernel has a file of this name; choose another");
        }
        let path = folder.join(&file);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        for Function { wanted, .. } in FUNCTIONS {
            let signature = wanted.replace("NAME", name);
            let called = signature.split_inclusive('(').next().unwrap_or_default().split(' ').next_back();
            if !called.is_some_and(|called| text.contains(called)) {
                bail!("{}: it defines no `{signature}`; docs/custom-operations.md says what that is", path.display());
            }
        }
    }
    Ok(names)
}

/// The file that includes the operations and fans out to their functions.
fn dispatch(names: &[String]) -> String {
    let mut text = String::from("// Generated by `cargo xtask build-shaders --ops`.\n");
    // Writing to a String cannot fail.
    for name in names {
        let _ = writeln!(text, "#include \"op_{name}.glsl\"");
    }
    let _ = writeln!(text, "\nconst uint CUSTOM_COUNT = {}u;", names.len());
    for Function { caller, operation, call, otherwise, .. } in FUNCTIONS {
        let _ = writeln!(text, "\n{caller} {{");
        for (number, name) in names.iter().enumerate() {
            let call = call.replace("NAME", name);
            let condition = format!("{operation} == USER_OPERATIONS + {number}u && compiled_custom({number}u)");
            let _ = writeln!(text, "    if ({condition}) {{ {call} }}");
        }
        let otherwise = if otherwise.is_empty() { String::new() } else { format!("    {otherwise}\n") };
        let _ = writeln!(text, "{otherwise}}}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "Verdict check_x(inout Tile tile) uint x_fuel(uint bytes) uint x_stride(uint span) void x_tile(Tile tile)";

    /// What is said of a folder with these files.
    fn refusal(files: &[(&str, &str)]) -> String {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        format!("{:#}", operations(folder.path()).unwrap_err())
    }

    #[test]
    fn operations_are_sorted_and_other_files_are_none() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["op_x.glsl", "op_b.glsl", "common.glsl", "README.md"] {
            fs::write(folder.path().join(name), GOOD.replace('x', name.get(3..4).unwrap())).unwrap();
        }
        assert_eq!(operations(folder.path()).unwrap(), ["b", "x"]);
    }

    #[test]
    fn bad_folders_are_refused_with_the_reason() {
        let nine: Vec<_> = (0..9).map(|i| format!("op_x{i}.glsl")).collect();
        let nine: Vec<_> = nine.iter().map(|name| (name.as_str(), GOOD)).collect();
        assert!(refusal(&[]).contains("0 custom operations are not possible; allowed are 1 to 8"));
        assert!(refusal(&nine).contains("9 custom operations are not possible"));
        assert!(refusal(&[("op_fill.glsl", GOOD)]).contains("op_fill.glsl: the kernel has a file of this name"));
        assert!(refusal(&[("op_Bad-name.glsl", GOOD)]).contains("'Bad-name' cannot be the name"));
        let lacking = refusal(&[("op_x.glsl", &GOOD.replace("x_fuel", "fuel"))]);
        assert!(lacking.contains("op_x.glsl: it defines no `uint x_fuel(uint bytes)`"), "{lacking}");
        let missing = build(Path::new("no-such-folder"), Path::new("target")).unwrap_err();
        assert!(format!("{missing:#}").contains("no-such-folder: no folder with operations"));
    }
}
