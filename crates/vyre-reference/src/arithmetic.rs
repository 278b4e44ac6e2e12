//! What the instructions of VIR0 compute, word by word: the counterpart of `vir0_alu.glsl`.
//!
//! Floats: subnormal numbers count as 0 of their sign, as sources and as results; a result that is no number is [`NAN`].

use vyre_protocol::vir0::Opcode;

/// What every result is that is no number.
const NAN: u32 = 0x7fc0_0000;
const SIGN: u32 = 0x8000_0000;
const INFINITY: u32 = 0x7f80_0000;

/// The result of an instruction on registers. What is none gives 0.
pub(crate) fn evaluate(opcode: Opcode, a: u32, b: u32, c: u32) -> u32 {
    let (sa, sb) = (a.cast_signed(), b.cast_signed());
    match opcode {
        Opcode::Mov => a,
        Opcode::Add => a.wrapping_add(b),
        Opcode::Sub => a.wrapping_sub(b),
        Opcode::Mul => a.wrapping_mul(b),
        Opcode::MulHiU => ((u64::from(a) * u64::from(b)) >> 32) as u32,
        Opcode::MulHiS => ((i64::from(sa) * i64::from(sb)) >> 32) as u32,
        Opcode::DivU => a.checked_div(b).unwrap_or(u32::MAX),
        Opcode::RemU => a.checked_rem(b).unwrap_or(a),
        Opcode::DivS if b == 0 => u32::MAX,
        Opcode::DivS => sa.wrapping_div(sb).cast_unsigned(),
        Opcode::RemS if b == 0 => a,
        Opcode::RemS => sa.wrapping_rem(sb).cast_unsigned(),
        Opcode::And => a & b,
        Opcode::Or => a | b,
        Opcode::Xor => a ^ b,
        Opcode::Not => !a,
        Opcode::Shl => a.wrapping_shl(b),
        Opcode::Shr => a.wrapping_shr(b),
        Opcode::Sar => sa.wrapping_shr(b).cast_unsigned(),
        Opcode::Rotl => a.rotate_left(b & 31),
        Opcode::Clz => a.leading_zeros(),
        Opcode::Ctz => a.trailing_zeros(),
        Opcode::Popcnt => a.count_ones(),
        Opcode::MinU => a.min(b),
        Opcode::MaxU => a.max(b),
        Opcode::MinS => sa.min(sb).cast_unsigned(),
        Opcode::MaxS => sa.max(sb).cast_unsigned(),
        Opcode::Eq => (a == b).into(),
        Opcode::Ne => (a != b).into(),
        Opcode::LtU => (a < b).into(),
        Opcode::LeU => (a <= b).into(),
        Opcode::LtS => (sa < sb).into(),
        Opcode::LeS => (sa <= sb).into(),
        Opcode::Select if a != 0 => b,
        Opcode::Select => c,
        Opcode::U2F => (a as f32).to_bits(),
        Opcode::S2F => (sa as f32).to_bits(),
        _ => evaluate_float(opcode, flush(a), flush(b), flush(c)),
    }
}

fn evaluate_float(opcode: Opcode, a: u32, b: u32, c: u32) -> u32 {
    let (fa, fb, fc) = (f32::from_bits(a), f32::from_bits(b), f32::from_bits(c));
    let result = match opcode {
        Opcode::AddF => fa + fb,
        Opcode::SubF => fa - fb,
        Opcode::MulF => fa * fb,
        Opcode::DivF => fa / fb,
        Opcode::Fma => fa.mul_add(fb, fc),
        Opcode::Sqrt => fa.sqrt(),
        Opcode::Exp2 => fa.exp2(),
        Opcode::Log2 => fa.log2(),
        Opcode::Floor => fa.floor(),
        Opcode::Ceil => fa.ceil(),
        Opcode::Trunc => fa.trunc(),
        Opcode::Round => fa.round_ties_even(),
        Opcode::MinF => f32::from_bits(if is_nan(a) || (!is_nan(b) && key(b) < key(a)) { b } else { a }),
        Opcode::MaxF => f32::from_bits(if is_nan(a) || (!is_nan(b) && key(b) > key(a)) { b } else { a }),
        Opcode::EqF => return (fa == fb).into(),
        Opcode::NeF => return (fa != fb).into(),
        Opcode::LtF => return (fa < fb).into(),
        Opcode::LeF => return (fa <= fb).into(),
        // These saturate, and NaN gives 0.
        Opcode::F2U => return fa as u32,
        Opcode::F2S => return (fa as i32).cast_unsigned(),
        _ => return 0,
    };
    let bits = flush(result.to_bits());
    if is_nan(bits) { NAN } else { bits }
}

/// Subnormal numbers as 0.
fn flush(bits: u32) -> u32 {
    if bits & INFINITY == 0 { bits & SIGN } else { bits }
}

fn is_nan(bits: u32) -> bool {
    bits & !SIGN > INFINITY
}

/// Numbers that are ordered as the floats are, with -0 below 0.
fn key(bits: u32) -> u32 {
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corners_are_as_defined() {
        let (min, nan) = (i32::MIN.cast_unsigned(), f32::NAN.to_bits());
        let float = f32::to_bits;
        let cases = [
            (Opcode::DivU, 7, 0, u32::MAX),
            (Opcode::RemU, 7, 0, 7),
            (Opcode::DivS, min, u32::MAX, min),
            (Opcode::RemS, min, u32::MAX, 0),
            (Opcode::DivS, 7, 0, u32::MAX),
            (Opcode::Shl, 1, 33, 2),
            (Opcode::Sar, min, 31, u32::MAX),
            (Opcode::Rotl, 0x8000_0001, 33, 3),
            (Opcode::Clz, 0, 0, 32),
            (Opcode::Ctz, 0, 0, 32),
            (Opcode::MinF, nan, float(2.0), float(2.0)),
            (Opcode::MinF, float(2.0), nan, float(2.0)),
            (Opcode::MaxF, nan | SIGN, nan, NAN),
            (Opcode::MinF, float(0.0), float(-0.0), float(-0.0)),
            (Opcode::EqF, float(0.0), float(-0.0), 1),
            (Opcode::NeF, nan, nan, 1),
            (Opcode::LeF, nan, nan, 0),
            (Opcode::F2U, float(-1.5), 0, 0),
            (Opcode::F2U, float(1e10), 0, u32::MAX),
            (Opcode::F2S, float(-1e10), 0, min),
            (Opcode::F2S, nan, 0, 0),
            (Opcode::AddF, 1, 0, 0),
            (Opcode::MulF, float(1e-30), float(-1e-30), SIGN),
            (Opcode::SubF, INFINITY, INFINITY, NAN),
            (Opcode::Sqrt, float(-1.0), 0, NAN),
            (Opcode::Round, float(2.5), 0, float(2.0)),
            (Opcode::U2F, 0x0100_0001, 0, float(16_777_216.0)),
            (Opcode::U2F, u32::MAX, 0, float(4_294_967_296.0)),
        ];
        for (opcode, a, b, expected) in cases {
            assert_eq!(evaluate(opcode, a, b, 0), expected, "{} {a:#x}, {b:#x}", opcode.name());
        }
    }
}
