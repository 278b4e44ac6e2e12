//! Wrong arguments, and machines that lack something.

use std::process::Command;

use crate::cases::{hash, stderr};
use crate::vyre;

#[test]
fn wrong_arguments_are_refused_with_exit_code_2() {
    for arguments in [
        &["hash", "--block-size", "5000"][..],
        &["hash", "--block-size", "32MiB"],
        &["hash", "--block-size", "4GiB"],
        &["hash", "--depth", "0"],
        &["hash", "--depth", "65"],
        &["hash", "--check", "a", "b"],
        &["trace"],
        &["trace", "a", "hash"],
        &["trace", "a", "--events", "0"],
        &["nonsense"],
        &["bench"],
    ] {
        let output = vyre().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn a_file_too_small_to_stream_is_refused_with_its_size() {
    let output = vyre().args(["bench", "stream", "--device", "reference", "Cargo.toml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let size = std::fs::metadata("Cargo.toml").unwrap().len();
    assert!(stderr(&output).contains(&format!("Cargo.toml: {size} bytes")), "{}", stderr(&output));
}

#[test]
fn a_device_that_does_not_exist_is_one_line() {
    for device in ["no such device", "99"] {
        let output = hash(device, &["Cargo.toml"]).env("VK_DRIVER_FILES", "/nonexistent").output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn without_a_driver_devices_says_so_and_the_reference_engine_hashes() {
    let output = vyre().arg("devices").env("VK_DRIVER_FILES", "/nonexistent").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.starts_with("reference") && text.contains("Vulkan: "), "{text}");
    let output = hash("auto", &["Cargo.toml"]).env("VK_DRIVER_FILES", "/nonexistent").output().unwrap();
    assert!(output.status.success() && stderr(&output).contains("running on reference engine"), "{}", stderr(&output));
}

#[test]
fn a_reader_of_the_output_may_leave() {
    let vyre = vyre().get_program().to_owned();
    let files = "Cargo.toml ".repeat(2000);
    let script = format!("{} hash --device reference {files} | head -n 1", vyre.display());
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(output.status.success());
    assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
    let script = format!("{} bench latency --samples 100 --device reference | true", vyre.display());
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", stderr(&output));
}

/// The shell that lowers a limit and becomes the binary.
fn limited(before: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{before} exec \"$0\" hash --device reference --stats Cargo.toml"));
    command.arg(vyre().get_program());
    command
}

#[test]
fn too_little_memlock_falls_back_to_threads_and_says_how_to_raise_it() {
    // Root may lock any amount, so the capability goes first, where setpriv is there to take it.
    let drop = "ulimit -l 64; exec setpriv --bounding-set -ipc_lock --inh-caps -ipc_lock";
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("{drop} \"$0\" hash --device reference --stats Cargo.toml"))
        .arg(vyre().get_program());
    let output = command.output().unwrap();
    let text = stderr(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("io: threads (") && text.contains("ulimit -l"), "{text}");
}

#[test]
fn with_a_forbidden_io_uring_threads_read_and_the_reason_is_given() {
    let this = std::env::current_exe().unwrap();
    let child = "limits::child_that_forbids_io_uring_and_becomes_vyre";
    let output = Command::new(this).args(["--ignored", "--exact", child, "--nocapture"]).output().unwrap();
    let text = stderr(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("io: threads (io_uring is forbidden here"), "{text}");
}

#[test]
#[ignore = "run by with_a_forbidden_io_uring_threads_read_and_the_reason_is_given"]
fn child_that_forbids_io_uring_and_becomes_vyre() {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
    use std::os::unix::process::CommandExt;
    // io_uring_setup has this number on every architecture; 1 is EPERM.
    let rules = [(425, Vec::new())].into_iter().collect();
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(1), arch).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
    let error = limited("").exec();
    panic!("{error}");
}
