//! Reads a file through registered buffers and prints what that took.
use std::time::Duration;

use vyre_io::{BackendChoice, IoMode, Next, Pool, Reader, Source};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = Pool::private(8, 128 << 10)?;
    let mut reader = Reader::new(pool, BackendChoice::Auto)?;
    let name = std::env::args_os().nth(1).unwrap_or("Cargo.toml".into());
    let info = reader.open(&Source::Path(name.into()), IoMode::Auto)?;
    let mut sum = 0_u64;
    loop {
        match reader.next(Duration::from_millis(100))? {
            Next::Block(filled) => {
                sum += filled.block.bytes().into_iter().flatten().map(|byte| u64::from(*byte)).sum::<u64>()
            }
            Next::End => break,
            Next::Pending | Next::NoBlocks => {}
        }
    }
    println!("sum {sum}, {}, {info}, {:?}", reader.backend(), reader.counters());
    Ok(())
}
