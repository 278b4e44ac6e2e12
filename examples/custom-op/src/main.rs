//! `cargo run -p custom-op -- KERNEL [ENGINE]`: runs both operations of a kernel on the engine of this name, by default the best.

use std::error::Error;
use std::path::Path;

use vyre_runtime::protocol::geometry::Counts;
use vyre_runtime::protocol::operation::MAX_TILE_BYTES;
use vyre_runtime::{DeviceChoice, Options, Runtime};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (kernel, choice) = match arguments.as_slice() {
        [kernel] => (kernel, DeviceChoice::Auto),
        [kernel, engine] if engine == "reference" => (kernel, DeviceChoice::Reference),
        [kernel, engine] => (kernel, DeviceChoice::Name(engine.clone())),
        _ => return Err("usage: custom-op KERNEL [reference, or a part of a device's name]".into()),
    };
    let custom = custom_op::operations(Path::new(kernel))?;
    let (swap, popcount) = (custom.operation("swap")?, custom.operation("popcount")?);
    let options = Options { custom: Some(custom), ..Options::new(Counts::default())? };
    let mut runtime = Runtime::open(&choice, &options)?;
    println!("{}", runtime.engine());

    let words: Vec<u32> = (0..100_000_u32).map(|i| i.wrapping_mul(0x9e37_79b9)).collect();
    let swapped = custom_op::run(&mut runtime, swap, &words, words.len())?;
    println!("swap: {:#010x} became {:#010x}", words[1], swapped[1]);
    let tiles = (4 * words.len()).div_ceil(MAX_TILE_BYTES as usize);
    let bits = custom_op::run(&mut runtime, popcount, &words, tiles)?;
    println!("popcount: {} bits are set in {} words", bits.iter().sum::<u32>(), words.len());
    Ok(())
}
