//! Completions and their stamps.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vyre_protocol::completion::WireCompletion;
use vyre_protocol::stamped;

fuzz_target!(|data: &[u8]| {
    if let Some((stamp, record)) = stamped::decode(data) {
        assert_eq!(stamped::encode(stamp, &record), data);
        if let Ok(completion) = WireCompletion::decode(&record) {
            assert_eq!(completion.encode(), record);
        }
    }
});
