//! The instruction set: each instruction is defined once, in the table below. Decoder, validator, assembler, disassembler, the page
//! `docs/vir0.md` and the shader's constants come from it.
//!
//! | bits of the first word | content |
//! |---|---|
//! | 0..8 | opcode |
//! | 8..16 | `d`: destination register; for branches and loops the depth of masks that holds behind it |
//! | 16..24 | `a`: source |
//! | 24..32 | `b`: source |
//!
//! | bits of the second word | content |
//! |---|---|
//! | 0..32 | the immediate; what `get` reads; the code of `trap`; the format of `printf`; the number of the instruction to jump to |
//! | 0..8 | for memory: the place; for `fma` and `select`: `c` |
//! | 8..16 | for `atcas`: `c` |
//! | 16..32 | for memory: `n` |
//!
//! What an instruction does not use is 0.

use super::GROUP;
use super::operand::Source;
use crate::MIN_LANES;

/// What an instruction's operands are, in the order of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `d, a`.
    Unary,
    /// `d, a, b`.
    Binary,
    /// `d, a, b, c`; no immediate.
    Ternary,
    /// `d, name`: a [`Special`].
    Get,
    /// `d, place[a + offset]`.
    Load,
    /// `place[a + offset], b`.
    Store,
    /// `d, place[a + offset], b`; `d` gets what was there before.
    Atomic,
    /// `d, place[a + offset], b, c`; `d` gets what was there before.
    Swap,
    /// `d, a`: from the lanes of vector `a` to scalar `d`.
    Reduce,
    /// `d, a`: from vector to vector, across the lanes.
    Scan,
    /// `d, a, b`: vector `a` read in other lanes.
    Shuffle,
    /// `a`: begins a branch.
    If,
    /// Its other side.
    Else,
    /// Its end.
    EndIf,
    /// Begins a loop.
    Loop,
    /// `a`: leaves the loop.
    Break,
    /// Its end.
    EndLoop,
    /// `a, code`.
    Trap,
    /// `code, a, b`, of scalars.
    Print,
    /// Nothing.
    End,
}

/// What an operand of the text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The register that is written, in field `d`.
    D,
    /// A source, in field `a`.
    A,
    /// A source, in field `b`.
    B,
    /// A source, in field `c`.
    C,
    /// A [`Special`], in the second word.
    Name,
    /// A [`Place`](super::operand::Place), an index in field `a`, and a number of elements behind it.
    Memory,
    /// A code or the number of a format, in the second word.
    Code,
}

impl Role {
    /// The operand as the text has it.
    #[must_use]
    pub const fn syntax(self) -> &'static str {
        match self {
            Role::D => "d",
            Role::A => "a",
            Role::B => "b",
            Role::C => "c",
            Role::Name => "name",
            Role::Memory => "place[a + n]",
            Role::Code => "code",
        }
    }
}

impl Form {
    /// The operands in the order of the text.
    #[must_use]
    pub const fn roles(self) -> &'static [Role] {
        use Role::{A, B, C, Code, D, Memory, Name};
        match self {
            Form::Unary | Form::Reduce | Form::Scan => &[D, A],
            Form::Binary | Form::Shuffle => &[D, A, B],
            Form::Ternary => &[D, A, B, C],
            Form::Get => &[D, Name],
            Form::Load => &[D, Memory],
            Form::Store => &[Memory, B],
            Form::Atomic => &[D, Memory, B],
            Form::Swap => &[D, Memory, B, C],
            Form::If | Form::Break => &[A],
            Form::Trap => &[A, Code],
            Form::Print => &[Code, A, B],
            Form::Else | Form::EndIf | Form::Loop | Form::EndLoop | Form::End => &[],
        }
    }

    /// Whether field `d` is a register that the instruction writes.
    #[must_use]
    pub fn writes(self) -> bool {
        self.roles().contains(&Role::D)
    }

    /// Whether the instruction names a [`Place`](super::operand::Place).
    #[must_use]
    pub fn is_memory(self) -> bool {
        self.roles().contains(&Role::Memory)
    }

    /// How many of the fields `a`, `b` and `c` are sources.
    #[must_use]
    pub fn sources(self) -> usize {
        self.roles().iter().filter(|role| matches!(role, Role::A | Role::B | Role::C | Role::Memory)).count()
    }
}

/// As what an instruction takes its sources: how the text writes their immediates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bits, or an unsigned number.
    Word,
    /// A signed number.
    Signed,
    /// An IEEE 754 number of 32 bits.
    Float,
}

/// Defines an enum of codes with their names in the text and what they mean.
macro_rules! names {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])* $variant:ident = $code:literal => $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[doc = $doc])* $variant = $code,)+ }

        impl $name {
            /// Every value, in the order of the codes.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The number in the code.
            #[must_use]
            pub const fn code(self) -> u8 { self as u8 }

            /// The value with this number, if there is one.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some($name::$variant),)+ _ => None }
            }

            /// Its name in the text.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }

            /// What it means, as its documentation says it.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $($name::$variant => concat!($($doc, "\n"),*),)+ }
            }
        }
    };
}

macro_rules! instructions {
    ($($(#[doc = $doc:literal])* $variant:ident = $code:literal => $text:literal, $form:ident, $kind:ident;)+) => {
        names! {
            /// An instruction of VIR0.
            Opcode { $($(#[doc = $doc])* $variant = $code => $text,)+ }
        }

        impl Opcode {
            /// Its operands.
            #[must_use]
            pub const fn form(self) -> Form {
                match self { $(Opcode::$variant => Form::$form,)+ }
            }

            /// What its sources are.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self { $(Opcode::$variant => Kind::$kind,)+ }
            }
        }
    };
}

instructions! {
    /// `a`.
    Mov = 0x01 => "mov", Unary, Word;
    /// `a + b`, wrapping.
    Add = 0x02 => "add", Binary, Word;
    /// `a - b`, wrapping.
    Sub = 0x03 => "sub", Binary, Word;
    /// Low word of `a * b`.
    Mul = 0x04 => "mul", Binary, Word;
    /// High word of the unsigned product.
    MulHiU = 0x05 => "mulhiu", Binary, Word;
    /// High word of the signed product.
    MulHiS = 0x06 => "mulhis", Binary, Signed;
    /// Unsigned quotient; `0xffffffff` where `b` is 0.
    DivU = 0x07 => "divu", Binary, Word;
    /// Unsigned remainder; `a` where `b` is 0.
    RemU = 0x08 => "remu", Binary, Word;
    /// Signed quotient, towards zero; -1 where `b` is 0; the smallest number by -1 is itself.
    DivS = 0x09 => "divs", Binary, Signed;
    /// Signed remainder, with the sign of `a`; `a` where `b` is 0; the smallest number by -1 leaves 0.
    RemS = 0x0a => "rems", Binary, Signed;
    /// Bits in both.
    And = 0x0b => "and", Binary, Word;
    /// Bits in either.
    Or = 0x0c => "or", Binary, Word;
    /// Bits in one of the two.
    Xor = 0x0d => "xor", Binary, Word;
    /// All bits turned.
    Not = 0x0e => "not", Unary, Word;
    /// `a << (b mod 32)`.
    Shl = 0x0f => "shl", Binary, Word;
    /// `a >> (b mod 32)`, zeros from above.
    Shr = 0x10 => "shr", Binary, Word;
    /// `a >> (b mod 32)`, the sign from above.
    Sar = 0x11 => "sar", Binary, Word;
    /// `a` rotated left by `b mod 32`.
    Rotl = 0x12 => "rotl", Binary, Word;
    /// Zeros above the highest one; 32 for 0.
    Clz = 0x13 => "clz", Unary, Word;
    /// Zeros below the lowest one; 32 for 0.
    Ctz = 0x14 => "ctz", Unary, Word;
    /// Number of ones.
    Popcnt = 0x15 => "popcnt", Unary, Word;
    /// Lesser of two unsigned numbers.
    MinU = 0x16 => "minu", Binary, Word;
    /// Greater of two unsigned numbers.
    MaxU = 0x17 => "maxu", Binary, Word;
    /// Lesser of two signed numbers.
    MinS = 0x18 => "mins", Binary, Signed;
    /// Greater of two signed numbers.
    MaxS = 0x19 => "maxs", Binary, Signed;
    /// 1 where `a = b`, else 0.
    Eq = 0x1a => "eq", Binary, Word;
    /// 1 where `a` is not `b`, else 0.
    Ne = 0x1b => "ne", Binary, Word;
    /// 1 where `a < b`, unsigned, else 0.
    LtU = 0x1c => "ltu", Binary, Word;
    /// 1 where `a <= b`, unsigned, else 0.
    LeU = 0x1d => "leu", Binary, Word;
    /// 1 where `a < b`, signed, else 0.
    LtS = 0x1e => "lts", Binary, Signed;
    /// 1 where `a <= b`, signed, else 0.
    LeS = 0x1f => "les", Binary, Signed;
    /// `b` where `a` is not 0, else `c`.
    Select = 0x20 => "select", Ternary, Word;
    /// Sum of floats, rounded once.
    AddF = 0x40 => "addf", Binary, Float;
    /// Difference of floats, rounded once.
    SubF = 0x41 => "subf", Binary, Float;
    /// Product of floats, rounded once.
    MulF = 0x42 => "mulf", Binary, Float;
    /// Quotient of floats, within 2.5 units in the last place where `abs b` is from 2^-126 to 2^126.
    DivF = 0x43 => "divf", Binary, Float;
    /// `a * b + c` of floats, rounded once, or the product and then the sum.
    Fma = 0x44 => "fma", Ternary, Float;
    /// Square root, within 3 units in the last place; NaN below 0.
    Sqrt = 0x45 => "sqrt", Unary, Float;
    /// 2 to the power of `a`, within `3 + 2 abs a` units in the last place.
    Exp2 = 0x46 => "exp2", Unary, Float;
    /// Binary logarithm, within 3 units in the last place; between 0.5 and 2.0 within 2^-21. NaN below 0.
    Log2 = 0x47 => "log2", Unary, Float;
    /// Lesser of two floats, -0 below 0; the other where one is NaN.
    MinF = 0x48 => "minf", Binary, Float;
    /// Greater of two floats, 0 above -0; the other where one is NaN.
    MaxF = 0x49 => "maxf", Binary, Float;
    /// Rounded towards negative infinity.
    Floor = 0x4a => "floor", Unary, Float;
    /// Rounded towards positive infinity.
    Ceil = 0x4b => "ceil", Unary, Float;
    /// Rounded towards zero.
    Trunc = 0x4c => "trunc", Unary, Float;
    /// Rounded to the nearest, to even from half way.
    Round = 0x4d => "round", Unary, Float;
    /// 1 where the floats are equal, else 0; NaN equals nothing, -0 equals 0.
    EqF = 0x4e => "eqf", Binary, Float;
    /// 1 where the floats are not equal, else 0.
    NeF = 0x4f => "nef", Binary, Float;
    /// 1 where `a < b` as floats, else 0.
    LtF = 0x50 => "ltf", Binary, Float;
    /// 1 where `a <= b` as floats, else 0.
    LeF = 0x51 => "lef", Binary, Float;
    /// Unsigned number to the nearest float.
    U2F = 0x52 => "u2f", Unary, Word;
    /// Signed number to the nearest float.
    S2F = 0x53 => "s2f", Unary, Signed;
    /// Float to an unsigned number, towards zero; the nearest there is where it does not fit; 0 for NaN.
    F2U = 0x54 => "f2u", Unary, Float;
    /// Float to a signed number, towards zero; the nearest there is where it does not fit; 0 for NaN.
    F2S = 0x55 => "f2s", Unary, Float;
    /// A number of the tile, a parameter, or the size of a resource.
    Get = 0x80 => "get", Get, Word;
    /// The byte at byte `a + n`.
    Ld8 = 0x81 => "ld8", Load, Word;
    /// The 16 bits at half word `a + n`.
    Ld16 = 0x82 => "ld16", Load, Word;
    /// Word `a + n`.
    Ld32 = 0x83 => "ld32", Load, Word;
    /// The four words at quad `a + n`, to `d` and the three vector registers behind it.
    Ld128 = 0x84 => "ld128", Load, Word;
    /// Stores the low byte of `b`; a resource must be declared `atomic`, since others may change the rest of the word.
    St8 = 0x85 => "st8", Store, Word;
    /// Stores the low 16 bits of `b`; a resource must be declared `atomic`.
    St16 = 0x86 => "st16", Store, Word;
    /// Stores `b`.
    St32 = 0x87 => "st32", Store, Word;
    /// Stores `b` and the three vector registers behind it.
    St128 = 0x88 => "st128", Store, Word;
    /// Adds `b`, wrapping.
    AtAdd = 0x89 => "atadd", Atomic, Word;
    /// Lesser of two unsigned numbers.
    AtMin = 0x8a => "atmin", Atomic, Word;
    /// Greater of two unsigned numbers.
    AtMax = 0x8b => "atmax", Atomic, Word;
    /// Bits in both.
    AtAnd = 0x8c => "atand", Atomic, Word;
    /// Bits in either.
    AtOr = 0x8d => "ator", Atomic, Word;
    /// Bits in one of the two.
    AtXor = 0x8e => "atxor", Atomic, Word;
    /// Stores `b`.
    AtXchg = 0x8f => "atxchg", Atomic, Word;
    /// Stores `c` if `b` is there.
    AtCas = 0x90 => "atcas", Swap, Word;
    /// Sum, wrapping.
    Sum = 0xa0 => "sum", Reduce, Word;
    /// Sum of floats.
    SumF = 0xa1 => "sumf", Reduce, Float;
    /// Smallest unsigned number.
    LeastU = 0xa2 => "leastu", Reduce, Word;
    /// Greatest unsigned number.
    MostU = 0xa3 => "mostu", Reduce, Word;
    /// Smallest float, as `minf` joins.
    LeastF = 0xa4 => "leastf", Reduce, Float;
    /// Greatest float, as `maxf` joins.
    MostF = 0xa5 => "mostf", Reduce, Float;
    /// Bits in any lane.
    Any = 0xa6 => "any", Reduce, Word;
    /// Bits in all lanes.
    All = 0xa7 => "all", Reduce, Word;
    /// Sum of the active lanes up to this one, this one included, wrapping.
    Scan = 0xa8 => "scan", Scan, Word;
    /// `a` of lane `b mod 256`; 0 if that lane is not active.
    Shuffle = 0xa9 => "shuffle", Shuffle, Word;
    /// Goes on with the lanes in which `a` is not 0; for a scalar `a`, with all or none.
    If = 0xc0 => "if", If, Word;
    /// Goes on with the lanes that did not take the branch.
    Else = 0xc1 => "else", Else, Word;
    /// All lanes from before the branch go on.
    EndIf = 0xc2 => "endif", EndIf, Word;
    /// Repeats what follows.
    Loop = 0xc3 => "loop", Loop, Word;
    /// The lanes in which `a` is not 0 leave the innermost loop, which ends when none is left; for a scalar `a`, all or none.
    Break = 0xc4 => "break", Break, Word;
    /// From the beginning of the loop again.
    EndLoop = 0xc5 => "endloop", EndLoop, Word;
    /// Faults the slot with this code if `a` is not 0, for a vector in any active lane.
    Trap = 0xc6 => "trap", Trap, Word;
    /// Ends the tile; the last instruction, and only that.
    End = 0xc7 => "end", End, Word;
    /// Writes a line to the debug log: format `code` with the scalars `a` and `b`. Once for the group, whatever lanes are active.
    Printf = 0xc8 => "printf", Print, Word;
}

names! {
    /// What `get` reads.
    Special {
        /// Number of the lane, 0 to 255. Only into a vector.
        Lane = 0 => "lane",
        /// Number of the lane's item: `first + lane`. Only into a vector.
        Item = 1 => "item",
        /// Number of the tile.
        Tile = 2 => "tile",
        /// Tiles of the slot.
        Tiles = 3 => "tiles",
        /// The slot's length.
        Length = 4 => "length",
        /// The slot's tile span.
        Span = 5 => "span",
        /// First item of the tile: `tile * span`, at most the length.
        First = 6 => "first",
        /// Items of the tile: the span, or what is left of the length.
        Count = 7 => "count",
        /// First parameter.
        P0 = 8 => "p0",
        /// Second parameter.
        P1 = 9 => "p1",
        /// Third parameter.
        P2 = 10 => "p2",
        /// Fourth parameter.
        P3 = 11 => "p3",
        /// Fifth parameter.
        P4 = 12 => "p4",
        /// Bytes of resource 0 from the operand's offset on.
        Bytes0 = 16 => "bytes0",
        /// Bytes of resource 1 from the operand's offset on.
        Bytes1 = 17 => "bytes1",
        /// Bytes of resource 2.
        Bytes2 = 18 => "bytes2",
        /// Bytes of resource 3.
        Bytes3 = 19 => "bytes3",
    }
}

impl Special {
    /// Whether it differs from lane to lane.
    #[must_use]
    pub const fn is_vector(self) -> bool {
        matches!(self, Special::Lane | Special::Item)
    }

    /// Which parameter it is.
    #[must_use]
    pub const fn parameter(self) -> Option<u32> {
        let code = self.code() as u32;
        if code >= Special::P0.code() as u32 && code <= Special::P4.code() as u32 {
            Some(code - Special::P0.code() as u32)
        } else {
            None
        }
    }

    /// Of which resource it is the size.
    #[must_use]
    pub const fn resource(self) -> Option<u32> {
        let code = self.code() as u32;
        if code >= Special::Bytes0.code() as u32 { Some(code - Special::Bytes0.code() as u32) } else { None }
    }
}

impl Opcode {
    /// What a reduction joins two lanes with, and what it takes for a lane that is not active.
    #[must_use]
    pub const fn reduction(self) -> Option<(Opcode, u32)> {
        match self {
            Opcode::Sum => Some((Opcode::Add, 0)),
            Opcode::SumF => Some((Opcode::AddF, 0)),
            Opcode::LeastU => Some((Opcode::MinU, u32::MAX)),
            Opcode::MostU => Some((Opcode::MaxU, 0)),
            Opcode::LeastF => Some((Opcode::MinF, f32::INFINITY.to_bits())),
            Opcode::MostF => Some((Opcode::MaxF, f32::NEG_INFINITY.to_bits())),
            Opcode::Any => Some((Opcode::Or, 0)),
            Opcode::All => Some((Opcode::And, u32::MAX)),
            _ => None,
        }
    }

    /// Whether it takes four passes: it changes words in one step, or loads or stores four.
    #[must_use]
    pub fn is_fourfold(self) -> bool {
        let atomic = matches!(self.form(), Form::Atomic | Form::Swap);
        atomic || matches!(self, Opcode::St8 | Opcode::St16 | Opcode::Ld128 | Opcode::St128)
    }

    /// Bytes of an element that the instruction loads or stores; `None` for those that do not touch memory.
    #[must_use]
    pub fn width(self) -> Option<u32> {
        match self {
            Opcode::Ld8 | Opcode::St8 => Some(1),
            Opcode::Ld16 | Opcode::St16 => Some(2),
            Opcode::Ld128 | Opcode::St128 => Some(16),
            opcode if opcode.form().is_memory() => Some(4),
            _ => None,
        }
    }
}

/// Fuel of one pass over all lanes: a worker of [`MIN_LANES`] hardware lanes takes four lanes of the group at a time in each.
pub const SWEEP: u32 = 1 + GROUP / 4 / MIN_LANES;
/// Fuel of a pass that a worker does once.
pub const STEP: u32 = 2;

/// Fuel of a reduction: two sweeps within the places, and then halves from 32 places to 1, each as wide as the worker or wider.
pub const REDUCE_FUEL: u32 = {
    let (mut fuel, mut stride) = (2 * SWEEP, GROUP / 8);
    while stride > 0 {
        fuel += 1 + stride.div_ceil(MIN_LANES);
        stride /= 2;
    }
    fuel
};
/// Fuel of a scan: a sweep in, one for each doubling of 64 places, and one out.
pub const SCAN_FUEL: u32 = SWEEP * (2 + (GROUP / 4).ilog2());

/// Fuel of a line in the debug log, which all lanes write together.
pub const PRINT_FUEL: u32 = 4 * SWEEP;

/// An instruction as its two words hold it: see the tables above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// What it does.
    pub opcode: Opcode,
    /// Field `d`.
    pub d: u8,
    /// Field `a`.
    pub a: u8,
    /// Field `b`.
    pub b: u8,
    /// The second word.
    pub word: u32,
}

impl Instruction {
    /// An instruction that uses no field.
    #[must_use]
    pub const fn new(opcode: Opcode) -> Self {
        Instruction { opcode, d: 0, a: 0, b: 0, word: 0 }
    }

    /// Its two words.
    #[must_use]
    pub const fn to_words(self) -> [u32; 2] {
        [u32::from_le_bytes([self.opcode.code(), self.d, self.a, self.b]), self.word]
    }

    /// The instruction in two words, if the opcode exists. Nothing else is checked.
    #[must_use]
    pub const fn from_words([first, word]: [u32; 2]) -> Option<Self> {
        let [code, d, a, b] = first.to_le_bytes();
        match Opcode::from_code(code) {
            Some(opcode) => Some(Instruction { opcode, d, a, b, word }),
            None => None,
        }
    }

    /// Field `c`.
    #[must_use]
    pub const fn c(&self) -> u8 {
        match self.opcode.form() {
            Form::Ternary => self.word as u8,
            Form::Swap => (self.word >> 8) as u8,
            _ => 0,
        }
    }

    /// The sources that the form has.
    pub fn sources(&self) -> impl Iterator<Item = u8> + use<> {
        [self.a, self.b, self.c()].into_iter().take(self.opcode.form().sources())
    }

    /// Whether it works lane by lane, and so heeds the mask, or once for the whole group.
    #[must_use]
    pub fn is_vector(&self) -> bool {
        match self.opcode.form() {
            Form::Loop | Form::Else | Form::EndIf => Source::is_vector_code(self.a),
            form if form.writes() => Source::is_vector_code(self.d),
            _ => self.sources().any(Source::is_vector_code),
        }
    }

    /// Fuel that it costs: loop iterations of a worker with the fewest lanes, the same on every engine.
    #[must_use]
    pub fn fuel(&self) -> u32 {
        match self.opcode.form() {
            Form::Reduce => REDUCE_FUEL,
            Form::Scan => SCAN_FUEL,
            Form::Shuffle => 2 * SWEEP,
            Form::Print => PRINT_FUEL,
            Form::EndIf | Form::EndLoop | Form::End => STEP,
            // A pass for each lane of the four, or for each word.
            _ if self.is_vector() && self.opcode.is_fourfold() => 4 * SWEEP,
            _ if self.is_vector() => SWEEP,
            _ => STEP,
        }
    }
}
