//! `vyre devices`.

use std::process::ExitCode;

use vyre_runtime::vk::{DeviceReport, Vulkan};

use crate::{Failure, exit_code};

pub(crate) fn run() -> Result<ExitCode, Failure> {
    println!("reference: host threads; always there, --device reference");
    let vulkan = match Vulkan::load(vyre_runtime::validation_from_environment()) {
        Ok(vulkan) => vulkan,
        Err(error) => {
            println!("Vulkan: {error}");
            return Ok(ExitCode::SUCCESS);
        }
    };
    let devices = vulkan.devices()?;
    if devices.is_empty() {
        println!("Vulkan: a loader, and no device; install a driver (in software: mesa-vulkan-drivers)");
    }
    for device in &devices {
        print(device);
    }
    Ok(exit_code(true, vulkan.validation_messages()))
}

fn print(device: &DeviceReport) {
    let DeviceReport { index, name, driver, kind, api_version, missing, memory, import_alignment, quirks, .. } = device;
    println!("{index}: {name}");
    println!("    type         {kind}");
    println!("    driver       {driver}, Vulkan {api_version}");
    println!("    memory       {memory}");
    match import_alignment {
        Some(bytes) => println!("    host import  aligned to {bytes} bytes"),
        None => println!("    host import  none"),
    }
    let stores = if device.stores_64_bit { "64-bit stores" } else { "32-bit stores" };
    println!("    completions  {stores}, {} device clock", if device.device_clock { "with a" } else { "no" });
    println!("    quirks       {quirks}");
    match missing.as_slice() {
        [] => println!("    fit          yes"),
        some => println!("    fit          no, it lacks: {}", some.join(", ")),
    }
}
