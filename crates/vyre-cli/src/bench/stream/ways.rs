//! Ways to stream a file, in blocks of one size: two consumers on the resident kernel, the reader without one, fio, and loops that copy.

use std::io::Read;
use std::sync::atomic::AtomicBool;

use rustix::fs::{Advice, fadvise};
use vyre_runtime::io::{Source, copy_mapped};
use vyre_runtime::{FileHasher, HashOptions, Runtime, StagingTier};

use super::input::{Cache, Input};
use super::reducer::Reducer;
use super::{ROUNDS, Sample, programs};
use crate::Failure;
use crate::bench::await_park;
use crate::bench::report::{Goal, Ratio};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Hash,
    Reduce,
    Reader,
    Fio,
    Read,
    Map,
}

impl Way {
    pub(super) const ALL: [Way; 6] = [Way::Hash, Way::Reduce, Way::Reader, Way::Fio, Way::Read, Way::Map];

    pub(super) fn name(self) -> &'static str {
        match self {
            Way::Hash => "live, BLAKE3",
            Way::Reduce => "live, REDUCE",
            Way::Reader => "reader alone",
            Way::Fio => "fio",
            Way::Read => "read and copy",
            Way::Map => "map and copy",
        }
    }
}

/// What all rounds found.
pub(super) struct Comparison {
    /// Bytes of a block, and blocks in flight, of all ways.
    pub(super) block_size: usize,
    pub(super) depth: usize,
    samples: [[Vec<Sample>; Way::ALL.len()]; Cache::ALL.len()],
    /// Bytes that the CPU copied because the kernel cannot see the blocks, over bytes read.
    pub(super) bounced: Option<Ratio>,
    pub(super) notes: Vec<String>,
}

impl Comparison {
    /// The rounds of a way; none where it does not exist.
    pub(super) fn of(&self, cache: Cache, way: Way) -> &[Sample] {
        &self.samples[cache as usize][way as usize]
    }
}

struct Bench<'a> {
    hasher: FileHasher,
    reducer: Reducer,
    input: &'a Input,
    block_size: usize,
    depth: usize,
    /// Where the loops copy to: as many blocks as the others have in flight.
    ring: Vec<u8>,
    /// Why fio does not run.
    no_fio: Option<String>,
    /// How the newest hashing read the file.
    how: String,
}

/// Runs all ways in turn, in both states of the page cache. The first round warms up.
pub(super) fn compare(runtime: Runtime, input: &Input) -> Result<(Comparison, Runtime), Failure> {
    let options = HashOptions::of(&runtime);
    let HashOptions { block_size, depth, .. } = options;
    let mut hasher = FileHasher::new(runtime, options)?;
    let reducer = Reducer::new(hasher.runtime_mut(), block_size, depth)?;
    let (ring, no_fio, how) = (vec![0; block_size * depth], None, String::new());
    let mut bench = Bench { hasher, reducer, input, block_size, depth, ring, no_fio, how };
    let mut comparison =
        Comparison { block_size, depth, samples: Default::default(), bounced: None, notes: Vec::new() };
    for round in 0..=ROUNDS {
        for cache in Cache::ALL {
            for way in Way::ALL {
                input.prepare(cache)?;
                let sample = bench.sample(way, cache)?;
                comparison.samples[cache as usize][way as usize].extend(sample.filter(|_| round > 0));
            }
            if round == ROUNDS {
                comparison.notes.push(format!("the live ring read the {} file {}", cache.name(), bench.how));
            }
        }
    }
    comparison.notes.extend(bench.no_fio.take());
    comparison.notes.extend(describe(&bench.hasher));
    comparison.bounced = bounced(&bench.hasher);
    let mut runtime = bench.hasher.into_runtime();
    bench.reducer.release(&mut runtime);
    Ok((comparison, runtime))
}

impl Bench<'_> {
    fn sample(&mut self, way: Way, cache: Cache) -> Result<Option<Sample>, Failure> {
        let Bench { input, block_size, depth, .. } = *self;
        if !matches!(way, Way::Hash | Way::Reduce) {
            await_park(self.hasher.runtime());
        }
        let sample = match way {
            Way::Hash => {
                let (sample, how) = hash(&mut self.hasher, input)?;
                self.how = how;
                sample
            }
            Way::Reduce => {
                let source = Source::Path(input.path.clone());
                Sample::take(input.bytes, || match self.reducer.sum(self.hasher.runtime_mut(), &source)? {
                    sum if sum == input.sum => Ok(()),
                    sum => Err(format!("the sum of the file is {:#x}, not {sum:#x}", input.sum).into()),
                })?
            }
            Way::Reader => {
                let source = Source::Path(input.path.clone());
                Sample::take(input.bytes, || all_came(input, self.reducer.read(&source)?))?
            }
            Way::Fio if self.no_fio.is_some() => return Ok(None),
            Way::Fio => match programs::fio(input, cache, block_size, depth) {
                Ok(sample) => sample,
                Err(reason) => {
                    self.no_fio = Some(reason);
                    return Ok(None);
                }
            },
            Way::Read => Sample::take(input.bytes, || self.read_and_copy(block_size))?,
            Way::Map => Sample::take(input.bytes, || {
                let copied = copy_mapped(&input.reopen()?, block_size, &mut self.ring)?;
                all_came(input, copied)
            })?,
        };
        Ok(Some(sample))
    }

    /// Reads through the page cache to a block, and copies that to where a device would find it.
    fn read_and_copy(&mut self, block_size: usize) -> Result<(), Failure> {
        let mut file = self.input.reopen()?;
        fadvise(&file, 0, None, Advice::Sequential)?;
        let mut block = vec![0; block_size];
        let (mut copied, blocks) = (0, self.ring.len() / block_size);
        for i in 0.. {
            let len = file.read(&mut block)?;
            if len == 0 {
                break;
            }
            self.ring[i % blocks * block_size..][..len].copy_from_slice(&block[..len]);
            copied += len as u64;
        }
        all_came(self.input, copied)
    }
}

fn all_came(input: &Input, bytes: u64) -> Result<(), Failure> {
    match bytes == input.bytes {
        true => Ok(()),
        false => Err(format!("{bytes} bytes of {} came; was the file changed?", input.bytes).into()),
    }
}

/// Hashes the file; says how it was read.
pub(super) fn hash(hasher: &mut FileHasher, input: &Input) -> Result<(Sample, String), Failure> {
    let (source, interrupted) = (Source::Path(input.path.clone()), AtomicBool::new(false));
    let mut found = None;
    let sample = Sample::take(input.bytes, || {
        found = Some(hasher.hash(&source, &interrupted, |_, _| {})?);
        Ok(())
    })?;
    match found {
        Some(found) if found.hash == input.hash => Ok((sample, found.info.to_string())),
        _ => Err(format!("{} is not hashed to {}", input.path.display(), input.hash).into()),
    }
}

/// By which way the file's bytes come to the kernel.
pub(super) fn describe(hasher: &FileHasher) -> Vec<String> {
    let (staging, counters) = (hasher.staging(), hasher.staging().reader.counters());
    let mut notes = vec![
        format!("staging: {}; {}", staging.tier(), staging.reader.backend()),
        format!("bounce_bytes: {} of {} bytes read", counters.bounce_bytes, counters.bytes_read),
    ];
    notes.extend(staging.passed_over().iter().map(|reason| format!("staging passed over: {reason}")));
    notes
}

fn bounced(hasher: &FileHasher) -> Option<Ratio> {
    let (staging, counters) = (hasher.staging(), hasher.staging().reader.counters());
    let what = format!("bytes copied by the CPU over bytes read, {}", staging.tier());
    let goal = (staging.tier() != StagingTier::Copied).then_some(Goal::AtMost(0.0));
    Ratio::of_rounds(what, vec![counters.bounce_bytes as f64 / counters.bytes_read as f64], goal)
}
