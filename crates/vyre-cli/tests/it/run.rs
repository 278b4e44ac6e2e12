//! `vyre run` over files, pipes and whatever else a user may name.

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::cases::{noise, number, stderr};
use crate::vyre;

/// The folder that it runs in, and where.
struct Place<'a> {
    folder: tempfile::TempDir,
    device: &'a str,
}

impl Place<'_> {
    fn new(device: &str) -> Place<'_> {
        Place { folder: tempfile::tempdir().unwrap(), device }
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.folder.path().join(name), bytes).unwrap();
    }

    fn write_programs(&self) {
        [("ends", ENDS), ("sum", SUM), ("middle", MIDDLE)]
            .iter()
            .for_each(|(name, text)| self.write(&format!("{name}.vir"), text));
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.folder.path().join(name)).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = vyre();
        command.current_dir(self.folder.path()).args(["run", "--device", self.device]).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs it, and it must be well.
    fn well(&self, arguments: &[&str]) -> Output {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        output
    }

    /// Runs it, and it must say this; nothing is left behind.
    fn refused(&self, arguments: &[&str], message: &str) {
        let before = names(self.folder.path());
        let output = self.run(arguments);
        assert!(!output.status.success() && stderr(&output).contains(message), "{arguments:?}: {}", stderr(&output));
        assert_eq!(names(self.folder.path()), before, "{arguments:?}");
    }
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
}

fn library(name: &str) -> String {
    format!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../programs/{}.vir"), name)
}

pub(crate) fn programs_run_over_files(device: &str) {
    let place = Place::new(device);
    let data = noise(10_000);
    place.write("data", &data);
    place.well(&[&library("sort"), "--in", "data", "--out", "sorted"]);
    let mut expected = words(&data);
    expected.chunks_mut(256).for_each(<[u32]>::sort_unstable);
    assert_eq!(words(&place.read("sorted")), expected);
    // A program that changes its output atomically, and a parameter.
    let filter = library("filter");
    let kept = place.well(&[&filter, "--in", "data", "--out", "-", "--out-bytes", "10004", "--param", "0x40000000"]);
    let count = words(&data).iter().filter(|word| **word < 0x4000_0000).count();
    assert_eq!(words(&kept.stdout)[0] as usize, count);
    for (arguments, message) in [
        (vec![filter.as_str(), "--in", "data"], "the program declares 1 parameters, given are 0"),
        (vec![&filter, "--in", "data", "--param", "x"], "a number of 32 bits is needed"),
        (vec![&filter, "--in", "data", "--param", "-1"], "The range does not lie inside the resource"),
        (vec![&filter, "--in", "none", "--param", "1"], "none: No such file"),
    ] {
        place.refused(&arguments, message);
    }
    // Further resources, and what an item is.
    place.write("tables.vir", ".resource read\n.resource write\n.resource read\n.resource read write atomic\nget v0, item\nld8 v1, r0[v0]\nld32 v1, r2[v1]\nget s0, bytes3\nadd v1, v1, s0\nst32 r1[v0], v1\nend");
    let table: Vec<u8> = (0..256_u32).flat_map(|i| (i * i).to_le_bytes()).collect();
    place.write("table", &table);
    place.write("bytes", &data[..1024]);
    let items = ["tables.vir", "--in", "bytes", "--item-bytes", "1", "--out-item-bytes", "4"];
    let found = place.well(&[&items[..], &["--resource", "table", "--resource", "table", "--out", "-"]].concat());
    let squares: Vec<_> = data[..1024].iter().map(|byte| u32::from(*byte).pow(2) + 1024).collect();
    assert_eq!(words(&found.stdout), squares);
    place.refused(&[&items[..], &["--resource", "table"]].concat(), "2 resources beyond input and output, given are 1");
    place.refused(&[&items[..], &["--resource", "table", "--resource", "none"]].concat(), "none: No such file");
}

/// The first and the last word of an item of 64 bytes, and its number.
const ENDS: &str = ".resource read\n.resource write\n.params 1\nget v0, item\nget s0, p0\nget s1, length\nltu v3, v0, s1\nif v3
mul v1, v0, 16\nld32 v2, r0[v1]\nld32 v1, r0[v1 + 15]\nadd v2, v2, v1\nadd v2, v2, v0\nadd v2, v2, s0\nst32 r1[v0], v2\nendif\nend";

/// The sum of all words.
const SUM: &str =
    ".resource read\n.resource read write atomic\nget v0, item\nget s0, length\nltu v3, v0, s0\nmov v1, 0\nif v3
ld32 v1, r0[v0]\nendif\nsum s1, v1\nmov s2, 0\natadd s3, r1[s2], s1\nend";

/// The middle one of the three words of an item.
const MIDDLE: &str =
    ".resource read\n.resource write\nget v0, item\nget s1, length\nltu v3, v0, s1\nif v3\nmul v1, v0, 3
ld32 v2, r0[v1 + 1]\nst32 r1[v0], v2\nendif\nend";

pub(crate) fn streams_are_larger_than_their_blocks(device: &str) {
    // Software devices are slow.
    let (size, block) = if device == "reference" { (64 << 20, "1MiB") } else { (1 << 20, "32KiB") };
    let place = Place::new(device);
    let data = noise(size);
    let values = words(&data);
    place.write("data", &data);
    place.write("start", &data[..1 << 16]);
    place.write_programs();
    let blocks = ["--stream", "--block-size", block, "--depth", "4"];
    let ends = |input: &str, output: &str| {
        let items = ["--item-bytes", "64", "--out-item-bytes", "4", "--param", "first", "--stats"];
        place.well(&[&["ends.vir", "--in", input, "--out", output][..], &items, &blocks].concat())
    };
    let few = ends("start", "few");
    let many = ends("data", "many");
    let item = |i: usize| values[16 * i].wrapping_add(values[16 * i + 15]).wrapping_add(i as u32);
    let expected: Vec<_> = (0..size / 64).map(item).collect();
    assert!(words(&place.read("many")) == expected && words(&place.read("few")) == expected[..1024]);
    if device == "reference" {
        let (few, many) = (number(&few, "peak_memory"), number(&many, "peak_memory"));
        assert!(many < few + (12 << 10), "{few} KiB for a part of a block and {many} KiB for 64 MiB");
    }
    // What all blocks work on, through a pipe of which nobody knows the size.
    let part = &data[..data.len() / 8];
    let sum = place.command(&[&["sum.vir", "--in", "-", "--out", "-", "--out-bytes", "4"][..], &blocks].concat());
    let sum = piped(sum, part);
    let expected = values[..part.len() / 4].iter().fold(0_u32, |sum, word| sum.wrapping_add(*word));
    assert_eq!(words(&sum.stdout), [expected], "{}", stderr(&sum));
    // A block is no multiple of these items.
    let odd = &part[..part.len() / 12 * 12];
    place.write("odd", odd);
    let middle = ["middle.vir", "--in", "odd", "--out", "middle", "--item-bytes", "12", "--out-item-bytes", "4"];
    place.well(&[&middle[..], &blocks].concat());
    let expected: Vec<_> = words(odd).chunks(3).map(|item| item[1]).collect();
    assert!(words(&place.read("middle")) == expected);
}

/// Runs it with these bytes on standard input.
fn piped(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Who has seen enough closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

pub(crate) fn a_stream_that_fails_leaves_nothing_behind(device: &str) {
    let place = Place::new(device);
    place.write("data", noise(300_000));
    place.write("cut", noise(300_001));
    place.write_programs();
    place.write(
        "late.vir",
        ".resource read\n.resource write\n.params 1\nget s0, p0\nleu s0, 50000, s0\ntrap s0, 9\nend",
    );
    place.write("writes.vir", ".resource write\n.resource write\nend");
    let stream = |program: &str, arguments: &[&str]| -> Vec<String> {
        let all = [&[program, "--stream", "--out", "out", "--block-size", "4KiB"], arguments].concat();
        all.into_iter().map(str::to_owned).collect()
    };
    let cases: [(&str, &[&str], &str); 10] = [
        (
            "middle.vir",
            &["--in", "cut"],
            "cut: 300001 bytes are no whole number of items of 4 bytes; give --item-bytes",
        ),
        ("middle.vir", &["--in", "none"], "none: No such file"),
        ("middle.vir", &["--in", "data", "--param", "7"], "the program declares 0 parameters, given are 1"),
        ("middle.vir", &["--in", "data", "--out-bytes", "4"], "declare resource 1 atomic"),
        ("middle.vir", &["--in", "data", "--item-bytes", "6000"], "does not fit in a block of 4096"),
        ("middle.vir", &["--in", "data", "--item-bytes", "12", "--io", "direct"], "--io direct is not possible"),
        ("middle.vir", &["--in", "data", "--items", "3"], "cannot be used with"),
        ("middle.vir", &[], "--in <FILE>"),
        ("writes.vir", &["--in", "data"], "the program writes resource 0"),
        ("late.vir", &["--in", "data", "--param", "first"], "items 50176 to 51199: the program faulted"),
    ];
    // Most of them say so before there is an engine.
    let of_engine = if device == "reference" { 0 } else { cases.len() - 1 };
    for (program, arguments, message) in &cases[of_engine..] {
        let arguments = stream(program, arguments);
        place.refused(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), message);
    }
    let found =
        piped(place.command(&["sum.vir", "--stream", "--in", "-", "--out", "out", "--out-bytes", "4"]), &[0; 4099]);
    assert!(stderr(&found).contains("-: 4099 bytes are no whole number"), "{}", stderr(&found));
    let full = place.run(&["sum.vir", "--stream", "--in", "data", "--out", "/dev/full", "--out-bytes", "4"]);
    assert!(!full.status.success() && stderr(&full).contains("/dev/full: No space left"), "{}", stderr(&full));
    // What is there is replaced when asked for, and in whole.
    place.write("out", "old");
    let sum = ["sum.vir", "--stream", "--in", "data", "--out", "out", "--out-bytes", "4"];
    place.refused(&sum, "out is there already; give another name, or --force");
    place.refused(
        &["late.vir", "--stream", "--in", "data", "--param", "0xffffffff", "--out", "out", "--force"],
        "faulted",
    );
    assert_eq!(place.read("out"), b"old");
    place.well(&[&sum[..], &["--force"]].concat());
    assert_eq!(place.read("out").len(), 4);
}

pub(crate) fn a_signal_ends_a_stream_of_a_program(device: &str) {
    let place = Place::new(device);
    place.write("sum.vir", SUM);
    let mut command = place.command(&["sum.vir", "--stream", "--in", "-", "--out", "out", "--out-bytes", "4"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&noise(1 << 20)).unwrap();
    // The results have a place while it runs.
    while names(place.folder.path()).len() < 2 {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(1000));
    assert!(Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(2), "{}", stderr(&output));
    assert_eq!(names(place.folder.path()), ["sum.vir"]);
}
