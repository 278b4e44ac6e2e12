//! The control region.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vyre_protocol::control::Control;

fuzz_target!(|data: &[u8]| {
    if let Ok(control) = Control::decode(data) {
        assert_eq!(control.tenants.len(), control.geometry.counts().tenants as usize);
    }
});
