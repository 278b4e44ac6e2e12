//! The reader on real files, pipes and limits.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use vyre_io::{BackendChoice, BackendKind, Block, IoMode, Next, OpenError, Pool, ReadError, Reader, Source};

const BOTH: [BackendChoice; 2] = [BackendChoice::IoUring, BackendChoice::Threads];

fn reader(block_size: usize, depth: usize, choice: BackendChoice) -> Reader {
    Reader::new(Pool::private(depth, block_size).unwrap(), choice).unwrap()
}

/// Reads a whole stream; every block but the last must be full.
fn drain(reader: &mut Reader) -> Result<Vec<u8>, ReadError> {
    let mut out = Vec::new();
    let mut partial = false;
    loop {
        match reader.next(Duration::from_secs(5))? {
            Next::Block(filled) => {
                assert!(!partial && filled.offset == out.len() as u64);
                partial = filled.block.len() < reader.pool().block_size();
                out.extend_from_slice(filled.block.bytes().unwrap());
            }
            Next::End => return Ok(out),
            Next::Pending => {}
            Next::NoBlocks => panic!("no block is held"),
        }
    }
}

fn read(reader: &mut Reader, path: &Path, mode: IoMode) -> Vec<u8> {
    reader.open(&Source::Path(path.into()), mode).unwrap();
    drain(reader).unwrap()
}

fn noise(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[test]
fn files_of_all_sizes_block_sizes_depths_modes_and_backends_are_read_whole() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let data = noise(1 << 20);
    for (block, depth) in [(4096, 1), (4096, 64), (65_536, 4), (1 << 20, 2), (16 << 20, 1)] {
        for choice in BOTH {
            let mut reader = reader(block, depth, choice);
            for size in [0, 1, 4095, 4096, 4097, block - 1, block, block + 1, 3 * block + 7] {
                let data = &data[..size.min(data.len())];
                std::fs::write(file.path(), data).unwrap();
                for mode in [IoMode::Auto, IoMode::Buffered, IoMode::Direct] {
                    assert!(
                        read(&mut reader, file.path(), mode) == data,
                        "{size} bytes, {depth} x {block}, {choice:?} {mode:?}"
                    );
                }
            }
            assert_eq!(reader.pool().free(), depth as u32);
        }
    }
}

#[test]
fn blocks_get_whole_items() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let data = noise(100_000);
    std::fs::write(file.path(), &data).unwrap();
    for (piece, mode, direct) in
        [(12_288, IoMode::Direct, true), (16_383, IoMode::Auto, false), (16_383, IoMode::Direct, true)]
    {
        let mut reader = reader(16_384, 4, BackendChoice::IoUring);
        let info = reader.open_cut(&Source::Path(file.path().into()), mode, piece).unwrap();
        assert_eq!(info.direct, direct, "{piece} {mode:?}");
        let mut found = Vec::new();
        loop {
            match reader.next(Duration::from_secs(5)).unwrap() {
                Next::Block(filled) => {
                    assert!(filled.last || filled.block.len() == piece, "{piece} {mode:?}");
                    found.extend_from_slice(filled.block.bytes().unwrap());
                }
                Next::End => break,
                Next::Pending => {}
                Next::NoBlocks => panic!("no block is held"),
            }
        }
        assert!(found == data, "{piece} {mode:?}");
    }
}

#[test]
fn direct_reads_pass_the_page_cache_by_and_buffered_ones_do_not() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), noise(1_000_001)).unwrap();
    let mut reader = reader(65_536, 4, BackendChoice::IoUring);
    let info = reader.open(&Source::Path(file.path().into()), IoMode::Direct).unwrap();
    assert!(info.direct);
    drain(&mut reader).unwrap();
    assert_eq!((reader.counters().bytes_direct, reader.counters().bytes_buffered), (1_000_001, 0));
    let info = reader.open(&Source::Path(file.path().into()), IoMode::Buffered).unwrap();
    assert!(!info.direct);
    drain(&mut reader).unwrap();
    let counters = reader.counters();
    assert_eq!(
        (counters.bytes_direct, counters.bytes_buffered, counters.bytes_read),
        (1_000_001, 1_000_001, 2_000_002)
    );
    assert_eq!((counters.files, counters.bounce_bytes), (2, 0));
    // What was just read through the cache is in it, and auto finds that out.
    assert!(!reader.open(&Source::Path(file.path().into()), IoMode::Auto).unwrap().direct);
}

#[test]
fn files_without_a_size_sparse_files_and_pipes_are_read_to_their_end() {
    for choice in BOTH {
        let mut reader = reader(4096, 4, choice);
        let info = reader.open(&Source::Path("/proc/cpuinfo".into()), IoMode::Auto).unwrap();
        assert_eq!((info.size, info.direct), (None, false));
        assert!(drain(&mut reader).unwrap().starts_with(b"processor"));

        let sparse = tempfile::NamedTempFile::new().unwrap();
        sparse.as_file().set_len(1 << 20).unwrap();
        assert!(read(&mut reader, sparse.path(), IoMode::Direct).iter().all(|byte| *byte == 0));

        let (end, mut writer) = std::io::pipe().unwrap();
        let dribble = std::thread::spawn(move || {
            for part in noise(20_000).chunks(777) {
                writer.write_all(part).unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let path = PathBuf::from(format!("/proc/self/fd/{}", end.as_raw_fd()));
        reader.open(&Source::Path(path), IoMode::Auto).unwrap();
        // Only our end may stay open, else the pipe never ends; the reader has one of its own.
        assert!(drain(&mut reader).unwrap() == noise(20_000));
        dribble.join().unwrap();
        assert!(reader.counters().short_reads > 0, "a pipe written in dribbles gives short reads");
    }
}

#[test]
fn a_file_that_shrinks_is_truncated_and_one_that_grows_is_read_as_it_was() {
    for choice in BOTH {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), noise(100_000)).unwrap();
        let mut reader = reader(4096, 2, choice);
        reader.open(&Source::Path(file.path().into()), IoMode::Buffered).unwrap();
        let Next::Block(first) = reader.next(Duration::from_secs(5)).unwrap() else { panic!("no block") };
        drop(first);
        file.as_file().set_len(50_000).unwrap();
        match drain_after(&mut reader) {
            Err(ReadError::Truncated { expected: 100_000, found, .. }) => assert!(found <= 50_000 + 4096),
            other => panic!("{other:?}"),
        }
        assert_eq!(reader.pool().free(), 2);
        reader.open(&Source::Path(file.path().into()), IoMode::Buffered).unwrap();
        file.as_file().set_len(200_000).unwrap();
        assert_eq!(drain(&mut reader).unwrap().len(), 50_000);
    }
}

/// Reads on; what comes is not looked at.
fn drain_after(reader: &mut Reader) -> Result<(), ReadError> {
    loop {
        if let Next::End = reader.next(Duration::from_secs(5))? {
            return Ok(());
        }
    }
}

#[test]
fn directories_and_missing_files_are_typed_errors() {
    let mut reader = reader(4096, 2, BackendChoice::Auto);
    let folder = tempfile::tempdir().unwrap();
    let open = |reader: &mut Reader, path: &Path| reader.open(&Source::Path(path.into()), IoMode::Auto).unwrap_err();
    assert!(matches!(open(&mut reader, folder.path()), OpenError::Directory { .. }));
    let missing = open(&mut reader, &folder.path().join("x"));
    assert!(missing.to_string().ends_with("x: No such file or directory"), "{missing}");
    let not_direct = reader.open(&Source::Path("/proc/self/status".into()), IoMode::Direct).unwrap();
    assert!(!not_direct.direct, "a source without a size is never read past the cache");
}

#[test]
fn blocks_outlive_the_stream_and_streams_can_be_dropped_in_mid_flight() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let data = noise(1 << 20);
    std::fs::write(file.path(), &data).unwrap();
    for choice in BOTH {
        let mut reader = reader(16_384, 8, choice);
        let mut kept: Vec<Block> = Vec::new();
        for _ in 0..50 {
            reader.open(&Source::Path(file.path().into()), IoMode::Direct).unwrap();
            if let Next::Block(filled) = reader.next(Duration::from_secs(5)).unwrap()
                && kept.len() < 4
            {
                kept.push(filled.block);
            }
        }
        reader.open(&Source::Path(file.path().into()), IoMode::Buffered).unwrap();
        drop(reader);
        assert!(kept.iter().all(|block| block.bytes() == Some(&data[..16_384])));
    }
}

#[test]
fn a_reader_whose_blocks_are_all_held_says_so() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), noise(100_000)).unwrap();
    let mut reader = reader(4096, 2, BackendChoice::Auto);
    reader.open(&Source::Path(file.path().into()), IoMode::Auto).unwrap();
    let mut held = Vec::new();
    while held.len() < 2 {
        if let Next::Block(filled) = reader.next(Duration::from_secs(5)).unwrap() {
            held.push(filled.block);
        }
    }
    assert!(matches!(reader.next(Duration::ZERO).unwrap(), Next::NoBlocks));
    held.clear();
    assert!(matches!(reader.next(Duration::from_secs(5)).unwrap(), Next::Block(_)));
}

/// Runs one of the `child_` tests below in a process of its own, under a shell command.
fn in_child(test: &str, before: &str) {
    let this = std::env::current_exe().unwrap();
    let script = format!("{before} exec {} --ignored --exact {test}", this.display());
    let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn where_io_uring_is_forbidden_threads_read_and_the_reason_is_given() {
    in_child("child_without_io_uring", "");
}

#[test]
#[ignore = "run by where_io_uring_is_forbidden_threads_read_and_the_reason_is_given"]
fn child_without_io_uring() {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
    let rules = [(libc_number(), Vec::new())].into_iter().collect();
    let errno = SeccompAction::Errno(1);
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter: BpfProgram = SeccompFilter::new(rules, SeccompAction::Allow, errno, arch).unwrap().try_into().unwrap();
    seccompiler::apply_filter(&filter).unwrap();
    let mut reader = reader(4096, 4, BackendChoice::Auto);
    assert_eq!(reader.backend().kind, BackendKind::Threads);
    assert!(reader.backend().reason.as_ref().unwrap().contains("forbidden"), "{}", reader.backend());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), noise(50_000)).unwrap();
    assert!(read(&mut reader, file.path(), IoMode::Auto) == noise(50_000));
}

/// `io_uring_setup`, the same on every architecture.
fn libc_number() -> i64 {
    425
}
