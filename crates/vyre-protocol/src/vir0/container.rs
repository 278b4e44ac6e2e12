//! The container: a program as bytes.
//!
//! | word | content |
//! |---|---|
//! | 0 | magic, `VIR0` |
//! | 1 | version |
//! | 2 | bytes of the container |
//! | 3 | CRC-32 (IEEE 802.3) of all other words |
//! | 4 | instructions |
//! | 5 | words of constants |
//! | 6 | words of scratch |
//! | 7 | most fuel of a tile |
//! | 8 | parameters |
//! | 9 | resources |
//! | 10..14 | access bits of the resources; 0 for those that are not there |
//! | 14 | zero; in the device's memory the number by which a translated program is known |
//! | 15 | zero |
//! | 16.. | instructions, two words each; then constants |

use alloc::vec::Vec;

use super::{Instruction, MAX_CONSTANTS, MAX_INSTRUCTIONS, Parts, Program, ProgramError, RESOURCES};

/// The first word: `VIR0` in ASCII.
const MAGIC: u32 = u32::from_le_bytes(*b"VIR0");
/// Version of the container and of the instruction set.
const VERSION: u32 = 1;
/// Words before the first instruction.
const HEADER_WORDS: usize = 16;
/// Bytes before the first instruction.
pub const HEADER_BYTES: u32 = HEADER_WORDS as u32 * crate::WORD_BYTES;
/// Word of a loaded program that is not the container's: the runtime puts the number there by which a kernel knows a program that it holds
/// translated, or 0. No other program of the same runtime has that number.
pub const TAG: u32 = 14;
/// Word of the checksum.
const CHECKSUM: usize = 3;

/// Why bytes are no program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContainerError {
    /// Not the bytes that the header says, or too few for a header.
    #[error("the container has {found} bytes, expected are {expected}; it was cut or something was added")]
    Size {
        /// Bytes expected.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// A word of the header is wrong.
    #[error("{field} at byte {offset} is {found:#x}, expected is {expected}; assemble the program again")]
    Field {
        /// Byte offset.
        offset: usize,
        /// Its name.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: u32,
    },
    /// A bit has changed.
    #[error("the checksum is {found:#010x}, expected is {expected:#010x}; the container is damaged, get it again")]
    Checksum {
        /// Of the bytes.
        expected: u32,
        /// In the header.
        found: u32,
    },
    /// There is no such instruction.
    #[error(
        "instruction {at} has the opcode {code:#04x}, which does not exist in version 1; assemble the program again"
    )]
    Opcode {
        /// Index of the instruction.
        at: usize,
        /// The opcode.
        code: u8,
    },
    /// The program is not valid.
    #[error(transparent)]
    Program(#[from] ProgramError),
}

fn checksum(words: &[u32]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for word in words.iter().enumerate().filter(|(i, _)| *i != CHECKSUM).map(|(_, word)| word) {
        hasher.update(&word.to_le_bytes());
    }
    hasher.finalize()
}

/// Fails unless the word at `index` is what is expected.
fn expect(
    words: &[u32],
    index: usize,
    field: &'static str,
    expected: &'static str,
    fits: bool,
) -> Result<(), ContainerError> {
    let found = words.get(index).copied().unwrap_or_default();
    if fits { Ok(()) } else { Err(ContainerError::Field { offset: 4 * index, field, expected, found }) }
}

impl Program {
    /// Decodes and checks a container.
    ///
    /// # Errors
    /// [`ContainerError`] names the first thing that is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Program, ContainerError> {
        let size = |expected| ContainerError::Size { expected, found: bytes.len() };
        let (words, rest) = bytes.as_chunks::<4>();
        let words: Vec<u32> = words
            .iter()
            .take(HEADER_WORDS + 2 * MAX_INSTRUCTIONS + MAX_CONSTANTS)
            .map(|word| u32::from_le_bytes(*word))
            .collect();
        let Some((header, body)) = words.split_at_checked(HEADER_WORDS) else {
            return Err(size(HEADER_WORDS * 4));
        };
        expect(header, 0, "magic", "VIR0", header[0] == MAGIC)?;
        expect(header, 1, "version", "1", header[1] == VERSION)?;
        let (instructions, constants) = (header[4] as usize, header[5] as usize);
        expect(header, 4, "instruction count", "1 to 512", (1..=MAX_INSTRUCTIONS).contains(&instructions))?;
        expect(header, 5, "constant count", "at most 1024", constants <= MAX_CONSTANTS)?;
        let expected = 4 * (HEADER_WORDS + 2 * instructions + constants);
        expect(header, 2, "size", "what the counts give", header[2] as usize == expected)?;
        if bytes.len() != expected || !rest.is_empty() {
            return Err(size(expected));
        }
        let sum = checksum(&words);
        if sum != header[CHECKSUM] {
            return Err(ContainerError::Checksum { expected: sum, found: header[CHECKSUM] });
        }
        let resources = header[9] as usize;
        expect(header, 9, "resource count", "at most 4", resources <= usize::from(RESOURCES))?;
        for index in 10 + resources..HEADER_WORDS {
            expect(header, index, "unused word", "0", header[index] == 0)?;
        }
        let (code, constants) = body.split_at(2 * instructions);
        let code = code.as_chunks::<2>().0.iter().enumerate().map(|(at, words)| {
            Instruction::from_words(*words).ok_or(ContainerError::Opcode { at, code: words[0] as u8 })
        });
        Ok(Program::new(Parts {
            resources: header[10..10 + resources].to_vec(),
            parameters: header[8],
            scratch: header[6],
            fuel: header[7],
            code: code.collect::<Result<_, _>>()?,
            constants: constants.to_vec(),
        })?)
    }

    /// The program as a container; what [`decode`](Self::decode) takes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Parts { resources, parameters, scratch, fuel, code, constants } = self.parts();
        let mut words = [0; HEADER_WORDS].to_vec();
        words.extend(code.iter().flat_map(|instruction| instruction.to_words()));
        words.extend(constants);
        let (instructions, constants) = (code.len() as u32, constants.len() as u32);
        words[0] = MAGIC;
        words[1] = VERSION;
        words[2] = 4 * words.len() as u32;
        words[4..10].copy_from_slice(&[instructions, constants, *scratch, *fuel, *parameters, resources.len() as u32]);
        words[10..10 + resources.len()].copy_from_slice(resources);
        words[CHECKSUM] = checksum(&words);
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }
}
