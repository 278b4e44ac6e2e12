//! `vyre doctor`: what this machine can do, tested, with a remedy for each thing it cannot.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use vyre_runtime::io::{BackendChoice, BackendKind, memlock_preflight};
use vyre_runtime::litmus::{self, LitmusReport};
use vyre_runtime::protocol::geometry::Counts;
use vyre_runtime::vk::Vulkan;
use vyre_runtime::{EngineKind, HashOptions, Options, Runtime, Staging, TierChoice};

use crate::{DeviceArgument, Failure, exit_code};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    device: DeviceArgument,
    /// Slots of each small probe of the litmus test; the large ones try a 64th of that.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    tries: u64,
}

/// Prints the outcome of each check, and remembers whether one failed.
struct Checks {
    fit: bool,
}

impl Checks {
    fn ok(&self, what: &str, found: impl std::fmt::Display) {
        println!("ok    {what}: {found}");
    }

    /// Something is slower or less than it could be.
    fn note(&self, what: &str, found: impl std::fmt::Display) {
        println!("note  {what}: {found}");
    }

    fn failed(&mut self, what: &str, found: impl std::fmt::Display) {
        println!("FAIL  {what}: {found}");
        self.fit = false;
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let mut checks = Checks { fit: true };
    check_vulkan(&mut checks);
    let options = HashOptions::default();
    let bytes = options.block_size * options.depth;
    match memlock_preflight(bytes as u64) {
        Ok(()) => checks.ok("memlock", format!("{bytes} bytes may be locked")),
        Err(error) => checks.note("memlock", error),
    }
    let opening = Instant::now();
    let open = Options::new(Counts::default())?;
    let mut messages = 0;
    match Runtime::open(&arguments.device.choice(), &open) {
        Err(error) => checks.failed("engine", error),
        Ok(mut runtime) => {
            let took = opening.elapsed().as_millis();
            checks.ok("engine", format!("{}, open after {took} ms", runtime.engine()));
            check_staging(&mut checks, &mut runtime, &options);
            check_litmus(&mut checks, &mut runtime, arguments.tries);
            check_workers(&mut checks, &mut runtime);
            if let Err(error) = runtime.exit(Duration::from_secs(10)) {
                checks.failed("exit", error);
            }
            messages = runtime.validation_messages();
        }
    }
    println!("{}", if checks.fit { "This machine is fit." } else { "This machine is not fit; see FAIL above." });
    Ok(exit_code(checks.fit, messages))
}

fn check_vulkan(checks: &mut Checks) {
    let vulkan = match Vulkan::load(vyre_runtime::validation_from_environment()) {
        Ok(vulkan) => vulkan,
        Err(error) => return checks.note("Vulkan", error),
    };
    match vulkan.devices() {
        Err(error) => checks.note("Vulkan", error),
        Ok(devices) if devices.is_empty() => {
            checks.note("Vulkan", "a loader, and no device; install a driver (in software: mesa-vulkan-drivers)");
        }
        Ok(devices) => {
            for device in devices {
                let what = format!("device {} ({}, {})", device.index, device.name, device.kind);
                match device.missing.as_slice() {
                    [] => checks.ok(&what, "has all that the kernel needs"),
                    some => checks.note(&what, format!("lacks {}; update its driver", some.join(", "))),
                }
            }
        }
    }
}

fn check_staging(checks: &mut Checks, runtime: &mut Runtime, options: &HashOptions) {
    let made = Staging::new(runtime, options.block_size, options.depth, TierChoice::Auto, BackendChoice::Auto);
    let staging = match made {
        Ok(staging) => staging,
        Err(error) => return checks.failed("staging", error),
    };
    let backend = staging.reader.backend();
    match backend.kind {
        BackendKind::IoUring => checks.ok("io_uring", "registers buffers and files"),
        BackendKind::Threads => checks.note("io_uring", format!("threads read instead: {backend}")),
    }
    checks.ok("staging", staging.tier());
    for reason in staging.passed_over() {
        checks.note("staging passed over", reason);
    }
}

fn check_litmus(checks: &mut Checks, runtime: &mut Runtime, tries: u64) {
    let reports = match litmus::run(runtime, tries) {
        Ok(reports) => reports,
        Err(error) => return checks.failed("litmus", error),
    };
    for report in reports {
        let what = format!("litmus, {}", report.probe);
        let LitmusReport { tries, stale_inputs, late_outputs, faults, .. } = report;
        let found = format!("{tries} tries, {stale_inputs} stale, {late_outputs} late, {faults} faults");
        if report.probe.input == litmus::Input::Imported && !report.host_to_device() {
            checks.note(&what, format!("{found}; blocks are copied to the device instead"));
        } else if !report.host_to_device() {
            checks.failed(&what, format!("{found}; use --device reference"));
        } else if !report.device_to_host() {
            checks.note(&what, format!("{found}; bulk results must wait for the quantum's end"));
        } else {
            checks.ok(&what, found);
        }
    }
    checks.ok("bulk results", format!("{:?}", runtime.bulk_visibility()));
}

fn check_workers(checks: &mut Checks, runtime: &mut Runtime) {
    let launched = runtime.engine().workers;
    runtime.request_snapshot();
    // A parked device has published its counters at its last quantum's end.
    std::thread::sleep(Duration::from_millis(200));
    match runtime.counters() {
        None => checks.failed("workers", "no counters came; the device does not answer"),
        Some(counters) => {
            let found = format!("{} of {launched} were resident at once", counters.resident_peak);
            match counters.resident_peak >= launched || runtime.engine().kind == EngineKind::Reference {
                true => checks.ok("workers", found),
                false => checks.note("workers", found),
            }
        }
    }
}
