//! What streaming is measured against: a file that is mapped into memory and copied from there.
//!
//! # Safety
//!
//! A mapping lives within one call. It is only read, by raw copies into memory of the caller's, and no reference into it is made, so
//! others may write the file meanwhile.
#![allow(unsafe_code, reason = "maps a file and copies from the mapping; see the Safety section above")]

use std::fs::File;
use std::io;
use std::ptr::null_mut;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

/// Maps a file and copies it block by block, round and round, to the blocks of `ring`. Gives the bytes copied.
///
/// A file that another process cuts meanwhile ends this one by `SIGBUS`, as always with mapped files.
///
/// # Errors
/// What the operating system said; `InvalidInput` if `ring` does not hold a block.
pub fn copy_mapped(file: &File, block: usize, ring: &mut [u8]) -> io::Result<u64> {
    if block == 0 || ring.len() < block {
        let text = format!("a ring of {} bytes does not hold a block of {block}", ring.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    if len == 0 {
        return Ok(0);
    }
    let blocks = ring.len() / block;
    // SAFETY: a new mapping at an address of the kernel's choice; it is unmapped below, and nothing in between returns.
    let base = unsafe { mmap(null_mut(), len, ProtFlags::READ, MapFlags::PRIVATE, file, 0)? };
    // SAFETY: the advice changes no contents. It is only advice, so its failure is none.
    let _ = unsafe { madvise(base, len, Advice::Sequential) };
    for (i, start) in (0..len).step_by(block).enumerate() {
        let target = &mut ring[i % blocks * block..][..block.min(len - start)];
        // SAFETY: the source lies within the mapping, which is `len` bytes long; the target is memory of its own.
        unsafe { std::ptr::copy_nonoverlapping(base.cast::<u8>().add(start), target.as_mut_ptr(), target.len()) };
    }
    // SAFETY: this is the mapping from above, and nobody keeps a pointer into it.
    unsafe { munmap(base, len)? };
    Ok(len as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_last_blocks_of_a_file_stay_in_the_ring() {
        let mut file = tempfile::tempfile().unwrap();
        let data: Vec<u8> = (0..10_000_u32).map(|i| (i / 7) as u8).collect();
        file.write_all(&data).unwrap();
        let mut ring = vec![0; 2 * 4096];
        assert_eq!(copy_mapped(&file, 4096, &mut ring).unwrap(), 10_000);
        assert_eq!(&ring[..10_000 - 8192], &data[8192..]);
        assert_eq!(ring[4096..], data[4096..8192]);
        assert_eq!(copy_mapped(&tempfile::tempfile().unwrap(), 4096, &mut ring).unwrap(), 0);
        assert!(copy_mapped(&file, 16_384, &mut ring).is_err());
    }
}
