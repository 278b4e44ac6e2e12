//! Records of the debug log.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vyre_protocol::debuglog::LogEntry;
use vyre_protocol::stamped;

fuzz_target!(|data: &[u8]| {
    if let Some((_, record)) = stamped::decode(data)
        && let Ok(log) = LogEntry::decode(&record)
    {
        assert_eq!(log.encode(), record);
    }
});
