//! `vyre hash --check`.

use std::io::Read;
use std::path::Path;

use vyre_runtime::io::Source;
use vyre_runtime::{FileHash, HashError};

use crate::{Failure, names};

/// Checks every line of a file of checksums; whether all were right.
pub(crate) fn run(sums: &Path, hash: &mut dyn FnMut(&Source) -> Result<FileHash, HashError>) -> Result<bool, Failure> {
    let text = read(sums).map_err(|error| format!("{}: {error}", sums.display()))?;
    let (mut wrong, mut malformed, mut good) = (0_u64, 0_u64, 0_u64);
    for (number, line) in text.lines().enumerate() {
        let (expected, path) = match names::parse_line(line) {
            Ok(parsed) => parsed,
            Err(reason) => {
                eprintln!("vyre: {}: line {}: {reason}", sums.display(), number + 1);
                malformed += 1;
                continue;
            }
        };
        let lossy = path.to_string_lossy();
        let name = names::escape(&lossy);
        match hash(&Source::Path(path.clone())) {
            Ok(found) if found.hash == expected => {
                println!("{name}: OK");
                good += 1;
            }
            Ok(_) => {
                println!("{name}: FAILED");
                wrong += 1;
            }
            Err(HashError::Interrupted) => return Ok(false),
            Err(error) => {
                println!("{name}: FAILED ({error})");
                wrong += 1;
            }
        }
    }
    if wrong > 0 {
        eprintln!("vyre: {wrong} of {} files did not match", wrong + good);
    }
    if good + wrong + malformed == 0 {
        eprintln!("vyre: {}: no checksums in it", sums.display());
    }
    Ok(good > 0 && wrong == 0 && malformed == 0)
}

fn read(sums: &Path) -> std::io::Result<String> {
    if sums == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        Ok(text)
    } else {
        std::fs::read_to_string(sums)
    }
}
