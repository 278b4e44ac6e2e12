//! Which engine to run on.

use std::convert::Infallible;
use std::str::FromStr;

use vyre_vk::{DeviceKind, DeviceReport, Vulkan};

use crate::error::OpenError;

/// A choice of engine: `auto`, `reference`, an index, or a part of a device's name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The best GPU that is fit; the reference engine where there is none. Software devices are slower than the reference
    /// engine, so they are taken only when asked for.
    #[default]
    Auto,
    /// Host threads.
    Reference,
    /// A device by its index in `vyre devices`.
    Index(usize),
    /// A device by a part of its name, in any case.
    Name(String),
}

impl FromStr for DeviceChoice {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.to_lowercase().as_str() {
            "auto" => DeviceChoice::Auto,
            "reference" => DeviceChoice::Reference,
            name => name.parse().map_or_else(|_| DeviceChoice::Name(name.into()), DeviceChoice::Index),
        })
    }
}

/// Whether `VYRE_VALIDATION` asks for Vulkan's validation layer.
#[must_use]
pub fn validation_from_environment() -> bool {
    std::env::var_os("VYRE_VALIDATION").is_some_and(|value| value != "0")
}

/// What a choice came to.
pub(crate) enum Chosen {
    Reference { why: String },
    Device { vulkan: Vulkan, index: usize, why: String },
}

pub(crate) fn choose(choice: &DeviceChoice, validation: bool) -> Result<Chosen, OpenError> {
    let asked = || "asked for".to_owned();
    match choice {
        DeviceChoice::Reference => Ok(Chosen::Reference { why: asked() }),
        DeviceChoice::Index(index) => {
            Ok(Chosen::Device { vulkan: Vulkan::load(validation)?, index: *index, why: asked() })
        }
        DeviceChoice::Name(wanted) => {
            let vulkan = Vulkan::load(validation)?;
            let index = by_name(&vulkan.devices()?, wanted)?;
            Ok(Chosen::Device { vulkan, index, why: asked() })
        }
        DeviceChoice::Auto => {
            let vulkan = match Vulkan::load(validation) {
                Ok(vulkan) => vulkan,
                Err(error) => return Ok(Chosen::Reference { why: error.to_string() }),
            };
            Ok(best(vulkan.devices()?, vulkan))
        }
    }
}

fn by_name(devices: &[DeviceReport], wanted: &str) -> Result<usize, OpenError> {
    let list = |devices: &[&DeviceReport]| match devices {
        [] => "none".into(),
        some => some.iter().map(|device| format!("{} '{}'", device.index, device.name)).collect::<Vec<_>>().join(", "),
    };
    let wanted = wanted.to_lowercase();
    let fits: Vec<_> = devices.iter().filter(|device| device.name.to_lowercase().contains(&wanted)).collect();
    match fits.as_slice() {
        [device] => Ok(device.index),
        [] => Err(OpenError::NoSuchName { wanted, devices: list(&devices.iter().collect::<Vec<_>>()) }),
        several => Err(OpenError::Ambiguous { wanted, devices: list(several) }),
    }
}

fn best(devices: Vec<DeviceReport>, vulkan: Vulkan) -> Chosen {
    let gpu = |device: &&DeviceReport| device.kind < DeviceKind::Software;
    let fit = devices.iter().filter(gpu).filter(|device| device.missing.is_empty()).min_by_key(|device| device.kind);
    if let Some(device) = fit {
        return Chosen::Device { index: device.index, why: "the best GPU".into(), vulkan };
    }
    let why = match devices.iter().find(gpu) {
        Some(unfit) => format!("{} lacks {}", unfit.name, unfit.missing.join(", ")),
        None if devices.is_empty() => "no Vulkan device".into(),
        None => "no GPU; software Vulkan runs only when asked for by --device".into(),
    };
    Chosen::Reference { why }
}
