//! Region headers of every kind.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vyre_protocol::header::{RegionHeader, RegionKind};

fuzz_target!(|data: &[u8]| {
    for kind in RegionKind::ALL {
        let _ = RegionHeader::decode(data, kind);
    }
});
