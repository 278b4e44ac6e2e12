//! Registers, sources and places: what the fields of an instruction name.

use core::fmt;

use super::{RESOURCES, SCALARS, VECTORS};

/// Field value of a source that is the immediate in the second word.
pub const IMMEDIATE: u8 = VECTORS + SCALARS;

/// A register, as a field holds it: vectors first, then scalars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Register(u8);

impl Register {
    /// Vector register `index`: a word in each lane. `None` beyond the last.
    #[must_use]
    pub const fn vector(index: u8) -> Option<Self> {
        if index < VECTORS { Some(Register(index)) } else { None }
    }

    /// Scalar register `index`: one word for the whole group. `None` beyond the last.
    #[must_use]
    pub const fn scalar(index: u8) -> Option<Self> {
        if index < SCALARS { Some(Register(VECTORS + index)) } else { None }
    }

    /// The register with this field value.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        if code < IMMEDIATE { Some(Register(code)) } else { None }
    }

    /// Its field value.
    #[must_use]
    pub const fn code(self) -> u8 {
        self.0
    }

    /// Whether it holds a word in each lane.
    #[must_use]
    pub const fn is_vector(self) -> bool {
        self.0 < VECTORS
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_vector() { write!(f, "v{}", self.0) } else { write!(f, "s{}", self.0 - VECTORS) }
    }
}

/// Where a source comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A register.
    Register(Register),
    /// The immediate.
    Immediate,
}

impl Source {
    /// The source with this field value.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match Register::from_code(code) {
            Some(register) => Some(Source::Register(register)),
            None if code == IMMEDIATE => Some(Source::Immediate),
            None => None,
        }
    }

    /// Whether a field value names a vector register.
    #[must_use]
    pub const fn is_vector_code(code: u8) -> bool {
        code < VECTORS
    }
}

/// Memory that an instruction reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A declared resource.
    Resource(u8),
    /// The program's constants; read only.
    Constants,
    /// The group's scratch words, which are 0 when a tile begins.
    Scratch,
}

impl Place {
    /// The place with this field value.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            code if code < RESOURCES => Some(Place::Resource(code)),
            RESOURCES => Some(Place::Constants),
            code if code == RESOURCES + 1 => Some(Place::Scratch),
            _ => None,
        }
    }

    /// Its field value.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Place::Resource(index) => index,
            Place::Constants => RESOURCES,
            Place::Scratch => RESOURCES + 1,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Resource(index) => write!(f, "r{index}"),
            Place::Constants => f.write_str("const"),
            Place::Scratch => f.write_str("scratch"),
        }
    }
}
