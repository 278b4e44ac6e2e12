//! Slots: what decodes is what was encoded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vyre_protocol::slot::Slot;

fuzz_target!(|data: &[u8]| {
    if let Ok(Some(slot)) = Slot::decode(data) {
        let again: Vec<u8> = slot.to_words().iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(again, data);
        let _ = slot.tiled(slot.length, slot.tile_span, 1024);
    }
});
