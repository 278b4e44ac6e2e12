//! Containers: what decodes is encoded to the same bytes and survives its text. The checksum is mended first, so that more than that is
//! tried.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vyre_protocol::vir0::{Program, ContainerError, assemble, disassemble};

fn mended(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    if let Err(ContainerError::Checksum { expected, .. }) = Program::decode(data) {
        bytes[12..16].copy_from_slice(&expected.to_le_bytes());
    }
    bytes
}

fuzz_target!(|data: &[u8]| {
    let bytes = mended(data);
    if let Ok(program) = Program::decode(&bytes) {
        assert_eq!(program.encode(), bytes);
        assert_eq!(assemble(&disassemble(&program)).as_ref(), Ok(&program));
    }
});
