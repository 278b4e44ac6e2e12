//! Tests of the kernel on a real Vulkan device, which `cargo xtask test` runs on lavapipe and SwiftShader, with validation; and of what
//! is checked before a device is asked.

mod custom;
mod device;
