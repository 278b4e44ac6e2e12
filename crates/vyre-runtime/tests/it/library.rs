//! The programs under `programs/`, each against a known crate or what it must give.

use vyre_runtime::protocol::completion::Status;
use vyre_runtime::protocol::operation::Operation;
use vyre_runtime::protocol::resource::ATOMIC;
use vyre_runtime::protocol::slot::Slot;
use vyre_runtime::protocol::vir0::assemble;
use vyre_runtime::vk::MemoryUse;
use vyre_runtime::{Bindings, Resource, Runtime};

use crate::Open;
use crate::cases::{end, noise, run};
use crate::programs::{bytes, options, words};

/// A program of the library on some data.
struct Work<'a> {
    text: &'a str,
    input: &'a [u8],
    /// The output as it is when the program begins.
    output: Vec<u32>,
    parameters: &'a [u32],
    items: usize,
    span: u32,
}

/// Runs it and gives the output.
fn execute(runtime: &mut Runtime, work: Work<'_>) -> Vec<u32> {
    let program = assemble(work.text).unwrap_or_else(|error| panic!("{error}"));
    let length = 4 * work.output.len() as u32;
    let input = runtime.allocate(work.input.len() as u64, MemoryUse::HostToDevice).unwrap();
    let host = runtime.allocate(length.into(), MemoryUse::DeviceToHost).unwrap();
    let local = runtime.allocate(length.into(), MemoryUse::Local).unwrap();
    let mut padded = work.input.to_vec();
    padded.resize(padded.len().next_multiple_of(4), 0);
    input.write(0, &padded).unwrap();
    host.write(0, &bytes(&work.output)).unwrap();
    let output = if program.parts().resources[1] & ATOMIC == 0 { &host } else { &local };
    let loaded = runtime.load_program(&program).unwrap();
    let bindings = Bindings { input: input.at(0), output: output.at(0), further: &[], parameters: work.parameters };
    let slot = loaded.slot(&bindings, work.items as u32, work.span).unwrap();
    let copy = |from: &Resource, to: &Resource| {
        Slot { input: from.at(0), output: to.at(0), ..Slot::new(Operation::Copy) }.tiled(length, 4096, 1)
    };
    let mut slots = vec![slot];
    if output.handle() == local.handle() {
        slots = vec![copy(&host, &local), slot, copy(&local, &host)];
    }
    for slot in slots {
        let found = run(runtime, &slot);
        assert_eq!(found.status, Status::Done, "{:?} {:#x}", found.fault, found.fault_word);
    }
    let mut found = vec![0; length as usize];
    host.read(0, &mut found).unwrap();
    [input, host, local].into_iter().for_each(|resource| runtime.release(resource));
    runtime.unload_program(loaded);
    words(&found)
}

macro_rules! text {
    ($name:literal) => {
        include_str!(concat!("../../../../programs/", $name, ".vir"))
    };
}

/// All of them.
pub(crate) const TEXTS: [&str; 12] = [
    text!("base64"),
    text!("crc32"),
    text!("distances"),
    text!("dot"),
    text!("filter"),
    text!("histogram"),
    text!("mandelbrot"),
    text!("prefix_sum"),
    text!("saxpy"),
    text!("sort"),
    text!("utf8"),
    text!("xxhash32"),
];

fn floats(values: impl IntoIterator<Item = f32>) -> Vec<u32> {
    values.into_iter().map(f32::to_bits).collect()
}

pub(crate) fn saxpy(open: Open) {
    let mut runtime = open(&options());
    let (x, y) = (|i: usize| (i as f32).sqrt() - 9.0, |i: usize| 1e3 / (i as f32 + 0.5));
    // Tiles too short for four at a time, tiles that begin and end anywhere, and long ones that begin at a multiple of four.
    for (items, span) in [(3000, 700), (3001, 1501), (7003, 3000)] {
        let input = bytes(&floats((0..items).map(x)));
        let output = floats((0..items).map(y));
        let (text, parameters) = (text!("saxpy"), &[(-1.7_f32).to_bits()]);
        let found = execute(&mut runtime, Work { text, input: &input, output, parameters, items, span });
        assert_eq!(found.len(), items);
        for (i, found) in found.into_iter().enumerate() {
            // What `fma` may give: one rounding, or two.
            let (once, twice) = ((-1.7_f32).mul_add(x(i), y(i)), -1.7 * x(i) + y(i));
            assert!([once.to_bits(), twice.to_bits()].contains(&found), "item {i}, tiles of {span}");
        }
    }
    end(runtime);
}

pub(crate) fn dot(open: Open) {
    let mut runtime = open(&options());
    // Small whole numbers, whose sums are exact in any order.
    let (x, y) = (|i: usize| (i % 17) as f32, |i: usize| (i % 5) as f32 - 2.0);
    // As for saxpy.
    for (items, span) in [(1000, 300), (3001, 1501), (5000, 2400)] {
        let input = bytes(&floats((0..items).map(x).chain((0..items).map(y))));
        let tiles = items.div_ceil(span);
        let (text, output) = (text!("dot"), vec![0; tiles]);
        let work = Work { text, input: &input, output, parameters: &[], items, span: span as u32 };
        let sum = |tile: usize| (span * tile..items.min(span * tile + span)).map(|i| x(i) * y(i)).sum();
        assert_eq!(execute(&mut runtime, work), floats((0..tiles).map(sum)), "tiles of {span}");
    }
    end(runtime);
}

pub(crate) fn prefix_sum(open: Open) {
    let mut runtime = open(&options());
    let input = noise(4 * 40_001, 21);
    let (text, output) = (text!("prefix_sum"), vec![7; 40_001]);
    let found =
        execute(&mut runtime, Work { text, input: &input, output, parameters: &[], items: 40_001, span: 30_000 });
    let sums = |tile: &[u32]| {
        let add = |sum: &mut u32, word: &u32| {
            *sum = sum.wrapping_add(*word);
            Some(*sum)
        };
        tile.iter().scan(0, add).collect::<Vec<_>>()
    };
    assert_eq!(found, words(&input).chunks(30_000).flat_map(sums).collect::<Vec<_>>());
    end(runtime);
}

pub(crate) fn histogram(open: Open) {
    let mut runtime = open(&options());
    let input: Vec<u8> = noise(70_001, 22).into_iter().map(|byte| byte & (byte >> 3)).collect();
    let mut expected = vec![0; 256];
    input.iter().for_each(|byte| expected[usize::from(*byte)] += 1);
    // Tiles that begin at a multiple of 16, and tiles that begin anywhere.
    for span in [20_000, 23_333] {
        let (text, output) = (text!("histogram"), vec![0; 256]);
        let found = execute(&mut runtime, Work { text, input: &input, output, parameters: &[], items: 70_001, span });
        assert_eq!(found, expected, "tiles of {span}");
    }
    end(runtime);
}

pub(crate) fn crc32(open: Open) {
    let mut runtime = open(&options());
    let input = noise(4 * 120 * 300, 23);
    for block in [1, 16, 120] {
        let items = input.len() / 4 / block;
        let (text, output) = (text!("crc32"), vec![0; items]);
        let parameters = &[block as u32];
        let found = execute(&mut runtime, Work { text, input: &input, output, parameters, items, span: 256 });
        assert_eq!(found, input.chunks_exact(4 * block).map(crc32fast::hash).collect::<Vec<_>>(), "{block} words");
    }
    end(runtime);
}

pub(crate) fn xxhash32(open: Open) {
    let mut runtime = open(&options());
    let input = noise(16 * 60 * 300, 28);
    for quads in [1, 4, 110] {
        let items = input.len() / 16 / quads;
        let (text, output) = (text!("xxhash32"), vec![0; items]);
        let parameters = &[quads as u32];
        let found = execute(&mut runtime, Work { text, input: &input, output, parameters, items, span: 256 });
        let hash = |block| twox_hash::XxHash32::oneshot(0, block);
        assert_eq!(found, input.chunks_exact(16 * quads).map(hash).collect::<Vec<_>>(), "{quads} quads");
    }
    end(runtime);
}

pub(crate) fn mandelbrot(open: Open) {
    let mut runtime = open(&options());
    let (width, height, left, top, step, most) = (60_u32, 40_u32, -2.2_f32, -1.2_f32, 0.06_f32, 150);
    let parameters = &[width, left.to_bits(), top.to_bits(), step.to_bits(), most];
    let items = (width * height) as usize;
    let (text, output) = (text!("mandelbrot"), vec![0; items]);
    let found = execute(&mut runtime, Work { text, input: &[0; 4], output, parameters, items, span: 256 });
    let steps = |pixel: u32| {
        let (cx, cy) = ((pixel % width) as f32 * step + left, (pixel / width) as f32 * step + top);
        let (mut x, mut y, mut count) = (0.0_f32, 0.0_f32, 0);
        while count < most && x * x + y * y <= 4.0 {
            let product = x * y;
            (x, y) = (x * x - y * y + cx, product + product + cy);
            count += 1;
        }
        count
    };
    assert_eq!(found, (0..width * height).map(steps).collect::<Vec<_>>());
    assert!(found.contains(&most) && found.iter().filter(|count| **count < 5).count() > 100);
    end(runtime);
}

pub(crate) fn sort(open: Open) {
    let mut runtime = open(&options());
    let input = noise(4 * 1000, 24);
    let (text, output) = (text!("sort"), vec![0; 1000]);
    let found = execute(&mut runtime, Work { text, input: &input, output, parameters: &[], items: 1000, span: 256 });
    let mut expected = words(&input);
    expected.chunks_mut(256).for_each(<[u32]>::sort_unstable);
    assert_eq!(found, expected);
    end(runtime);
}

pub(crate) fn filter(open: Open) {
    let mut runtime = open(&options());
    let input = noise(4 * 5000, 25);
    let (text, output, parameters) = (text!("filter"), vec![0; 5001], &[0x4000_0000]);
    let found = execute(&mut runtime, Work { text, input: &input, output, parameters, items: 5000, span: 256 });
    let (count, kept) = (found[0] as usize, &found[1..]);
    let mut expected: Vec<u32> = words(&input).into_iter().filter(|word| *word < 0x4000_0000).collect();
    assert_eq!(count, expected.len());
    assert!(kept[count..].iter().all(|word| *word == 0));
    let mut kept = kept[..count].to_vec();
    kept.sort_unstable();
    expected.sort_unstable();
    assert_eq!(kept, expected);
    end(runtime);
}

/// RFC 4648, section 4, as it is written.
fn base64_of(bytes: &[u8]) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |group: &[u8]| {
        let bits = group.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        let letter = |i: usize| if i <= group.len() { alphabet[(bits >> (18 - 6 * i) & 63) as usize] } else { b'=' };
        (0..4).map(letter).map(char::from).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

pub(crate) fn base64(open: Open) {
    let mut runtime = open(&options());
    let data = noise(1000, 26);
    for input in [&b"f"[..], b"fo", b"foo", b"foob", b"fooba", b"foobar", &data, &data[..998]] {
        let items = input.len().div_ceil(3);
        let (text, output, parameters) = (text!("base64"), vec![0; items], &[input.len() as u32]);
        let found = execute(&mut runtime, Work { text, input, output, parameters, items, span: 256 });
        assert_eq!(String::from_utf8(bytes(&found)).unwrap(), base64_of(input));
    }
    assert_eq!(base64_of(b"fooba"), "Zm9vYmE=", "a test vector of the RFC");
    end(runtime);
}

pub(crate) fn distances(open: Open) {
    let mut runtime = open(&options());
    for dimensions in [1, 3, 100] {
        let point = |i: usize| (i * i % 1009) as f32 / 64.0 - 5.0;
        let coordinates: Vec<f32> = (0..300 * dimensions).map(point).collect();
        let input = bytes(&floats(coordinates.iter().copied()));
        let (text, output, parameters) = (text!("distances"), vec![0; 300], &[dimensions as u32]);
        let found = execute(&mut runtime, Work { text, input: &input, output, parameters, items: 300, span: 256 });
        let squared =
            |point: &[f32]| point.iter().zip(&coordinates).fold(0.0_f32, |sum, (a, b)| sum + (a - b) * (a - b));
        assert_eq!(found, floats(coordinates.chunks(dimensions).map(squared)));
    }
    end(runtime);
}

pub(crate) fn utf8(open: Open) {
    let mut runtime = open(&options());
    let text = "Aß水𝄞, ".repeat(100);
    let mut cases: Vec<Vec<u8>> = vec![text.clone().into_bytes(), text.as_bytes()[..498].to_vec(), b"\xc3".to_vec()];
    let short = "xß水𝄞\u{7ff}\u{800}\u{d7ff}\u{e000}\u{10ffff}z".as_bytes();
    for at in 0..short.len() {
        for byte in
            [0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xe0, 0xed, 0xf0, 0xf4, 0xf5, 0xff]
        {
            let mut case = short.to_vec();
            case[at] = byte;
            cases.push(case);
        }
    }
    for input in cases {
        let (text, parameters) = (text!("utf8"), &[input.len() as u32]);
        let (output, items) = (vec![0], input.len() + 3);
        let found = execute(&mut runtime, Work { text, input: &input, output, parameters, items, span: 256 });
        assert_eq!(found[0] == 0, std::str::from_utf8(&input).is_ok(), "{input:02x?}");
    }
    end(runtime);
}
