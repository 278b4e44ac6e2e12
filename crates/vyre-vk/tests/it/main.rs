//! Tests of the kernel on a real Vulkan device. `cargo xtask test` runs them on lavapipe and SwiftShader, with validation.

mod device;
