//! Whether a device takes subnormal results for 0 by itself.
//!
//! Vulkan leaves that open where a driver has no control for it. NVIDIA's has none for floats of 32 bits and takes all for 0, so it is
//! tried, with the sums and products that VIR0 programs consist of; what behaves otherwise is not relied on.
//!
//! # Safety
//!
//! The shader touches three words of the input for each item and four of the output.
#![allow(unsafe_code, reason = "calls Vulkan; see the Safety section above")]

use std::sync::Arc;

use vyre_protocol::words::SharedWords;

use crate::error::MemoryError;
use crate::gpu::Gpu;
use crate::handwritten::{HandWork, record};
use crate::hot::{Subnormal, flushed};
use crate::memory::{Buffer, MemoryUse};

/// The smallest normal number.
const LEAST: f32 = f32::MIN_POSITIVE;

/// 2 to the -64.
const SMALL: f32 = 1.0 / (1_u128 << 64) as f32;

/// Normal numbers whose sum, difference, product or fused product and sum is subnormal; all of these are exact.
const CASES: [[f32; 3]; 8] = [
    [1.5 * LEAST, -LEAST, LEAST],
    [-1.5 * LEAST, LEAST, -LEAST],
    [1.25 * LEAST, LEAST, LEAST],
    [-1.25 * LEAST, -LEAST, -LEAST],
    [SMALL, SMALL, 0.0],
    [SMALL, -SMALL, -0.0],
    [SMALL, 0.5 * SMALL, -LEAST],
    [-SMALL, 2.0 * SMALL, LEAST],
];

/// Results of each.
const RESULTS: usize = 4;

impl Subnormal {
    /// Who takes subnormal results for 0 in programs that are translated for this device.
    pub(crate) fn of(gpu: &Arc<Gpu>) -> Subnormal {
        if gpu.report.flush_control {
            return Subnormal::Module;
        }
        let tried = gpu.flushes.get_or_init(|| {
            // Without a trial the programs do it, which is slower and nothing else.
            tried(gpu).inspect_err(|error| tracing::debug!("subnormal floats were not tried: {error}")).unwrap_or(false)
        });
        if *tried { Subnormal::Device } else { Subnormal::Shader }
    }
}

/// Whether the device makes 0 of all results that are subnormal, and of no others.
fn tried(gpu: &Arc<Gpu>) -> Result<bool, MemoryError> {
    let input = Buffer::allocate(gpu, size_of_val(&CASES) as u64, MemoryUse::HostToDevice)?;
    let output = Buffer::allocate(gpu, (CASES.len() * RESULTS * 4) as u64, MemoryUse::DeviceToHost)?;
    let (Some(source), Some(target)) = (input.region(), output.region()) else { return Ok(false) };
    for (i, float) in CASES.as_flattened().iter().enumerate() {
        source.store(i, float.to_bits());
    }
    source.publish_fence();
    let work = HandWork { items: CASES.len() as u32, span: 0, parameters: [0; 5] };
    let shader = include_bytes!("../spirv/subnormal.spv");
    // SAFETY: the buffers have the words of all cases.
    unsafe { record(gpu, shader, 1, &work, [&input, &output]) }?.run()?;
    let expected = CASES.iter().flat_map(|[a, b, c]| [a + b, a - b, a * b, a.mul_add(*b, *c)]).map(f32::to_bits);
    Ok(expected.enumerate().all(|(i, word)| target.load_acquire(i) == flushed(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_result_is_subnormal_in_some_case_of_either_sign_and_exact() {
        let exact = |[a, b, c]: [f32; 3]| [a, b, c].map(f64::from);
        let results = |case: [f32; 3]| {
            let ([a, b, c], [x, y, z]) = (case, exact(case));
            [(a + b, x + y), (a - b, x - y), (a * b, x * y), (a.mul_add(b, c), x * y + z)]
        };
        for result in 0..RESULTS {
            let subnormal = CASES.map(|case| results(case)[result].0).into_iter().filter(|float| float.is_subnormal());
            let signs: Vec<bool> = subnormal.map(f32::is_sign_negative).collect();
            assert!(signs.contains(&true) && signs.contains(&false), "{result}: {signs:?}");
        }
        let normal = CASES.as_flattened().iter().all(|float| !float.is_subnormal());
        assert!(normal);
        for (found, exact) in CASES.iter().flat_map(|case| results(*case)) {
            assert!(f64::from(found).to_bits() == exact.to_bits() || exact.abs() < f64::from(f32::from_bits(1)) / 2.0);
        }
    }
}
