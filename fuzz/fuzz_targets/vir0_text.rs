//! Texts: what assembles is a program that survives bytes and text; what does not says where.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vyre_protocol::vir0::{Program, assemble, disassemble};

fuzz_target!(|text: &str| {
    match assemble(text) {
        Ok(program) => {
            assert_eq!(Program::decode(&program.encode()).as_ref(), Ok(&program));
            assert_eq!(assemble(&disassemble(&program)).as_ref(), Ok(&program));
        }
        Err(error) => assert!(text.get(error.span).is_some() && error.line > 0 && error.column > 0),
    }
});
