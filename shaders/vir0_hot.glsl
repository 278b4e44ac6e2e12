// What translated programs are made of. The host (vyre-vk, `hot`) replaces the body of hot_program by calls of the functions whose names
// begin with `hot_`, which `cargo xtask build-shaders` keeps apart in the modules that are built with VYRE_HOT. What they do is what the
// interpreter does, because they call what it calls, with the instruction known when the shader is built.
//
// A hardware lane holds registers of its places in registers of its own, and so are the masks: shared memory has only what goes across lanes.

// What a translated program comes to.
const uint HOT_UNKNOWN = 0u; // it is not translated in this kernel
const uint HOT_ENDED = 1u;   // also with an access outside
const uint HOT_SHORT = 2u;   // there is not the fuel for all instructions from `at` up to the next that has an effect
const uint HOT_TRAPPED = 3u; // with the code in `at`

uint hot_program(inout Group group) { return HOT_UNKNOWN; }

// What VIR0 says of subnormal numbers and of those that are no numbers, the translator asks for where it is not known already.
#define HOT_COMPUTED(name, op) uvec4 hot_##name(const uvec4 a, const uvec4 b, const uvec4 c) { return alu_plain(op, a, b, c); }
VIR_COMPUTED(HOT_COMPUTED)

uvec4 hot_flush(const uvec4 a) { return flush(a); }

uvec4 hot_number(const uvec4 a) { return number(a); }

// The same where the module says that no compiler may take it that all floats are numbers.
#define HOT_EXACT(name, result) uvec4 hot_exact_##name(const uvec4 a, const uvec4 b, const uvec4 c) { \
    vec4 x = uintBitsToFloat(a), y = uintBitsToFloat(b), z = uintBitsToFloat(c); \
    return result; \
}
uvec4 hot_exact_subf(const uvec4 a, const uvec4 b, const uvec4 c) {
    precise vec4 difference = uintBitsToFloat(a) - uintBitsToFloat(b);
    return floatBitsToUint(difference);
}
HOT_EXACT(fma, floatBitsToUint(fma(x, y, z)))
HOT_EXACT(eqf, truth(equal(x, y)))
HOT_EXACT(nef, uvec4(1u) - truth(equal(x, y)))
HOT_EXACT(ltf, truth(lessThan(x, y)))
HOT_EXACT(lef, truth(lessThanEqual(x, y)))

// The hardware lane's place of this number.
uint hot_place(const uint number) { return LANE + number * LANES; }

uvec4 hot_get(inout Group group, const uint name, const uint place) { return special(name, place, group.claim.tile); }

// Which translation the program in shared memory belongs to.
uint hot_tag() { return s_program[VIR_HEADER_TAG]; }

// Takes the fuel of the instructions from `at` on that have no effect, and of the first behind them that has one.
bool hot_pay(inout Group group, const uint at, const uint fuel) {
    if (group.fuel < fuel) {
        group.at = at;
        return false;
    }
    group.fuel -= fuel;
    return true;
}

void hot_trap(inout Group group, const uint code) { group.at = code; }

// The constants, to scratch that the program leaves free, from word `to` on: lanes read there what they choose in fewer turns than in buffers.
void hot_keep_constants(const uint to, const uint words) {
    for (uint i = LANE; i < words; i += LANES) { s_scratch[to + i] = Words(s_memory_address[VIR_CONSTANTS]).w[i]; }
    meet();
}

bvec4 hot_inside(inout Group group, const uint op, const uint memory, const uvec4 index, const bvec4 goes, const uint place) {
    return inside_lanes(group, op, memory, index, uvec4(goes), place + PLACE_LANES);
}

uvec4 hot_load(const uint op, const uint memory, const uvec4 index, const bvec4 inside) {
    return load_elements(op, memory, index, inside);
}

void hot_store(const uint memory, const uvec4 index, const bvec4 inside, const uvec4 value) { store_words(memory, index, inside, value); }

Columns hot_load_wide(const uint memory, const uvec4 index, const bvec4 inside) { return load_wide(memory, index, inside); }

void hot_store_wide(const uint memory, const uvec4 index, const bvec4 inside, const uvec4 a, const uvec4 b, const uvec4 c, const uvec4 d) {
    store_wide(memory, index, inside, Columns(uvec4[](a, b, c, d)));
}

void hot_store_part(const uint op, const uint memory, const uvec4 index, const bvec4 inside, const uvec4 value) {
    store_parts(op, memory, index, inside, value);
}

#define HOT_ATOMIC(name, op) uvec4 hot_##name(const uint memory, const uvec4 index, const bvec4 inside, const uvec4 b, const uvec4 c) { \
    return change_words(op, memory, index, inside, b, c); \
}
VIR_ATOMICS(HOT_ATOMIC)

// All lanes meet. Bit 0: an access lay outside; bit 1: what any lane has seen.
uint hot_vote(inout Group group, const bool seen) { return vote(group, seen); }

// All lanes meet and get what one of them has.
uint hot_told(inout Group group, const uint value, const uint by) {
    if (LANE == by) { s_uniform[group.meetings % 3u] = value; }
    vote(group, false);
    return s_uniform[(group.meetings + 2u) % 3u];
}

// All lanes meet behind a loop that each left by itself. The group has gone as far as the lane that went farthest; gives that lane, and
// whether it was short of fuel. Whoever stays longer pays more; who is short has not paid for what is farthest of all.
const uint HOT_LEFT_SHORT = 0x80000000u;
uint hot_last(inout Group group, const bool is_short) {
    uint place = group.meetings % 3u;
    atomicMax(s_votes[place], (is_short ? HOT_LEFT_SHORT : 0xffffu - group.fuel << 8) | LANE);
    group.meetings += 1u;
    meet_lanes();
    if (LANE == 0u) { s_votes[(place + 2u) % 3u] = 0u; }
    uint last = s_votes[place] & (HOT_LEFT_SHORT | 0xffu);
    if (last >= HOT_LEFT_SHORT) { group.at = hot_told(group, group.at, last & 0xffu); }
    group.fuel = hot_told(group, group.fuel, last & 0xffu);
    return last;
}

bool hot_is_first() { return LANE == 0u; }

void hot_give(const uint place, const uvec4 value, const bvec4 goes) { s_exchange[place] = mix(uvec4(0u), value, goes); }

uvec4 hot_shuffled(const uvec4 lanes) {
    return uvec4(read_lane(lanes.x), read_lane(lanes.y), read_lane(lanes.z), read_lane(lanes.w));
}

// All lanes meet behind what they gave.
void hot_meet() { meet(); }

#define HOT_REDUCTION(name, op) \
    void hot_##name##_give(const uint place, const uvec4 value, const bvec4 goes) { \
        uvec4 joined = mix(uvec4(reduction_identity(op)), value, goes); \
        joined = join(op, joined, joined.zwzw); \
        s_exchange[place] = join(op, joined, joined.yyyy); \
    } \
    uint hot_##name() { \
        for (uint places = PLACES / 2u; places > 0u; places /= 2u) { \
            meet(); \
            for (uint place = LANE; place < places; place += LANES) { \
                s_exchange[place] = join(op, s_exchange[place], s_exchange[place + places]); \
            } \
        } \
        meet(); \
        return s_exchange[0].x; \
    }
VIR_REDUCTIONS(HOT_REDUCTION)

// Sums by doubling of what the lanes gave.
void hot_scan() {
    for (uint pass = 1u; pass < 7u; ++pass) {
        meet();
        for (uint place = LANE; place < PLACES; place += LANES) { double_sum(pass, place); }
    }
    meet();
}

uvec4 hot_scanned(const uint place) { return scanned(place); }

void hot_print(inout Group group, const uint format, const uint a, const uint b) {
    print_line(group.claim, format, LANE == 4u ? a : b);
}

// The fault of a program that ran, as the interpreter finds it.
Verdict verdict_of(uint outcome, inout Group group) {
    if (hot_vote(group, false) != 0u) { return outside(group); }
    if (outcome == HOT_TRAPPED) { return Verdict(FAULT_TRAP, group.at); }
    if (outcome != HOT_SHORT) { return ACCEPTED; }
    for (;; ++group.at) {
        uint fuel = step_of(unpack(instruction_at(group.at))).fuel;
        if (group.fuel < fuel) { return Verdict(FAULT_OUT_OF_FUEL, group.at); }
        group.fuel -= fuel;
    }
}
