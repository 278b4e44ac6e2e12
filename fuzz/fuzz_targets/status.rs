//! The status region.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vyre_protocol::status::Status;

fuzz_target!(|data: &[u8]| {
    if let Ok(status) = Status::decode(data) {
        assert!(status.observables.len() * 4 <= data.len(), "no more than the input justifies");
    }
});
