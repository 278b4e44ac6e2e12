//! Programs: container, text, check, builder.

use proptest::prelude::*;
use vyre_protocol::resource::{READ, WRITE};
use vyre_protocol::vir0::{
    AssembleError, Builder, ContainerError, Instruction, MAX_FUEL, Opcode, Operand, Parts, Program, Register, Special,
    TextError, assemble, disassemble,
};

/// Every form of instruction, nested.
const SAMPLE: &str = "\
.resource read
.resource read write atomic
.params 1
.scratch 64
.fuel 9000
.const 1, 0xff, -1, 1.5 ; and so on
get v0, item
get s0, p0
ld32 v1, r0[v0]
ld8 v2, const[3]
ld128 v8, r0[v0 + 2]
st128 r1[v0], v8
mulf v3, v1, 2
mulf v3, v3, -1.5e-3
fma v3, v1, v2, v3
add s1, s0, 0xffffffff
divs v4, v1, -7
loop
  ltu v5, v4, s1
  break v5
  if v5
    sub v4, v4, 1
  else
    loop
      add s1, s1, 1
      eq s2, s1, 10
      break s2
    endloop
  endif
endloop
if s1
  sum s3, v1
  trap s3, 42
endif
scan v6, v1
shuffle v7, v1, 255
select v7, v5, v6, v7
atadd v7, r1[v0 + 1], v6
atcas s4, scratch[7], s1, s0
st32 r1[v0], v7
end
";

#[test]
fn text_bytes_and_text_again() {
    let program = assemble(SAMPLE).unwrap();
    let text = disassemble(&program);
    insta::assert_snapshot!(text);
    assert_eq!(assemble(&text).unwrap(), program);
    assert_eq!(Program::decode(&program.encode()).unwrap(), program);
}

#[test]
fn the_bytes_are_pinned() {
    let rows: Vec<_> = assemble(SAMPLE).unwrap().encode().chunks(16).map(|row| format!("{row:02x?}")).collect();
    insta::assert_snapshot!(rows.join("\n"));
}

#[test]
fn every_number_is_written_so_that_it_is_read_again() {
    for word in [0, 1, 0xffff, 0x1_0000, 0x8000_0000, u32::MAX, 0x7f80_0000, 0x7fc0_0001, 0x3f80_0000, 0x0000_0001] {
        for opcode in [Opcode::Mov, Opcode::MaxS, Opcode::AddF] {
            let (mut builder, scalar) = (Builder::new(), Register::scalar(0).unwrap());
            builder.push(Opcode::Mov, &[scalar.into(), Operand::Immediate(0)]);
            let sources = &[scalar.into(), scalar.into(), Operand::Immediate(word)];
            builder.push(opcode, if opcode == Opcode::Mov { &sources[1..] } else { sources });
            let program = builder.finish().unwrap();
            assert_eq!(assemble(&disassemble(&program)).as_ref(), Ok(&program), "{}", disassemble(&program));
        }
    }
}

/// A text, the line and column of its mistake, and what is said of it.
const MISTAKES: &[(&str, usize, usize, &str)] = &[
    ("mov v0, v1\nend", 1, 1, "v1 is read here and not written on every way to here; write it before"),
    ("ad v0, 1\nend", 1, 1, "there is no instruction `ad`"),
    ("  get v0, lane\n  add v0, v0 1\nend", 2, 14, "expected is `,` or the end of the line"),
    ("get v0, lane\nadd v0, v0\nend", 2, 1, "`add` takes 3 operands, given are 2"),
    ("get v0, lane\nadd v0, lane, v0\nend", 2, 9, "operand 2 of `add` must be a register or a number"),
    ("get v0, lane\nadd v0, 1, 2\nend", 2, 1, "an instruction holds one number; put the other into a register"),
    ("mov v16, 1\nend", 1, 5, "`v16` is no register (v0 to v15, s0 to s15), no number and no name"),
    ("mov v0, 0x1ffffffff\nend", 1, 9, "`0x1ffffffff` is no number of 32 bits"),
    ("mov v0, 1.x\nend", 1, 9, "`1.x` is no number of 32 bits"),
    (".wide 3\nend", 1, 2, "there is no declaration `.wide`; there are .resource, .params, .scratch, .fuel and .const"),
    ("get v0, lane\nld32 v1, r0[v0]\nend", 2, 1, "r0 is not declared"),
    (
        ".resource read\nget v0, lane\nst32 r0[v0], v0\nend",
        3,
        1,
        "r0 is not declared write, which this instruction needs",
    ),
    (
        ".resource write\nget v0, lane\nst8 r0[v0], v0\nend",
        3,
        1,
        "r0 is not declared atomic, which this instruction needs",
    ),
    (
        ".resource write\nget v0, lane\nst32 r0[3], v0\nend",
        3,
        1,
        "a vector is stored at an index that is the same in all lanes; use a vector index",
    ),
    (".resource read\nget v0, lane\nld32 v1, r0[v0 + 65536]\nend", 3, 18, "expected is a number up to 65535"),
    (".resource read\nget v0, lane\nld32 v1, r0(v0)\nend", 3, 12, "expected is `[`"),
    (
        "get v0, lane\nmov s0, v0\nend",
        2,
        1,
        "the scalar s0 cannot take what differs from lane to lane; use a vector, or a reduction",
    ),
    (
        "get s0, lane\nend",
        1,
        1,
        "the scalar s0 cannot take what differs from lane to lane; use a vector, or a reduction",
    ),
    (
        "get v0, lane\nmov s0, 0\nprintf 0, s0, v0\nend",
        3,
        1,
        "field b is 0, expected is a scalar register; `shuffle` and the reductions fetch what lanes hold",
    ),
    ("printf 0, 1, 2\nend", 1, 1, "an instruction holds one number; put the other into a register"),
    ("get s0, p0\nend", 1, 1, "'p0' needs a declaration that is not there"),
    ("get v0, lane\nif v0\nend", 3, 1, "this `if` has no end"),
    ("endif\nend", 1, 1, "there is nothing open that `endif` could belong to"),
    ("get v0, lane\nbreak v0\nend", 2, 1, "there is nothing open that `break` could belong to"),
    ("loop\nendloop\nend", 2, 1, "this loop has no `break`, so it never ends"),
    ("get v0, lane", 1, 1, "the last instruction is `end`, and no other is"),
    (".fuel 0\nend", 1, 1, "the fuel limit is 0, possible is 1 to 24000"),
    (
        ".resource atomic\nend",
        1,
        1,
        "resource 0 is declared with the access bits 0x4; use read, write and atomic, which needs write",
    ),
];

#[test]
fn mistakes_are_told_with_their_place() {
    for &(text, line, column, message) in MISTAKES {
        let error = assemble(text).unwrap_err();
        assert_eq!((error.line, error.column, error.error.to_string().as_str()), (line, column, message), "{text}");
    }
}

/// What a lane that stood aside has not written is not written behind the loop, although the others left it there.
#[test]
fn a_scalar_break_within_a_branch_counts_for_the_lanes_outside_it() {
    let text =
        "get v0, lane\nget s0, tile\nloop\n  if v0\n    mov v1, 1\n    break s0\n  endif\nendloop\nmov v2, v1\nend";
    let AssembleError { line, error, .. } = assemble(text).unwrap_err();
    assert!(line == 9 && matches!(error, TextError::Code(_)), "{error}");
    assert!(assemble(&text.replace("if v0", "if s0")).is_ok());
}

#[test]
fn damaged_containers_are_refused() {
    let good = assemble(SAMPLE).unwrap().encode();
    for length in 0..good.len() {
        assert!(matches!(
            Program::decode(&good[..length]),
            Err(ContainerError::Size { .. } | ContainerError::Field { .. })
        ));
    }
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(Program::decode(&bad).is_err(), "byte {at}");
    }
    let longer = [good.as_slice(), &[0; 4]].concat();
    assert!(matches!(Program::decode(&longer), Err(ContainerError::Size { .. })));
}

#[test]
fn a_builder_tells_the_first_mistake() {
    let (v0, s0) = (Register::vector(0).unwrap(), Register::scalar(0).unwrap());
    let mut builder = Builder::new();
    builder.push(Opcode::Get, &[v0.into(), 1.5.into()]).push(Opcode::Mov, &[]);
    assert_eq!(
        builder.finish().unwrap_err().to_string(),
        "instruction 0: operand 2 of `get` must be a name, such as `lane` or `p0`"
    );
    let mut builder = Builder::new();
    builder.resource(READ).resource(WRITE).push(Opcode::Get, &[v0.into(), Special::Lane.into()]);
    builder.push(Opcode::Get, &[s0.into(), Special::Count.into()]);
    builder.repeat(|body| {
        body.branch(v0, |body| {
            body.load(Opcode::Ld32, v0, 0, v0);
        });
        body.push(Opcode::Break, &[s0.into()]);
    });
    builder.store(Opcode::St32, 1, v0, v0);
    let program = builder.finish().unwrap();
    assert_eq!(disassemble(&program).lines().nth(5), Some("loop"));
}

fn instruction() -> impl Strategy<Value = Instruction> {
    let opcode = (0..Opcode::ALL.len()).prop_map(|i| Opcode::ALL[i]);
    let field = prop_oneof![4 => 0_u8..36, 1 => any::<u8>()];
    let word = prop_oneof![4 => 0_u32..40, 2 => (0_u32..6).prop_map(|place| place | 3 << 16), 1 => any::<u32>()];
    (opcode, field.clone(), field.clone(), field, word).prop_map(|(opcode, d, a, b, word)| Instruction {
        opcode,
        d,
        a,
        b,
        word,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever passes the check survives text and bytes; nothing panics.
    #[test]
    fn what_is_valid_round_trips(code in prop::collection::vec(instruction(), 0..6), scratch in 0_u32..2) {
        let mut code = code;
        // Sources that are written.
        for i in 0..4 {
            let d = if i < 2 { i } else { 14 + i };
            code.insert(0, Instruction { opcode: Opcode::Mov, d, a: 32, b: 0, word: i.into() });
        }
        code.push(Instruction::new(Opcode::End));
        let parts = Parts { resources: vec![READ, READ | WRITE], parameters: 1, scratch, fuel: MAX_FUEL, code, constants: vec![7] };
        if let Ok(program) = Program::new(parts) {
            prop_assert_eq!(&Program::decode(&program.encode()).unwrap(), &program);
            let text = disassemble(&program);
            prop_assert_eq!(assemble(&text), Ok(program), "{}", text);
        }
    }

    #[test]
    fn no_text_panics(text in "[a-z0-9., \\[\\]+\n;v-]{0,60}") {
        let _ = assemble(&text);
        let _ = assemble(&format!("get v0, lane\n{text}\nend"));
    }
}
