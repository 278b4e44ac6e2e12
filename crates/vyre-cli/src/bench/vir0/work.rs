//! What the programs of `vyre bench vir0` work on, and what must come of it.

use vyre_runtime::protocol::custom::checksum;
use vyre_runtime::vk::HandWritten;

use super::super::noise;

/// A program, the shader that does the same, and their work.
pub(super) struct Work {
    pub(super) name: &'static str,
    pub(super) text: &'static str,
    pub(super) shader: HandWritten,
    /// Whether memory bounds how fast it can be.
    pub(super) by_memory: bool,
    pub(super) input: Vec<u8>,
    /// The output as it is before.
    pub(super) output: Vec<u8>,
    pub(super) expected: Vec<u8>,
    /// As many as the program declares.
    pub(super) parameters: Vec<u32>,
    pub(super) items: u32,
    pub(super) span: u32,
}

macro_rules! text {
    ($name:literal) => {
        include_str!(concat!("../../../../../programs/", $name, ".vir"))
    };
}

/// Lanes of a group, and so the items of a tile of the programs without a loop over items.
const GROUP: u32 = 256;

/// Items of a tile of saxpy: enough that taking the tile costs little beside it.
const SAXPY_SPAN: u32 = 16 << 10;

/// Items of a tile of dot, whose tiles wait more: so many that each worker finds some.
const DOT_SPAN: u32 = 4 << 10;

/// Pixels of a tile of the Mandelbrot set: as many as its fuel allows.
const MANDELBROT_SPAN: u32 = 512;

/// Bytes of a tile of the histogram.
const HISTOGRAM_SPAN: u32 = 16 << 10;

/// Words of a block whose CRC is computed.
const BLOCK: u32 = 16;

fn bytes(words: impl IntoIterator<Item = u32>) -> Vec<u8> {
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

fn floats(floats: impl IntoIterator<Item = f32>) -> Vec<u8> {
    bytes(floats.into_iter().map(f32::to_bits))
}

/// All work, each with about that many KiB of input.
pub(super) fn all(kib: u32) -> Vec<Work> {
    vec![saxpy(kib << 8), dot(kib << 7), histogram(kib << 10), crc32(kib << 4), mandelbrot(kib << 6)]
}

/// Whole numbers, whose sums and halves are exact, so that it does not matter in which order and with which roundings they are made.
fn saxpy(items: u32) -> Work {
    let (x, y) = (|i: u32| (i % 1000) as f32, |i: u32| (i % 77) as f32);
    Work {
        name: "saxpy",
        text: text!("saxpy"),
        shader: HandWritten::Saxpy,
        by_memory: true,
        input: floats((0..items).map(x)),
        output: floats((0..items).map(y)),
        expected: floats((0..items).map(|i| 0.5 * x(i) + y(i))),
        parameters: vec![0.5_f32.to_bits()],
        items,
        span: SAXPY_SPAN,
    }
}

fn dot(items: u32) -> Work {
    let (x, y) = (|i: u32| (i % 17) as f32, |i: u32| (i % 5) as f32 - 2.0);
    let sum = |tile: u32| (tile * DOT_SPAN..items.min(tile * DOT_SPAN + DOT_SPAN)).map(|i| x(i) * y(i)).sum();
    let tiles = items.div_ceil(DOT_SPAN);
    Work {
        name: "dot",
        text: text!("dot"),
        shader: HandWritten::Dot,
        by_memory: true,
        input: floats((0..items).map(x).chain((0..items).map(y))),
        output: vec![0; 4 * tiles as usize],
        expected: floats((0..tiles).map(sum)),
        parameters: Vec::new(),
        items,
        span: DOT_SPAN,
    }
}

fn histogram(items: u32) -> Work {
    let input = noise(items as usize, 31);
    let mut bins = [0; 256];
    input.iter().for_each(|byte| bins[usize::from(*byte)] += 1);
    Work {
        name: "histogram",
        text: text!("histogram"),
        shader: HandWritten::Histogram,
        by_memory: true,
        input,
        output: vec![0; 1024],
        expected: bytes(bins),
        parameters: Vec::new(),
        items,
        span: HISTOGRAM_SPAN,
    }
}

fn crc32(items: u32) -> Work {
    let block = 4 * BLOCK as usize;
    let input = noise(items as usize * block, 32);
    let expected = bytes(input.chunks(block).map(checksum));
    Work {
        name: "crc32",
        text: text!("crc32"),
        shader: HandWritten::Crc32,
        by_memory: false,
        input,
        output: vec![0; expected.len()],
        expected,
        parameters: vec![BLOCK],
        items,
        span: GROUP,
    }
}

/// All of the set, in a picture of 4 to 3.
fn mandelbrot(items: u32) -> Work {
    let width = (items / 3 * 4).isqrt();
    let (left, top, apart, most) = (-2.2_f32, -1.2_f32, 3.2 / width as f32, 100);
    let steps = |pixel: u32| {
        let (cx, cy) = ((pixel % width) as f32 * apart + left, (pixel / width) as f32 * apart + top);
        let (mut x, mut y, mut count) = (0.0_f32, 0.0_f32, 0);
        while count < most && x * x + y * y <= 4.0 {
            let product = x * y;
            (x, y) = (x * x - y * y + cx, product + product + cy);
            count += 1;
        }
        count
    };
    Work {
        name: "mandelbrot",
        text: text!("mandelbrot"),
        shader: HandWritten::Mandelbrot,
        by_memory: false,
        input: vec![0; 4],
        output: vec![0; 4 * items as usize],
        expected: bytes((0..items).map(steps)),
        parameters: vec![width, left.to_bits(), top.to_bits(), apart.to_bits(), most],
        items,
        span: MANDELBROT_SPAN,
    }
}
