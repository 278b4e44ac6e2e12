//! Pages that two parties share: one stores words, the other reads bytes.
use vyre_mem::Region;
use vyre_protocol::words::SharedWords;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pages = Region::anonymous(1 << 20, 64 << 10)?;
    let part = pages.slice(4096..8192)?;
    part.store(0, u32::from_le_bytes(*b"vyre"));
    // On write-combined memory this is a store barrier; here it is a release fence.
    part.publish_fence();
    let mut bytes = [0; 4];
    pages.read_bytes(4096, &mut bytes)?;
    assert_eq!(&bytes, b"vyre");
    Ok(())
}
