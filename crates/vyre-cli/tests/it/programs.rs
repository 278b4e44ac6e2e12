//! `vyre asm`, `disasm` and `check`.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::cases::stderr;
use crate::vyre;

const TEXT: &str = ".resource write\n.resource write\n.fuel 100\nget v0, item\nst32 r1[v0], v0\nend\n";

fn run(folder: &Path, arguments: &[&str]) -> Output {
    vyre().current_dir(folder).args(arguments).output().unwrap()
}

#[test]
fn text_is_assembled_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("items.vir"), TEXT).unwrap();
    assert!(run(path, &["asm", "items.vir"]).status.success());
    assert!(fs::read(path.join("items.vbc")).unwrap().starts_with(b"VIR0"));
    let text = run(path, &["disasm", "items.vbc"]);
    assert_eq!(String::from_utf8_lossy(&text.stdout), TEXT);
    let found = run(path, &["check", "items.vir", "items.vbc"]);
    let line = "valid, 3 instructions, 2 resources, 0 parameters, 0 words of scratch, fuel 100";
    assert_eq!(String::from_utf8_lossy(&found.stdout), format!("items.vir: {line}\nitems.vbc: {line}\n"));
    let again = run(path, &["asm", "items.vbc"]);
    assert!(!again.status.success() && stderr(&again).contains("would be overwritten"), "{}", stderr(&again));
}

#[test]
fn what_is_wrong_is_shown_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("bad.vir"), TEXT.replace("st32 r1[v0], v0", "st32 r1[v0], v7 ; what?")).unwrap();
    let mut cut = b"VIR0".to_vec();
    cut.extend([0; 30]);
    fs::write(path.join("cut.vbc"), cut).unwrap();
    let found = run(path, &["check", "bad.vir", "cut.vbc", "none.vir"]);
    assert_eq!(found.status.code(), Some(1));
    let expected = "\
vyre: bad.vir: no program
error: v7 is read here and not written on every way to here; write it before
 --> bad.vir:5:1
  |
5 | st32 r1[v0], v7 ; what?
  | ^^^^^^^^^^^^^^^
vyre: cut.vbc: the container has 34 bytes, expected are 64; it was cut or something was added
vyre: none.vir: No such file or directory (os error 2)
";
    assert_eq!(stderr(&found), expected);
}
