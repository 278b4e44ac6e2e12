//! The rate of a stream by the size of its blocks and by how many are in flight, with nothing in the page cache.

use vyre_runtime::{FileHasher, HashOptions, Runtime};

use super::input::{Cache, Input};
use super::{ROUNDS, programs, ways};
use crate::Failure;
use crate::bench::await_park;
use crate::bench::report::{Axis, Curve, Plot, Row, Table};
use crate::bench::samples::spread;

/// Bytes of a block.
const BLOCKS: [usize; 4] = [64 << 10, 256 << 10, 1 << 20, 4 << 20];

/// Blocks in flight.
const DEPTHS: [usize; 3] = [1, 8, 32];

/// Ways to read.
const WAYS: [&str; 2] = ["live, BLAKE3", "fio"];

/// What the rounds found for a block size and a depth, by [`WAYS`], in GiB/s; none where fio did not run.
type Cell = [Vec<f64>; 2];

pub(super) struct Grid {
    /// By block size, then depth.
    cells: Vec<Cell>,
    pub(super) notes: Vec<String>,
}

/// Hashes the file with all sizes and depths, in turn with fio.
pub(super) fn sweep(mut runtime: Runtime, input: &Input) -> Result<(Grid, Runtime), Failure> {
    let mut grid = Grid { cells: Vec::new(), notes: Vec::new() };
    for (block_size, depth) in BLOCKS.iter().flat_map(|block| DEPTHS.map(|depth| (*block, depth))) {
        let mut hasher = FileHasher::new(runtime, HashOptions { block_size, depth, ..HashOptions::default() })?;
        let mut cell = Cell::default();
        for _ in 0..ROUNDS {
            input.prepare(Cache::Uncached)?;
            cell[0].push(ways::hash(&mut hasher, input)?.0.rate);
            await_park(hasher.runtime());
            input.prepare(Cache::Uncached)?;
            match programs::fio(input, Cache::Uncached, block_size, depth) {
                Ok(sample) => cell[1].push(sample.rate),
                Err(reason) => grid.note(reason),
            }
        }
        // Locked memory may be enough for some and not for others.
        grid.note(format!("staging of the grid: {}; {}", hasher.staging().tier(), hasher.staging().reader.backend()));
        grid.cells.push(cell);
        runtime = hasher.into_runtime();
    }
    Ok((grid, runtime))
}

impl Grid {
    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    pub(super) fn table(&self) -> Table {
        let mut rows = Vec::new();
        for (cells, block) in self.cells.chunks(DEPTHS.len()).zip(BLOCKS) {
            let ran = |(way, _): &(usize, &str)| cells.iter().all(|cell| !cell[*way].is_empty());
            for (way, name) in WAYS.into_iter().enumerate().filter(ran) {
                let values = cells.iter().map(|cell| spread(&cell[way])[0]).collect();
                rows.push(Row { name: format!("blocks of {} KiB, {name}", block >> 10), values });
            }
        }
        let columns = DEPTHS.map(|depth| format!("{depth} in flight")).into();
        Table { title: "uncached, medians".into(), unit: "GiB/s", columns, rows }
    }

    pub(super) fn plot(&self) -> Plot {
        let mut curves = Vec::new();
        for (way, name) in WAYS.into_iter().enumerate() {
            for (i, depth) in DEPTHS.into_iter().enumerate() {
                let cells = BLOCKS.iter().zip(self.cells.iter().skip(i).step_by(DEPTHS.len()));
                let ran = cells.filter(|(_, cell)| !cell[way].is_empty());
                let points: Vec<_> = ran.map(|(block, cell)| (*block as f64, spread(&cell[way])[0])).collect();
                let curve = Curve { name: format!("{name}, {depth} in flight"), points };
                curves.extend((!curve.points.is_empty()).then_some(curve));
            }
        }
        Plot {
            title: "Rate of an uncached stream by the size of its blocks".into(),
            x: Axis { label: "bytes of a block", log: true },
            y: Axis { label: "GiB per second", log: false },
            curves,
        }
    }
}
