//! The resource table.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vyre_protocol::resource::{ENTRY_BYTES, ResourceEntry};

fuzz_target!(|data: &[u8]| {
    if let Ok(entries) = ResourceEntry::decode_table(data) {
        assert!(entries.len() * ENTRY_BYTES as usize <= data.len(), "no more than the input justifies");
    }
});
