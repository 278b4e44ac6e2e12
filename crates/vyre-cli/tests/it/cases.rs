//! The cases; each takes what `--device` takes.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

pub(crate) use crate::run::*;
use crate::vyre;

pub(crate) fn noise(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

pub(crate) fn hash(device: &str, arguments: &[&str]) -> Command {
    let mut command = vyre();
    command.args(["hash", "--device", device]).args(arguments);
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The value of a line `name: value` of `--stats`.
fn stat(output: &Output, name: &str) -> String {
    let text = stderr(output);
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
}

pub(crate) fn number(output: &Output, name: &str) -> u64 {
    stat(output, name).split(' ').next().unwrap().parse().unwrap()
}

pub(crate) fn hashes_are_those_of_b3sum(device: &str) {
    let folder = tempfile::tempdir().unwrap();
    let data = noise(2 << 20);
    for block in ["4KiB", "64KiB", "1MiB", "16MiB"] {
        for depth in ["1", "64"] {
            let mut files = Vec::new();
            let mut expected = String::new();
            for size in [0, 1, 1023, 1024, 1025, 4095, 4097, 65_535, 65_536, 65_537, (1 << 20) - 1, (1 << 20) + 1] {
                let path = folder.path().join(format!("f{size}"));
                std::fs::write(&path, &data[..size]).unwrap();
                expected += &format!("{}  {}\n", blake3::hash(&data[..size]), path.display());
                files.push(path.display().to_string());
            }
            let mut command = hash(device, &["--block-size", block, "--depth", depth]);
            let output = command.args(&files).output().unwrap();
            assert!(output.status.success(), "{}", stderr(&output));
            assert_eq!(stdout(&output), expected, "{depth} blocks of {block}");
        }
    }
    let sparse = folder.path().join("sparse");
    std::fs::File::create(&sparse).unwrap().set_len(5 << 20).unwrap();
    let output = hash(device, &["--json"]).arg(&sparse).output().unwrap();
    let record: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    let hash = blake3::hash(&vec![0; 5 << 20]).to_string();
    assert_eq!((record["hash"].as_str(), record["bytes"].as_u64()), (Some(&*hash), Some(5 << 20)));
}

pub(crate) fn five_hundred_files_in_one_call(device: &str) {
    let folder = tempfile::tempdir().unwrap();
    let data = noise(200_000);
    let mut expected = String::new();
    let mut command = hash(device, &[]);
    for i in 0..500 {
        let path = folder.path().join(format!("{i}"));
        let data = &data[..(i * 397) % data.len()];
        std::fs::write(&path, data).unwrap();
        expected += &format!("{}  {}\n", blake3::hash(data), path.display());
        command.arg(path);
    }
    assert_eq!(stdout(&command.output().unwrap()), expected);
}

pub(crate) fn pipes_and_proc_files(device: &str) {
    for size in [0, 1, 4096, 65_536, 524_288, 3_000_000] {
        let data = noise(size);
        let mut child =
            hash(device, &[]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        for part in data.chunks(50_000) {
            stdin.write_all(part).unwrap();
        }
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        assert_eq!(stdout(&output), format!("{}\n", blake3::hash(&data)), "{size} bytes through a pipe");
    }
    let file = "/proc/version";
    let output = hash(device, &[file]).output().unwrap();
    assert_eq!(stdout(&output), format!("{}  {file}\n", blake3::hash(&std::fs::read(file).unwrap())));
}

pub(crate) fn stats_show_a_resident_kernel(device: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let data = noise(8 << 20);
    std::fs::write(file.path(), &data).unwrap();
    let slots = |output: &Output| number(output, "slots");
    let run = |block| hash(device, &["--stats", "--block-size", block]).arg(file.path()).output().unwrap();
    let (many, few) = (run("4KiB"), run("1MiB"));
    assert_eq!((slots(&many), slots(&few)), (2048, 8));
    let quanta = [&many, &few].map(|output| number(output, "quanta_launched"));
    assert!(quanta[0] > 0 && quanta[0] < 2048 / 2, "quanta do not follow the slots: {quanta:?}");
    let bounced = if stat(&many, "staging").starts_with("copied") { 8 << 20 } else { 0 };
    assert_eq!((number(&many, "bounce_bytes"), number(&many, "bytes_read")), (bounced, 8 << 20));
    if device != "reference" {
        let copied = hash(device, &["--stats", "--tier", "copied"]).arg(file.path()).output().unwrap();
        assert_eq!(number(&copied, "bounce_bytes"), 8 << 20, "every copied byte is counted");
        assert!(stat(&copied, "staging").starts_with("copied"));
        assert_eq!(stdout(&copied), stdout(&many));
    }
}

pub(crate) fn check_finds_good_bad_and_malformed_lines(device: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new\nline");
    std::fs::write(&file, noise(100_000)).unwrap();
    let sums = hash(device, &[]).arg(&file).output().unwrap();
    assert!(stdout(&sums).starts_with('\\'), "{}", stdout(&sums));
    let list = folder.path().join("SUMS");
    let check = |text: &str| {
        std::fs::write(&list, text).unwrap();
        hash(device, &["--check"]).arg(&list).output().unwrap()
    };
    let good = check(&stdout(&sums));
    assert!(good.status.success() && stdout(&good).ends_with("new\\nline: OK\n"), "{}", stdout(&good));
    let bad = check(&stdout(&sums).replacen(['0', '1', '2', '3', '4'], "f", 1));
    assert_eq!(bad.status.code(), Some(1));
    assert!(stdout(&bad).contains(": FAILED") && stderr(&bad).contains("1 of 1 files did not match"));
    for malformed in ["nonsense\n", "", &format!("{}  missing\n", "0".repeat(64))] {
        assert_eq!(check(malformed).status.code(), Some(1), "{malformed}");
    }
}

pub(crate) fn bad_files_are_one_line_each_and_the_others_are_hashed(device: &str) {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good");
    std::fs::write(&good, b"abc").unwrap();
    let missing = folder.path().join("missing");
    // Reading it fails with EIO, also for root.
    let unreadable = Path::new("/proc/self/mem");
    let output = hash(device, &[]).arg(&missing).arg(folder.path()).arg(unreadable).arg(&good).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), format!("{}  {}\n", blake3::hash(b"abc"), good.display()));
    let text = stderr(&output);
    let errors: Vec<_> = text.lines().filter(|line| !line.contains("running on")).collect();
    assert_eq!(errors.len(), 3, "{text}");
    assert!(errors[0].ends_with("missing: No such file or directory"), "{text}");
    assert!(errors[1].contains("is a directory"), "{text}");
    assert!(errors[2].contains("/proc/self/mem: reading at byte 0 failed: Input/output error"), "{text}");
}

pub(crate) fn signals_end_a_stream_at_once(device: &str) {
    for (name, number) in [("INT", 2), ("TERM", 15)] {
        let mut child = hash(device, &["-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&noise(1 << 20)).unwrap();
        std::thread::sleep(Duration::from_millis(1500));
        let start = Instant::now();
        let id = child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.signal(), Some(number), "{}", stderr(&output));
        assert!(start.elapsed() < Duration::from_secs(5), "SIG{name} took {:?}", start.elapsed());
        drop(stdin);
    }
}

pub(crate) fn doctor_finds_the_engine_fit(device: &str) {
    let output = vyre().args(["doctor", "--device", device, "--tries", "2000"]).output().unwrap();
    let text = stdout(&output);
    assert!(output.status.success(), "{text}{}", stderr(&output));
    for check in [
        "memlock",
        "engine",
        "io_uring",
        "staging",
        "litmus, 256 bytes from mapped memory: 2000 tries, 0 stale",
        "workers",
    ] {
        assert!(text.lines().any(|line| line.contains(check)), "no {check} in {text}");
    }
}

/// Checks what holds for every report; gives the names of its tables' rows, and its ratios.
fn check_report(report: &serde_json::Value, bench: &str) -> (Vec<String>, Vec<f64>) {
    assert_eq!(report["bench"], bench);
    let mut names = Vec::new();
    for table in report["tables"].as_array().unwrap() {
        for row in table["rows"].as_array().unwrap() {
            let values = row["values"].as_array().unwrap();
            assert_eq!(values.len(), table["columns"].as_array().unwrap().len());
            assert!(values.iter().all(|value| value.as_f64() > Some(0.0)), "{row}");
            names.push(row["name"].as_str().unwrap().to_owned());
        }
    }
    let plots = report["plots"].as_array().unwrap();
    assert!(
        plots.iter().flat_map(|plot| plot["curves"].as_array().unwrap()).all(|curve| curve["points"][0].is_array())
    );
    (names, report["ratios"].as_array().unwrap().iter().map(|ratio| ratio["value"].as_f64().unwrap()).collect())
}

/// Runs a bench with `--json` and checks its report.
fn bench(arguments: &[&str], device: &str) -> (Vec<String>, Vec<f64>) {
    let output = vyre().arg("bench").args(arguments).args(["--json", "--device", device]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    check_report(&serde_json::from_str(&stdout(&output)).unwrap(), arguments[0])
}

/// Three bursts, each with tiles of two operations and quanta around them.
fn check_timeline(timeline: &serde_json::Value, device: &str) {
    assert_eq!(timeline["kinds"], serde_json::json!(["quantum", "parked", "tile of FILL", "tile of REDUCE"]));
    let tracks = timeline["tracks"].as_array().unwrap();
    assert!(tracks.len() <= 1 + 12 && tracks[0]["name"] == if device == "reference" { "worker 0" } else { "relay" });
    let spans: Vec<_> = tracks.iter().flat_map(|track| track["spans"].as_array().unwrap()).collect();
    let count = |kind: u64| spans.iter().filter(|span| span["kind"] == kind).count();
    assert!(
        spans.iter().all(|span| span["start"].as_f64() <= span["end"].as_f64() && span["start"].as_f64() >= Some(0.0))
    );
    // Of more workers than that only those that ran most are shown.
    let least = if tracks.len() < 1 + 12 { 3 * 64 } else { 1 };
    assert!(
        count(0) > 0 && count(2) >= least && count(3) >= least,
        "{} quanta, {} and {}",
        count(0),
        count(2),
        count(3)
    );
}

pub(crate) fn bench_all_leaves_a_report_and_a_page(device: &str) {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let output = vyre().args(["bench", "all", "--quick", "--json", "--device", device, "--html"]).arg(&page).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let run: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert!(run["machine"]["command"].as_str().unwrap().starts_with("vyre bench all --quick"), "{}", run["machine"]);
    let reports = run["reports"].as_array().unwrap();
    assert!(reports.len() >= 3 && run["broken"].as_array().unwrap().is_empty());
    let page = std::fs::read_to_string(page).unwrap();
    for report in reports {
        let name = report["bench"].as_str().unwrap();
        let (names, _) = check_report(report, name);
        assert!(!names.is_empty() && page.contains(&format!("<section id=\"{name}\">")), "{name}");
        assert!(stderr(&output).contains(&format!("bench {name}, ")), "{}", stderr(&output));
        if name == "residency" {
            check_timeline(&report["timelines"][0], device);
        }
    }
    let unwritable = folder.path().join("none/page.html");
    let output =
        vyre().args(["bench", "latency", "--samples", "100", "--device", device, "--html"]).arg(&unwritable).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("none/page.html cannot be written"), "{}", stderr(&output));
}

pub(crate) fn bench_throughput_prints_rates(device: &str) {
    let (names, ratios) = bench(&["throughput", "--milliseconds", "20"], device);
    assert_eq!((names.len(), ratios.len()), if device == "reference" { (5, 0) } else { (7, 2) });
}

pub(crate) fn bench_residency_compares_numbers_of_workers(device: &str) {
    let arguments = ["residency", "--samples", "200", "--milliseconds", "2", "--workers"];
    let (names, ratios) = bench(&[&arguments[..], &["5"]].concat(), device);
    // One table of round trips and one of rates.
    assert_eq!(names, ["1 worker", "4 workers", "5 workers"].repeat(2));
    assert_eq!(ratios.len(), 2);
    let (names, ratios) = bench(&[&arguments[..], &["1"]].concat(), device);
    assert_eq!((names, ratios.len()), (["1 worker"].repeat(2).into_iter().map(Into::into).collect(), 0));
}

pub(crate) fn bench_scale_grows_everything(device: &str) {
    let arguments = ["scale", "--largest", "256", "--samples", "10", "--workers", "2"];
    let (names, ratios) = bench(&arguments, device);
    let [slots, tiles, workers] = [&["64", "256"][..], &["1", "10", "100", "256"], &["1", "2"]];
    let [tenants, producers] = [&["1", "16", "256"][..], &["1", "2", "4", "8"]];
    assert_eq!(names, [slots, tiles, workers, tenants, producers, tiles].concat());
    // All that should be flat but the time of a tile, for which thousands are needed.
    assert_eq!(ratios.len(), 4 + 1 + 3 + 1 + 2);
}

pub(crate) fn bench_vir0_compares_programs_with_shaders(device: &str) {
    let (names, ratios) = bench(&["vir0", "--kib", "64", "--milliseconds", "1"], device);
    assert_eq!((names.len(), ratios.len()), if device == "reference" { (5, 0) } else { (10, 5) });
}

pub(crate) fn bench_preemption_prints_percentiles(device: &str) {
    let (names, ratios) = bench(&["preemption", "--samples", "100"], device);
    assert_eq!((names, ratios.len()), (vec!["idle".to_owned(), "beside LOW work".to_owned()], 1));
}

pub(crate) fn bench_park_compares_loads_and_wakes(device: &str) {
    let (names, ratios) = bench(&["park", "--seconds", "0.2", "--parks", "10"], device);
    let reference = ["asleep, nothing opened", "parked", "parked before", "live before"];
    let vulkan =
        ["asleep, nothing opened", "parked", "live, nothing to do", "parked before", "live before", "submit + fence"];
    assert_eq!(names, if device == "reference" { &reference[..] } else { &vulkan });
    assert_eq!(ratios.len(), if device == "reference" { 2 } else { 3 });
    // A worker that looked all the time would take a hundred; a machine that others use wakes this process late, no more.
    assert!(ratios[0] < 5.0, "a parked engine takes {} % of a processor", ratios[0]);
    for seconds in ["0", "-1", "x", "1e9"] {
        let output = vyre().args(["bench", "park", &format!("--seconds={seconds}")]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{seconds}");
        assert!(stderr(&output).contains("not a number of seconds from 0.1 to 3600"), "{}", stderr(&output));
    }
}

pub(crate) fn bench_start_tells_where_the_time_goes(device: &str) {
    let (names, ratios) = bench(&["start", "--starts", "1", "--workers", "1"], device);
    let reference = ["process", "choice", "launch", "first NOP"];
    let vulkan = ["process", "choice", "device", "pipeline", "memory", "workers", "launch", "first NOP"];
    let steps = if device == "reference" { &reference[..] } else { &vulkan };
    let way = [steps, &["total", "all operations"]].concat();
    // NOP alone and default operations, each with warm and cold caches; two goals each.
    let ways = if device == "reference" { 1 } else { 4 };
    let (expected, goals) = (way.repeat(ways), 2 * ways);
    assert_eq!((names, ratios.len()), (expected.into_iter().map(str::to_owned).collect(), goals));
    assert!(ratios.iter().all(|ratio| *ratio > 0.0), "{ratios:?}");
    let output = vyre().args(["bench", "start", "--device", "no such device"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("a fresh process did not start the engine"), "{}", stderr(&output));
}

pub(crate) fn bench_latency_prints_percentiles(device: &str) {
    // Enough of them that the median is not one of those behind a wake-up, also where others use the processors.
    let (names, ratios) = bench(&["latency", "--samples", "4000"], device);
    assert_eq!((names.len(), ratios.len()), if device == "reference" { (2, 0) } else { (5, 2) });
    assert!(ratios.iter().all(|ratio| *ratio > 1.0), "{ratios:?}");
}

/// The events in a trace of which one line was said.
fn trace(out: &Path, output: &Output) -> Vec<serde_json::Value> {
    let text = stderr(output);
    let line = text.lines().find(|line| line.contains(" events (")).unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains(", 0 dropped, 0 overwritten; ") && line.contains("clock"), "{line}");
    serde_json::from_slice(&std::fs::read(out).unwrap()).unwrap()
}

pub(crate) fn a_trace_of_the_mix_shows_all_partitions_and_parks(device: &str) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("trace.json");
    let run = |more: &[&str]| vyre().arg("trace").arg(&out).args(["--device", device]).args(more).output().unwrap();
    let output = run(&["--workers", "2"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let events = trace(&out, &output);
    let groups: Vec<_> = events.iter().filter(|event| event["name"] == "process_name").collect();
    let names: Vec<_> = groups.iter().filter_map(|event| event["args"]["name"].as_str()).collect();
    let partitions = ["slots CRITICAL", "slots HIGH", "slots NORMAL", "slots LOW", "slots IDLE"];
    assert_eq!(names, [&["run", "workers", "quanta"], &partitions[..]].concat());
    let count = |name: &str, phase: &str| events.iter().filter(|e| e["name"] == name && e["ph"] == phase).count();
    assert_eq!((count("REDUCE", "b"), count("REDUCE", "e"), count("FENCE", "b")), (20, 20, 20));
    assert_eq!(count("REDUCE", "X") + count("REDUCE", "i"), 20 * 64);
    assert!(count("parked", "X") > 0 && count("quantum", "X") > 0, "{}", stderr(&output));
    let kept = std::fs::read(&out).unwrap();
    let refused = run(&[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("trace.json is there already"), "{}", stderr(&refused));
    assert_eq!(std::fs::read(&out).unwrap(), kept, "what was there is as it was");
    let forced = run(&["--force", "--events", "100"]);
    assert!(forced.status.success(), "{}", stderr(&forced));
    assert!(
        stderr(&forced).contains(": 100 events (") && !stderr(&forced).contains(" 0 dropped"),
        "{}",
        stderr(&forced)
    );
    assert!(std::fs::read(&out).unwrap().len() < kept.len());
}

pub(crate) fn a_trace_of_hashing_prints_the_hashes(device: &str) {
    let folder = tempfile::tempdir().unwrap();
    let [out, file] = ["trace.json", "file"].map(|name| folder.path().join(name));
    let data = noise(3_000_000);
    std::fs::write(&file, &data).unwrap();
    let output = vyre().arg("trace").arg(&out).args(["--device", device, "hash"]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&output), format!("{}  {}\n", blake3::hash(&data), file.display()));
    let events = trace(&out, &output);
    let count = |name: &str, phase: &str| events.iter().filter(|e| e["name"] == name && e["ph"] == phase).count();
    assert_eq!((count("read", "X"), count("BLAKE3", "b"), count("BLAKE3", "X") + count("BLAKE3", "i")), (6, 6, 46));
    let missing = folder.path().join("missing/trace.json");
    let output = vyre().arg("trace").arg(&missing).args(["--device", device, "hash"]).arg(&file).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{}", stderr(&output));
    assert!(stderr(&output).contains("missing/trace.json: No such file"), "{}", stderr(&output));
}

pub(crate) fn bench_ops_compares_every_operation(device: &str) {
    let (names, ratios) = bench(&["ops", "--mib", "1", "--milliseconds", "1"], device);
    let vulkan = if device == "reference" { 0 } else { 1 };
    // Live; a plain dispatch; a command of Vulkan's for some; a host thread for one.
    for (operation, commands, host) in
        [("COPY", 1, 0), ("FILL", 1, 0), ("REDUCE", 0, 0), ("HISTOGRAM", 0, 0), ("BLAKE3", 0, 1)]
    {
        let ways = names.iter().filter(|name| name.starts_with(operation)).count();
        assert_eq!(ways, 1 + vulkan * (1 + commands) + host, "{operation} in {names:?}");
    }
    assert_eq!(names.iter().filter(|name| name.ends_with(" KiB")).count(), 4);
    assert_eq!(ratios.len(), if device == "reference" { 1 } else { 8 });
}

pub(crate) fn bench_stream_reads_a_file_in_every_way(device: &str) {
    let (names, _) = bench(&["stream", "--mib", "1"], device);
    // Two tables of rates and one of CPU time; what is not installed here leaves no row.
    for way in ["live, BLAKE3", "live, REDUCE", "reader alone", "read and copy", "map and copy"] {
        assert_eq!(names.iter().filter(|name| *name == way).count(), 3, "{way} in {names:?}");
    }
    assert_eq!(names.iter().filter(|name| name.ends_with("KiB, live, BLAKE3")).count(), 4, "{names:?}");
    // A file of the user's whose length is no multiple of anything stays as it is.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), noise((1 << 20) + 4099)).unwrap();
    let (same, _) = bench(&["stream", file.path().to_str().unwrap()], device);
    assert_eq!(same, names);
    assert_eq!(std::fs::read(file.path()).unwrap(), noise((1 << 20) + 4099));
}
