//! Programs as text.
//!
//! A line is a declaration, an instruction, or empty; `;` begins a comment.
//!
//! | declaration | meaning |
//! |---|---|
//! | `.resource read write atomic` | the next resource, from `r0` on, and what it must allow |
//! | `.params 2` | parameters of a slot: `p0`, `p1` |
//! | `.scratch 256` | words of scratch |
//! | `.fuel 1000` | most fuel of a tile |
//! | `.const 1, 0xff, 1.5` | words of constants; again for more |

mod assemble;
mod disassemble;

pub use assemble::{AssembleError, TextError, assemble, number};
pub use disassemble::disassemble;

/// Names of the access bits in the text.
const ACCESS: [(&str, u32); 3] =
    [("read", crate::resource::READ), ("write", crate::resource::WRITE), ("atomic", crate::resource::ATOMIC)];
