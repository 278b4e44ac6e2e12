//! The Mandelbrot set as a picture: `cargo run --release -p vyre-runtime --example mandelbrot -- set.png [DEVICE]`.

use std::fs::File;
use std::io::BufWriter;
use std::time::{Duration, Instant};

use vyre_runtime::protocol::geometry::{Counts, Priority};
use vyre_runtime::protocol::vir0::assemble;
use vyre_runtime::vk::MemoryUse;
use vyre_runtime::{Bindings, DeviceChoice, Options, Runtime};

const WIDTH: u32 = 600;
const HEIGHT: u32 = 400;
/// Steps after which a point counts as one of the set.
const MOST: u32 = 200;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("name the picture: mandelbrot set.png [DEVICE]")?;
    let device: DeviceChoice = arguments.next().as_deref().unwrap_or("auto").parse()?;
    let options = Options { operations: u32::MAX, ..Options::new(Counts::default())? };
    let mut runtime = Runtime::open(&device, &options)?;
    let program = runtime.load_program(&assemble(include_str!("../../../programs/mandelbrot.vir"))?)?;
    let steps = runtime.allocate(4 * u64::from(WIDTH * HEIGHT), MemoryUse::DeviceToHost)?;
    let parameters = [WIDTH, (-2.2_f32).to_bits(), (-1.0_f32).to_bits(), 0.005_f32.to_bits(), MOST];
    let bindings = Bindings { input: steps.at(0), output: steps.at(0), parameters: &parameters, further: &[] };
    let start = Instant::now();
    let ticket = runtime.publish(Priority::Normal, &program.slot(&bindings, WIDTH * HEIGHT, 256)?)?;
    let found = runtime.wait(ticket, Duration::from_secs(300))?;
    println!("{}: {:?} after {:.0?}", runtime.engine(), found.status, start.elapsed());
    let mut bytes = vec![0; steps.len() as usize];
    steps.read(0, &mut bytes)?;
    let pixels = bytes.as_chunks::<4>().0.iter().flat_map(|word| colour(u32::from_le_bytes(*word)));
    let mut picture = png::Encoder::new(BufWriter::new(File::create(path)?), WIDTH, HEIGHT);
    picture.set_color(png::ColorType::Rgb);
    picture.write_header()?.write_image_data(&pixels.collect::<Vec<u8>>())?;
    Ok(())
}

/// Black for the set; around it from blue over white to orange.
fn colour(steps: u32) -> [u8; 3] {
    if steps >= MOST {
        return [0; 3];
    }
    let place = (steps as f32 / MOST as f32).sqrt();
    let channel = |peak: f32| (255.0 * (1.0 - ((place - peak) * 2.0).powi(2)).clamp(0.0, 1.0)) as u8;
    [channel(0.75), channel(0.6), channel(0.4)]
}
