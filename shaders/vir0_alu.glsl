// What the instructions of VIR0 compute: the counterpart of `arithmetic.rs`, four lanes at a time.
//
// Floats are compared, and told from those that are no numbers, by their bits: a compiler may take it that there are none.

const uint FLOAT_SIGN = 0x80000000u;
const uint FLOAT_INFINITY = 0x7f800000u;
const uint FLOAT_NAN = 0x7fc00000u;

uvec4 truth(bvec4 condition) { return uvec4(condition); }

// Subnormal numbers as 0.
uvec4 flush(uvec4 x) { return mix(x, x & FLOAT_SIGN, equal(x & FLOAT_INFINITY, uvec4(0u))); }

bvec4 is_nan(uvec4 x) { return greaterThan(x & ~FLOAT_SIGN, uvec4(FLOAT_INFINITY)); }

// Numbers that are ordered as the floats are, with -0 below 0.
uvec4 float_key(uvec4 x) { return mix(x | FLOAT_SIGN, ~x, notEqual(x & FLOAT_SIGN, uvec4(0u))); }

// The same with -0 as 0.
uvec4 compare_key(uvec4 x) { return float_key(mix(x, uvec4(0u), equal(x & ~FLOAT_SIGN, uvec4(0u)))); }

uvec4 magnitude(uvec4 x) { return mix(x, 0u - x, notEqual(x & FLOAT_SIGN, uvec4(0u))); }

// DIVU, REMU, DIVS and REMS in one division.
uvec4 divide(uint op, uvec4 a, uvec4 b) {
    bool number_has_sign = op == VIR_DIVS || op == VIR_REMS;
    bool remainder = op == VIR_REMU || op == VIR_REMS;
    bvec4 zero = equal(b, uvec4(0u));
    uvec4 dividend = number_has_sign ? magnitude(a) : a;
    uvec4 divisor = mix(number_has_sign ? magnitude(b) : b, uvec4(1u), zero);
    uvec4 quotient = dividend / divisor;
    uvec4 result = remainder ? dividend - quotient * divisor : quotient;
    uvec4 negative = number_has_sign ? (remainder ? a : a ^ b) & FLOAT_SIGN : uvec4(0u);
    result = mix(result, 0u - result, notEqual(negative, uvec4(0u)));
    return mix(result, remainder ? a : uvec4(0xffffffffu), zero);
}

uvec4 high_word(uint op, uvec4 a, uvec4 b) {
    uvec4 high, low;
    umulExtended(a, b, high, low);
    if (op == VIR_MULHIU) { return high; }
    // A negative factor counts 2^32 less.
    return high - mix(uvec4(0u), b, notEqual(a & FLOAT_SIGN, uvec4(0u))) - mix(uvec4(0u), a, notEqual(b & FLOAT_SIGN, uvec4(0u)));
}

uvec4 alu_words(uint op, uvec4 a, uvec4 b, uvec4 c) {
    ivec4 sa = ivec4(a), sb = ivec4(b);
    uvec4 count = b & 31u;
    switch (op) {
    case VIR_MOV: return a;
    case VIR_ADD: return a + b;
    case VIR_SUB: return a - b;
    case VIR_MUL: return a * b;
    case VIR_MULHIU: case VIR_MULHIS: return high_word(op, a, b);
    case VIR_DIVU: case VIR_REMU: case VIR_DIVS: case VIR_REMS: return divide(op, a, b);
    case VIR_AND: return a & b;
    case VIR_OR: return a | b;
    case VIR_XOR: return a ^ b;
    case VIR_NOT: return ~a;
    case VIR_SHL: return a << count;
    case VIR_SHR: return a >> count;
    case VIR_SAR: return uvec4(sa >> ivec4(count));
    case VIR_ROTL: return a << count | a >> (32u - count & 31u);
    case VIR_CLZ: return uvec4(31 - findMSB(a));
    case VIR_CTZ: return mix(uvec4(findLSB(a)), uvec4(32u), equal(a, uvec4(0u)));
    case VIR_POPCNT: return uvec4(bitCount(a));
    case VIR_MINU: return min(a, b);
    case VIR_MAXU: return max(a, b);
    case VIR_MINS: return uvec4(min(sa, sb));
    case VIR_MAXS: return uvec4(max(sa, sb));
    case VIR_EQ: return truth(equal(a, b));
    case VIR_NE: return truth(notEqual(a, b));
    case VIR_LTU: return truth(lessThan(a, b));
    case VIR_LEU: return truth(lessThanEqual(a, b));
    case VIR_LTS: return truth(lessThan(sa, sb));
    case VIR_LES: return truth(lessThanEqual(sa, sb));
    case VIR_SELECT: return mix(c, b, notEqual(a, uvec4(0u)));
    }
    return uvec4(0u);
}

// Unsigned numbers to the nearest floats: both halves are exact, so that the sum alone is rounded.
uvec4 from_unsigned(uvec4 x) {
    precise vec4 sum = vec4(x >> 16) * 65536.0 + vec4(x & 0xffffu);
    return floatBitsToUint(sum);
}

uvec4 to_unsigned(vec4 x, bvec4 nan) {
    bvec4 large = greaterThanEqual(x, vec4(4294967296.0));
    x = mix(x, vec4(0.0), bvec4(truth(large) | truth(nan) | truth(lessThan(x, vec4(0.0)))));
    bvec4 upper = greaterThanEqual(x, vec4(2147483648.0));
    uvec4 low = uvec4(ivec4(mix(x, x - 2147483648.0, upper)));
    return mix(low + truth(upper) * FLOAT_SIGN, uvec4(0xffffffffu), large);
}

uvec4 to_signed(vec4 x, bvec4 nan) {
    bvec4 large = greaterThanEqual(x, vec4(2147483648.0));
    bvec4 small = lessThan(x, vec4(-2147483648.0));
    x = mix(x, vec4(0.0), bvec4(truth(large) | truth(small) | truth(nan)));
    uvec4 result = mix(uvec4(ivec4(x)), uvec4(0x7fffffffu), large);
    return mix(result, uvec4(FLOAT_SIGN), small);
}

// FLOOR, CEIL, TRUNC and ROUND keep the sign, also of 0, and what is whole already or no number.
uvec4 round_to_whole(uint op, uvec4 a) {
    vec4 x = uintBitsToFloat(a);
    vec4 rounded = op == VIR_FLOOR ? floor(x) : op == VIR_CEIL ? ceil(x) : op == VIR_TRUNC ? trunc(x) : roundEven(x);
    uvec4 bits = floatBitsToUint(rounded) & ~FLOAT_SIGN | a & FLOAT_SIGN;
    return mix(bits, a, greaterThanEqual(a & FLOAT_INFINITY, uvec4(0x4b000000u)));
}

// The instructions that no two devices compute alike, with the values that all have in common.
uvec4 inexact(uint op, uvec4 a, uvec4 b, uvec4 c) {
    vec4 x = uintBitsToFloat(a), y = uintBitsToFloat(b);
    bvec4 zero = equal(a & ~FLOAT_SIGN, uvec4(0u));
    bvec4 negative = bvec4(truth(notEqual(a & FLOAT_SIGN, uvec4(0u))) & ~truth(zero));
    bvec4 infinite = equal(a, uvec4(FLOAT_INFINITY));
    switch (op) {
    case VIR_DIVF: return mix(floatBitsToUint(x / y), uvec4(FLOAT_NAN), bvec4(truth(is_nan(a)) | truth(is_nan(b))));
    case VIR_FMA:
        return mix(floatBitsToUint(fma(x, y, uintBitsToFloat(c))), uvec4(FLOAT_NAN),
            bvec4(truth(is_nan(a)) | truth(is_nan(b)) | truth(is_nan(c))));
    case VIR_SQRT: {
        uvec4 root = mix(floatBitsToUint(sqrt(x)), a, bvec4(truth(zero) | truth(infinite)));
        return mix(root, uvec4(FLOAT_NAN), bvec4(truth(negative) | truth(is_nan(a))));
    }
    case VIR_EXP2: {
        uvec4 power = mix(floatBitsToUint(exp2(x)), uvec4(FLOAT_INFINITY), greaterThanEqual(x, vec4(128.0)));
        power = mix(power, uvec4(0u), lessThan(x, vec4(-126.0)));
        return mix(power, uvec4(FLOAT_NAN), is_nan(a));
    }
    case VIR_LOG2: {
        uvec4 logarithm = mix(floatBitsToUint(log2(x)), uvec4(FLOAT_INFINITY | FLOAT_SIGN), zero);
        logarithm = mix(logarithm, a, infinite);
        return mix(logarithm, uvec4(FLOAT_NAN), bvec4(truth(negative) | truth(is_nan(a))));
    }
    }
    return uvec4(0u);
}

uvec4 lesser_float(uint op, uvec4 a, uvec4 b) {
    uvec4 ka = float_key(a), kb = float_key(b);
    bvec4 second = op == VIR_MINF ? lessThan(kb, ka) : greaterThan(kb, ka);
    return mix(a, b, bvec4(truth(is_nan(a)) | truth(second) & ~truth(is_nan(b))));
}

// The results that are no floats: comparisons and conversions.
uvec4 alu_float_to_word(uint op, uvec4 a, uvec4 b) {
    uvec4 ordered = uvec4(1u) - (truth(is_nan(a)) | truth(is_nan(b)));
    uvec4 ka = compare_key(a), kb = compare_key(b);
    switch (op) {
    case VIR_EQF: return truth(equal(ka, kb)) & ordered;
    case VIR_NEF: return uvec4(1u) - (truth(equal(ka, kb)) & ordered);
    case VIR_LTF: return truth(lessThan(ka, kb)) & ordered;
    case VIR_LEF: return truth(lessThanEqual(ka, kb)) & ordered;
    case VIR_F2U: return to_unsigned(uintBitsToFloat(a), is_nan(a));
    case VIR_F2S: return to_signed(uintBitsToFloat(a), is_nan(a));
    }
    return uvec4(0u);
}

// A result that is no number, as VIR0 has it.
uvec4 number(uvec4 x) { return mix(x, uvec4(FLOAT_NAN), is_nan(x)); }

// The results that are floats. Subnormal numbers and those that are no numbers are left as they come.
uvec4 alu_floats(uint op, uvec4 a, uvec4 b, uvec4 c) {
    precise vec4 sum = uintBitsToFloat(a) + uintBitsToFloat(op == VIR_SUBF ? b ^ FLOAT_SIGN : b);
    precise vec4 product = uintBitsToFloat(a) * uintBitsToFloat(b);
    uvec4 result = inexact(op, a, b, c);
    if (op == VIR_ADDF || op == VIR_SUBF) { result = floatBitsToUint(sum); }
    if (op == VIR_MULF) { result = floatBitsToUint(product); }
    if (op == VIR_MINF || op == VIR_MAXF) { result = lesser_float(op, a, b); }
    if (op >= VIR_FLOOR && op <= VIR_ROUND) { result = round_to_whole(op, a); }
    return result;
}

bool takes_floats(uint op) { return op >= VIR_ADDF && op != VIR_U2F && op != VIR_S2F; }

// The result of an instruction on registers, before what VIR0 says of subnormal numbers and of those that are no numbers.
uvec4 alu_plain(uint op, uvec4 a, uvec4 b, uvec4 c) {
    if (op < VIR_ADDF) { return alu_words(op, a, b, c); }
    if (op == VIR_U2F) { return from_unsigned(a); }
    if (op == VIR_S2F) { return from_unsigned(magnitude(a)) | a & FLOAT_SIGN; }
    return op >= VIR_EQF ? alu_float_to_word(op, a, b) : alu_floats(op, a, b, c);
}

// The result of an instruction on registers.
uvec4 alu(uint op, uvec4 a, uvec4 b, uvec4 c) {
    bool floats = takes_floats(op);
    if (floats) {
        a = flush(a);
        b = flush(b);
        c = flush(c);
    }
    uvec4 result = alu_plain(op, a, b, c);
    return floats && op < VIR_EQF ? number(flush(result)) : result;
}

// The same where workers branch: of each instruction the code that it needs, and no more.
#define ALU_CASE(name, op) case op: return alu(op, a, b, c);
uvec4 alu_apart(uint op, uvec4 a, uvec4 b, uvec4 c) {
    switch (op) {
    VIR_COMPUTED(ALU_CASE)
    }
    return uvec4(0u);
}
