//! Requests and responses of the IO queue.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vyre_protocol::ioqueue::{IoRequest, IoResponse};
use vyre_protocol::stamped;

fuzz_target!(|data: &[u8]| {
    let _ = IoResponse::decode(data);
    if let Some((_, record)) = stamped::decode(data)
        && let Ok(request) = IoRequest::decode(&record)
    {
        assert_eq!(request.encode(), record);
    }
});
