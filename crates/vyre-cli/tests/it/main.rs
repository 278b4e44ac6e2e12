//! The binary as a user runs it: the module `reference` on host threads, the module `device` on the Vulkan device that
//! `VYRE_TEST_DEVICE` names. `VYRE_BIN` names another binary to test.

mod cases;
mod limits;
mod programs;
mod run;

use std::path::PathBuf;
use std::process::Command;

/// The binary.
fn vyre() -> Command {
    let built = PathBuf::from(env!("CARGO_BIN_EXE_vyre"));
    Command::new(std::env::var_os("VYRE_BIN").map_or(built, PathBuf::from))
}

/// The name of the device under test, as `--device` takes it.
fn device() -> &'static str {
    match std::env::var("VYRE_TEST_DEVICE").expect("VYRE_TEST_DEVICE says lavapipe, swiftshader or gpu").as_str() {
        "lavapipe" => "llvmpipe",
        "swiftshader" => "swiftshader",
        _ => "auto",
    }
}

macro_rules! on_every_engine {
    ($($case:ident => $reference:ident, $device:ident;)+) => {
        mod reference {
            $(#[test] fn $reference() { crate::cases::$case("reference"); })+
        }
        mod device {
            $(#[test]
            #[ignore = "needs a Vulkan device; run by cargo xtask test"]
            fn $device() { crate::cases::$case(crate::device()); })+
        }
    };
}

on_every_engine! {
    hashes_are_those_of_b3sum => hashes, device_hashes;
    five_hundred_files_in_one_call => many, device_many;
    pipes_and_proc_files => pipes, device_pipes;
    stats_show_a_resident_kernel => stats, device_stats;
    check_finds_good_bad_and_malformed_lines => check, device_check;
    bad_files_are_one_line_each_and_the_others_are_hashed => bad_files, device_bad_files;
    signals_end_a_stream_at_once => signals, device_signals;
    doctor_finds_the_engine_fit => doctor, device_doctor;
    bench_latency_prints_percentiles => bench, device_bench;
    bench_throughput_prints_rates => throughput, device_throughput;
    bench_residency_compares_numbers_of_workers => residency, device_residency;
    bench_scale_grows_everything => scale, device_scale;
    bench_ops_compares_every_operation => ops, device_ops;
    bench_vir0_compares_programs_with_shaders => vir0, device_vir0;
    bench_stream_reads_a_file_in_every_way => stream, device_stream;
    bench_preemption_prints_percentiles => preemption, device_preemption;
    bench_park_compares_loads_and_wakes => park, device_park;
    bench_start_tells_where_the_time_goes => start, device_start;
    bench_all_leaves_a_report_and_a_page => bench_all, device_bench_all;
    a_trace_of_the_mix_shows_all_partitions_and_parks => trace, device_trace;
    a_trace_of_hashing_prints_the_hashes => trace_hash, device_trace_hash;
    programs_run_over_files => run, device_run;
    streams_are_larger_than_their_blocks => run_stream, device_run_stream;
    a_stream_that_fails_leaves_nothing_behind => run_fails, device_run_fails;
    a_signal_ends_a_stream_of_a_program => run_signal, device_run_signal;
}
