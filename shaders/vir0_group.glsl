// A group of VIR0: what its lanes hold, and one instruction on it. The counterpart of `exec.rs`.
//
// Lane `l` of the group is component `l / PLACES` of place `l % PLACES`, and place `p` belongs to the hardware lane `p mod LANES`: what an
// instruction does within a lane needs no meeting. An instruction takes one pass over the places or more. What goes across lanes meets at the
// end of each pass; what goes to memory, before another access to the same memory that it must not overtake.

const uint PLACES = VIR_GROUP / 4u;
const uvec4 PLACE_LANES = uvec4(0u, PLACES, 2u * PLACES, 3u * PLACES);

// Places of a hardware lane: the n-th is LANE + n * LANES.
const uint TURNS = (PLACES + LANES - 1u) / LANES;

// The hardware lane's part of each vector, and all scalars, which each lane holds alike. Nobody else reads them: in shared memory they
// would cost most of the workers.
uvec4 registers[VIR_VECTORS * TURNS + VIR_SCALARS];
// Bit d of a lane's word: it is active at depth d of masks.
uvec4 masks[TURNS];
// What goes across lanes: two buffers, one read while the other is written.
shared uvec4 s_exchange[2u * PLACES];
// Address of the program's instructions, and those ahead of the group as the lanes have unpacked them, one each: the next ones are
// written to one half while lanes may still read the other.
shared uvec2 s_code;
shared uvec4 s_steps[HOST_THREADS ? 1u : 2u * LANES];
shared uint s_program[VIR_HEADER_WORDS];
// Memory by place number; the scratch has no address.
shared uvec2 s_memory_address[VIR_SCRATCH + 1u];
shared uint s_memory_bytes[VIR_SCRATCH + 1u];
// What the lanes vote, and what lane 0 hands round: in turn one is written, one is read, one is cleared.
shared uint s_votes[3];
shared uint s_uniform[3];
// The first lane whose access lies outside, and its offset.
shared uint s_outside_lane;
shared uint s_outside_offset;

// An instruction, unpacked.
struct Step {
    uint op;
    uint d;
    uint a;
    uint b;
    uint c;
    uint word;
    uint fuel;
    uint passes;
    uint conflicts; // accesses that must not be under way when it begins
    uint opens;     // the access that it is
    bool vector;    // in each lane, by the mask
};

// What all hardware lanes have alike, but for the two that say `mine`.
struct Group {
    uint at;
    uint pass;
    uint depth;
    uint fuel;
    uint meetings;
    uint open; // accesses since the lanes last met
    Claim claim; // of the tile; the clock is each lane's own
    uint mine_outside_lane;
    uint mine_outside_offset;
};

// Accesses since the lanes last met: by kind of memory, and whether they are known to lie inside. Constants never change.
const uint LOADED = 1u;
const uint STORED = 2u;
const uint ADDED = 4u;
const uint SCRATCH_SHIFT = 3u;
const uint UNCHECKED = 64u;

bool is_memory(uint op) { return op >= VIR_LD8 && op <= VIR_ATCAS; }
bool is_store(uint op) { return op >= VIR_ST8 && op <= VIR_ST128; }
bool is_reduction(uint op) { return op >= VIR_SUM && op <= VIR_ALL; }
bool is_fourfold(uint op) {
    return op >= VIR_ATADD && op <= VIR_ATCAS || op == VIR_ST8 || op == VIR_ST16 || op == VIR_LD128 || op == VIR_ST128;
}

bool works_in_lanes(uint op, uint d, uint a, uint b) {
    // The ends only say where the group goes on, and at what depth.
    if (op >= VIR_IF) { return op != VIR_ENDIF && op != VIR_ENDLOOP && op != VIR_END && a < VIR_VECTORS; }
    return is_store(op) ? a < VIR_VECTORS || b < VIR_VECTORS : d < VIR_VECTORS;
}

uvec2 instruction_at(uint at) { return uvec2(Words(s_code).w[2u * at], Words(s_code).w[2u * at + 1u]); }

uint step_fuel(uint op, bool vector) {
    if (is_reduction(op)) { return VIR_REDUCE_FUEL; }
    if (op == VIR_SCAN) { return VIR_SCAN_FUEL; }
    if (op == VIR_SHUFFLE) { return 2u * VIR_SWEEP; }
    if (op == VIR_PRINTF) { return VIR_PRINT_FUEL; }
    if (!vector) { return VIR_STEP; }
    return is_fourfold(op) ? 4u * VIR_SWEEP : VIR_SWEEP;
}

uint step_passes(uint op, bool vector) {
    if (is_reduction(op) || op == VIR_SCAN) { return 8u; }
    if (op == VIR_SHUFFLE) { return 2u; }
    return HOST_THREADS && vector && is_fourfold(op) ? 4u : 1u;
}

// Accesses that the instruction must not overtake, and the one that it is.
uvec2 hazards(uint op, uint memory) {
    if (op == VIR_PRINTF || op == VIR_END) { return uvec2(UNCHECKED, 0u); }
    if (!is_memory(op)) { return uvec2(0u); }
    if (memory == VIR_CONSTANTS) { return uvec2(0u, UNCHECKED); }
    bool scratch = memory == VIR_SCRATCH;
    uint shift = scratch ? SCRATCH_SHIFT : 0u;
    if (op <= VIR_LD128) { return uvec2((STORED | ADDED) << shift, LOADED << shift | UNCHECKED); }
    // Additions come to the same in any order. What a program leaves in its resources is from before its first access outside.
    bool adds = op == VIR_ATADD;
    uint conflicts = (adds ? LOADED | STORED : LOADED | STORED | ADDED) << shift | (scratch ? 0u : UNCHECKED);
    return uvec2(conflicts, (adds ? ADDED : STORED) << shift | UNCHECKED);
}

// An instruction with all that follows from it, so that it is worked out once for many steps.
uvec4 unpack(uvec2 words) {
    uint op = words.x & 0xffu, d = words.x >> 8 & 0xffu, a = words.x >> 16 & 0xffu, b = words.x >> 24;
    uint c = op == VIR_ATCAS ? words.y >> 8 & 0xffu : op == VIR_FMA || op == VIR_SELECT ? words.y : VIR_IMMEDIATE;
    bool vector = works_in_lanes(op, d, a, b);
    uvec2 access = hazards(op, words.y & 0xffu);
    uint costs = step_fuel(op, vector) | step_passes(op, vector) << 8;
    return uvec4(op | d << 8 | a << 14 | b << 20 | c << 26, words.y, costs, access.x | access.y << 8 | uint(vector) << 16);
}

Step step_of(uvec4 w) {
    return Step(w.x & 0xffu, w.x >> 8 & 0x3fu, w.x >> 14 & 0x3fu, w.x >> 20 & 0x3fu, w.x >> 26, w.y, w.z & 0xffu, w.z >> 8,
        w.w & 0xffu, w.w >> 8 & 0xffu, w.w >> 16 != 0u);
}

// The instruction of the group's place in the program. `ahead` is the first of those that the lanes have unpacked, and in which half they lie.
Step next_step(Group group, inout uvec2 ahead) {
    if (HOST_THREADS) { return step_of(unpack(instruction_at(group.at))); }
    if (group.at - ahead.x >= LANES) {
        ahead = uvec2(group.at, LANES - ahead.y);
        // Behind the last one is no memory that must exist.
        uint last = s_program[VIR_HEADER_INSTRUCTIONS] - 1u;
        s_steps[ahead.y + LANE] = unpack(instruction_at(min(group.at + LANE, last)));
        meet();
    }
    return step_of(s_steps[ahead.y + group.at - ahead.x]);
}

// Places of the pass. What is done once for the group is done once by each hardware lane; memory, by the first.
uint pass_places(Step s, uint pass) {
    if (is_reduction(s.op)) { return pass == 0u ? PLACES : PLACES >> pass - 1u; }
    if (s.vector || s.op == VIR_SHUFFLE && pass == 0u) { return PLACES; }
    return is_memory(s.op) ? 1u : LANES;
}

bvec4 active_lanes(uint turn, uint depth) { return bvec4(masks[turn] >> depth & 1u); }

uint register_at(uint code, uint turn) { return code < VIR_VECTORS ? code * TURNS + turn : VIR_VECTORS * (TURNS - 1u) + code; }

uvec4 fetch(uint code, uint turn, uint word) {
    return mix(registers[register_at(min(code, VIR_IMMEDIATE - 1u), turn)], uvec4(word), bvec4(code == VIR_IMMEDIATE));
}

// To the active lanes of a vector, or to a scalar.
void put(uint d, uint turn, uvec4 value, uint depth) {
    uint at = register_at(d, turn);
    if (d < VIR_VECTORS && depth != 0u) { value = mix(registers[at], value, active_lanes(turn, depth)); }
    registers[at] = value;
}

uvec4 special(uint name, uint place, uint tile) {
    uint high, low;
    umulExtended(tile, s_slot[SLOT_TILE_SPAN], high, low);
    uint first = high != 0u ? s_slot[SLOT_LENGTH] : min(low, s_slot[SLOT_LENGTH]);
    if (name == VIR_GET_LANE) { return place + PLACE_LANES; }
    if (name == VIR_GET_ITEM) { return first + place + PLACE_LANES; }
    if (name == VIR_GET_TILE) { return uvec4(tile); }
    if (name == VIR_GET_TILES) { return uvec4(s_slot[SLOT_TILES]); }
    if (name == VIR_GET_LENGTH) { return uvec4(s_slot[SLOT_LENGTH]); }
    if (name == VIR_GET_SPAN) { return uvec4(s_slot[SLOT_TILE_SPAN]); }
    if (name == VIR_GET_FIRST) { return uvec4(first); }
    if (name == VIR_GET_COUNT) { return uvec4(min(s_slot[SLOT_TILE_SPAN], s_slot[SLOT_LENGTH] - first)); }
    if (name >= VIR_GET_BYTES0) { return uvec4(s_memory_bytes[name - VIR_GET_BYTES0]); }
    uint further = max(s_program[VIR_HEADER_RESOURCES], 2u) - 2u;
    return uvec4(s_slot[min(SLOT_ARGS + 1u + further + name - VIR_GET_P0, SLOT_WORDS - 1u)]);
}

// Component `k`, without an index that the compiler would have to go through memory for.
uint component(uvec4 v, uint k) { return k == 0u ? v.x : k == 1u ? v.y : k == 2u ? v.z : v.w; }

uvec4 load_words(uint memory, uvec4 word, bvec4 inside) {
    uvec4 value = uvec4(0u);
    if (memory == VIR_SCRATCH) {
        if (inside.x) { value.x = s_scratch[word.x]; }
        if (inside.y) { value.y = s_scratch[word.y]; }
        if (inside.z) { value.z = s_scratch[word.z]; }
        if (inside.w) { value.w = s_scratch[word.w]; }
    } else {
        uvec2 address = s_memory_address[memory];
        if (inside.x) { value.x = Words(address).w[word.x]; }
        if (inside.y) { value.y = Words(address).w[word.y]; }
        if (inside.z) { value.z = Words(address).w[word.z]; }
        if (inside.w) { value.w = Words(address).w[word.w]; }
    }
    return value;
}

void store_words(uint memory, uvec4 word, bvec4 inside, uvec4 value) {
    if (memory == VIR_SCRATCH) {
        if (inside.x) { s_scratch[word.x] = value.x; }
        if (inside.y) { s_scratch[word.y] = value.y; }
        if (inside.z) { s_scratch[word.z] = value.z; }
        if (inside.w) { s_scratch[word.w] = value.w; }
    } else {
        uvec2 address = s_memory_address[memory];
        if (inside.x) { Words(address).w[word.x] = value.x; }
        if (inside.y) { Words(address).w[word.y] = value.y; }
        if (inside.z) { Words(address).w[word.z] = value.z; }
        if (inside.w) { Words(address).w[word.w] = value.w; }
    }
}

uint change_scratch(uint op, uint word, uint b, uint c) {
    switch (op) {
    case VIR_ATADD: return atomicAdd(s_scratch[word], b);
    case VIR_ATMIN: return atomicMin(s_scratch[word], b);
    case VIR_ATMAX: return atomicMax(s_scratch[word], b);
    case VIR_ATAND: return atomicAnd(s_scratch[word], b);
    case VIR_ATOR: return atomicOr(s_scratch[word], b);
    case VIR_ATXOR: return atomicXor(s_scratch[word], b);
    case VIR_ATXCHG: return atomicExchange(s_scratch[word], b);
    }
    return atomicCompSwap(s_scratch[word], b, c);
}

uint change_resource(uint op, uvec2 address, uint word, uint b, uint c) {
    switch (op) {
    case VIR_ATADD: return atomicAdd(Words(address).w[word], b, RELAXED);
    case VIR_ATMIN: return atomicMin(Words(address).w[word], b, RELAXED);
    case VIR_ATMAX: return atomicMax(Words(address).w[word], b, RELAXED);
    case VIR_ATAND: return atomicAnd(Words(address).w[word], b, RELAXED);
    case VIR_ATOR: return atomicOr(Words(address).w[word], b, RELAXED);
    case VIR_ATXOR: return atomicXor(Words(address).w[word], b, RELAXED);
    case VIR_ATXCHG: return atomicExchange(Words(address).w[word], b, RELAXED);
    }
    return atomicCompSwap(Words(address).w[word], b, c, gl_ScopeDevice, 0, 0, 0, 0);
}

uint change_word(uint op, uint memory, uint word, uint b, uint c) {
    if (memory == VIR_SCRATCH) { return change_scratch(op, word, b, c); }
    return change_resource(op, s_memory_address[memory], word, b, c);
}

// Binary logarithm of the bytes of an element.
uint width_bits(uint op) {
    if (op == VIR_LD8 || op == VIR_ST8) { return 0u; }
    if (op == VIR_LD16 || op == VIR_ST16) { return 1u; }
    return op == VIR_LD128 || op == VIR_ST128 ? 4u : 2u;
}

// LD8, LD16 and LD32: an element for each of four lanes.
uvec4 load_elements(uint op, uint memory, uvec4 index, bvec4 inside) {
    uint shift = 2u - width_bits(op);
    uint bits = 32u >> shift;
    uvec4 word = load_words(memory, index >> shift, inside);
    return word >> (index & (1u << shift) - 1u) * bits & 0xffffffffu >> 32u - bits;
}

// ST8 and ST16: other lanes may change the rest of the word.
void store_part(uint op, uint memory, uint index, uint value) {
    uint shift = 2u - width_bits(op);
    uint bits = 32u >> shift;
    uint place = (index & (1u << shift) - 1u) * bits;
    uint mask = (1u << bits) - 1u << place;
    change_word(VIR_ATAND, memory, index >> shift, ~mask, 0u);
    change_word(VIR_ATOR, memory, index >> shift, value << place & mask, 0u);
}

void store_parts(uint op, uint memory, uvec4 index, bvec4 inside, uvec4 value) {
    if (inside.x) { store_part(op, memory, index.x, value.x); }
    if (inside.y) { store_part(op, memory, index.y, value.y); }
    if (inside.z) { store_part(op, memory, index.z, value.z); }
    if (inside.w) { store_part(op, memory, index.w, value.w); }
}

#define CHANGE_CASE(name, op) case op: \
    if (inside.x) { before.x = change_word(op, memory, index.x, b.x, c.x); } \
    if (inside.y) { before.y = change_word(op, memory, index.y, b.y, c.y); } \
    if (inside.z) { before.z = change_word(op, memory, index.z, b.z, c.z); } \
    if (inside.w) { before.w = change_word(op, memory, index.w, b.w, c.w); } \
    break;
uvec4 change_words(uint op, uint memory, uvec4 index, bvec4 inside, uvec4 b, uvec4 c) {
    uvec4 before = uvec4(0u);
    switch (op) {
    VIR_ATOMICS(CHANGE_CASE)
    }
    return before;
}

// Notes the lane whose access lies outside, if none before it is known.
void note_outside(inout Group group, uint lane, uint index, uint width) {
    if (lane < group.mine_outside_lane) {
        group.mine_outside_lane = lane;
        group.mine_outside_offset = index > 0xffffffffu >> width ? 0xffffffffu : index << width;
    }
}

// Which of the lanes that take part lie inside. The first that does not is noted: of the first instruction that has one.
bvec4 inside_lanes(inout Group group, uint op, uint memory, uvec4 index, uvec4 takes_part, uvec4 lanes) {
    uint width = width_bits(op);
    uvec4 fits = truth(lessThan(index, uvec4(s_memory_bytes[memory] >> width)));
    uvec4 outside = takes_part & ~fits;
    lanes += 0xffffu - group.fuel << 8;
    if (outside.x != 0u) { note_outside(group, lanes.x, index.x, width); }
    if (outside.y != 0u) { note_outside(group, lanes.y, index.y, width); }
    if (outside.z != 0u) { note_outside(group, lanes.z, index.z, width); }
    if (outside.w != 0u) { note_outside(group, lanes.w, index.w, width); }
    return bvec4(takes_part & fits);
}

// LD128 and ST128: word `i` of each element.
void access_column(Step s, Group group, uint turn, uvec4 index, bvec4 inside, uint i) {
    uint memory = s.word & 0xffu;
    if (s.op == VIR_ST128) {
        store_words(memory, index * 4u + i, inside, fetch(s.b + i, turn, 0u));
    } else {
        put(s.d + i, turn, load_words(memory, index * 4u + i, inside), group.depth);
    }
}

// And all four, as the memory moves them if they lie so: a column is a word of each lane's element.
bool lies_wide(uint memory) { return !HOST_THREADS && memory != VIR_SCRATCH && (s_memory_address[memory].x & 15u) == 0u; }

struct Columns {
    uvec4 c[4];
};

Columns load_wide(uint memory, uvec4 index, bvec4 inside) {
    Columns columns;
    if (lies_wide(memory)) {
        Vectors from = Vectors(s_memory_address[memory]);
        uvec4 x = uvec4(0u), y = uvec4(0u), z = uvec4(0u), w = uvec4(0u);
        if (inside.x) { x = from.v[index.x]; }
        if (inside.y) { y = from.v[index.y]; }
        if (inside.z) { z = from.v[index.z]; }
        if (inside.w) { w = from.v[index.w]; }
        columns.c = uvec4[](uvec4(x.x, y.x, z.x, w.x), uvec4(x.y, y.y, z.y, w.y), uvec4(x.z, y.z, z.z, w.z), uvec4(x.w, y.w, z.w, w.w));
    } else {
        uvec4 first = index * 4u;
        columns.c = uvec4[](load_words(memory, first, inside), load_words(memory, first + 1u, inside),
            load_words(memory, first + 2u, inside), load_words(memory, first + 3u, inside));
    }
    return columns;
}

void store_wide(uint memory, uvec4 index, bvec4 inside, Columns columns) {
    if (lies_wide(memory)) {
        Vectors to = Vectors(s_memory_address[memory]);
        uvec4 a = columns.c[0], b = columns.c[1], c = columns.c[2], d = columns.c[3];
        if (inside.x) { to.v[index.x] = uvec4(a.x, b.x, c.x, d.x); }
        if (inside.y) { to.v[index.y] = uvec4(a.y, b.y, c.y, d.y); }
        if (inside.z) { to.v[index.z] = uvec4(a.z, b.z, c.z, d.z); }
        if (inside.w) { to.v[index.w] = uvec4(a.w, b.w, c.w, d.w); }
    } else {
        uvec4 first = index * 4u;
        store_words(memory, first, inside, columns.c[0]);
        store_words(memory, first + 1u, inside, columns.c[1]);
        store_words(memory, first + 2u, inside, columns.c[2]);
        store_words(memory, first + 3u, inside, columns.c[3]);
    }
}

void access_wide(Step s, Group group, uint turn, uvec4 index, bvec4 inside) {
    uint memory = s.word & 0xffu;
    Columns columns;
    if (s.op == VIR_ST128) {
        // Not a loop: TURN_FUEL bears few, and custom operations have what the kernel leaves of them.
        columns.c = uvec4[](fetch(s.b, turn, 0u), fetch(s.b + 1u, turn, 0u), fetch(s.b + 2u, turn, 0u), fetch(s.b + 3u, turn, 0u));
        store_wide(memory, index, inside, columns);
    } else {
        columns = load_wide(memory, index, inside);
        for (uint i = 0u; i < 4u; ++i) { put(s.d + i, turn, columns.c[i], group.depth); }
    }
}

// ST8, ST16 and atomics, of one component.
void access_lane(Step s, Group group, uint turn, uvec4 index, bvec4 inside, uint i) {
    if (component(uvec4(inside), i) == 0u) { return; }
    uint memory = s.word & 0xffu;
    uint at = component(index, i);
    uint b = component(fetch(s.b, turn, 0u), i);
    if (is_store(s.op)) {
        store_part(s.op, memory, at, b);
        return;
    }
    uint before = change_word(s.op, memory, at, b, component(fetch(s.c, turn, 0u), i));
    if (s.vector) { registers[register_at(s.d, turn)][i] = before; } else { s_uniform[group.meetings % 3u] = before; }
}

// And of all four.
void access_lanes(Step s, Group group, uint turn, uvec4 index, bvec4 inside) {
    uint memory = s.word & 0xffu;
    uvec4 b = fetch(s.b, turn, 0u);
    if (is_store(s.op)) {
        store_parts(s.op, memory, index, inside, b);
        return;
    }
    uvec4 before = change_words(s.op, memory, index, inside, b, fetch(s.c, turn, 0u));
    if (s.vector) { put(s.d, turn, before, group.depth); } else { s_uniform[group.meetings % 3u] = before.x; }
}

// LD8, LD16, LD32 and ST32: four lanes at once.
void access_whole(Step s, Group group, uint turn, uvec4 index, bvec4 inside) {
    uint memory = s.word & 0xffu;
    if (s.op == VIR_ST32) {
        store_words(memory, index, inside, fetch(s.b, turn, 0u));
        return;
    }
    uvec4 value = load_elements(s.op, memory, index, inside);
    if (s.vector) { put(s.d, turn, value, group.depth); } else { s_uniform[group.meetings % 3u] = value.x; }
}

// Lanes whose access lies inside do it. Host threads run through all code, used or not, so they take a quarter of what is fourfold in a pass.
void access_place(Step s, inout Group group, uint turn) {
    bool wide = s.op == VIR_LD128 || s.op == VIR_ST128;
    uvec4 index = fetch(s.a, turn, 0u) + (s.word >> 16);
    uvec4 takes_part = s.vector ? truth(active_lanes(turn, group.depth)) : uvec4(1u, 0u, 0u, 0u);
    // The index of a lane that had its pass may have been overwritten by what it got.
    if (HOST_THREADS && is_fourfold(s.op) && !wide) { takes_part &= truth(equal(uvec4(0u, 1u, 2u, 3u), uvec4(group.pass))); }
    uvec4 lanes = s.vector ? LANE + turn * LANES + PLACE_LANES : uvec4(0u);
    bvec4 inside = inside_lanes(group, s.op, s.word & 0xffu, index, takes_part, lanes);
    if (!is_fourfold(s.op)) {
        access_whole(s, group, turn, index, inside);
    } else if (HOST_THREADS) {
        if (wide) { access_column(s, group, turn, index, inside, group.pass); } else { access_lane(s, group, turn, index, inside, group.pass); }
    } else if (wide) {
        access_wide(s, group, turn, index, inside);
    } else {
        access_lanes(s, group, turn, index, inside);
    }
}

uint reduction_identity(uint op) {
    return op == VIR_LEASTU || op == VIR_ALL ? 0xffffffffu : op == VIR_LEASTF ? FLOAT_INFINITY
        : op == VIR_MOSTF ? FLOAT_INFINITY | FLOAT_SIGN : 0u;
}

// What a reduction joins two lanes by.
uvec4 join(uint op, uvec4 a, uvec4 b) {
    switch (op) {
    case VIR_SUM: return a + b;
    case VIR_SUMF: return alu(VIR_ADDF, a, b, uvec4(0u));
    case VIR_LEASTU: return min(a, b);
    case VIR_MOSTU: return max(a, b);
    case VIR_LEASTF: return alu(VIR_MINF, a, b, uvec4(0u));
    case VIR_MOSTF: return alu(VIR_MAXF, a, b, uvec4(0u));
    case VIR_ANY: return a | b;
    }
    return a & b;
}

// The components of each place, and then the places by halves.
void reduce_place(Step s, Group group, uint turn) {
    uint place = LANE + turn * LANES;
    uvec4 a = s_exchange[place];
    uvec4 b = a.yyyy;
    if (group.pass == 0u) {
        a = mix(uvec4(reduction_identity(s.op)), fetch(s.a, turn, 0u), active_lanes(turn, group.depth));
        b = a.zwzw;
    } else if (group.pass > 1u) {
        b = s_exchange[place + (PLACES >> group.pass - 1u)];
    }
    a = join(s.op, a, b);
    s_exchange[place] = a;
    if (group.pass == 7u) { s_uniform[group.meetings % 3u] = a.x; }
}

// Instructions on registers.
void compute_place(Step s, Group group, uint turn) {
    uvec4 a = fetch(s.a, turn, s.word), b = fetch(s.b, turn, s.word), c = uvec4(0u);
    if (HOST_THREADS || s.c != VIR_IMMEDIATE) { c = fetch(s.c, turn, 0u); }
    put(s.d, turn, HOST_THREADS ? alu(s.op, a, b, c) : alu_apart(s.op, a, b, c), group.depth);
}

// SCAN: each component on its own, by doubling, and then the sums of the components before it.
void double_sum(uint pass, uint place) {
    uint from = (pass & 1u ^ 1u) * PLACES;
    uint to = (pass & 1u) * PLACES;
    uint stride = 1u << pass - 1u;
    s_exchange[to + place] = s_exchange[from + place] + (place >= stride ? s_exchange[from + place - stride] : uvec4(0u));
}

uvec4 scanned(uint place) {
    uvec4 sums = s_exchange[PLACES - 1u];
    return s_exchange[place] + uvec4(0u, sums.x, sums.x + sums.y, sums.x + sums.y + sums.z);
}

void scan_place(Step s, Group group, uint turn) {
    uint place = LANE + turn * LANES;
    if (group.pass == 0u) {
        s_exchange[place] = mix(uvec4(0u), fetch(s.a, turn, 0u), active_lanes(turn, group.depth));
    } else if (group.pass < 7u) {
        double_sum(group.pass, place);
    } else {
        put(s.d, turn, scanned(place), group.depth);
    }
}

uint read_lane(uint lane) { return component(s_exchange[lane % PLACES], lane / PLACES % 4u); }

void shuffle_place(Step s, Group group, uint turn) {
    uint place = LANE + turn * LANES;
    if (group.pass == 0u) {
        s_exchange[place] = mix(uvec4(0u), fetch(s.a, turn, 0u), active_lanes(turn, group.depth));
    } else {
        uvec4 lanes = fetch(s.b, turn, s.word);
        put(s.d, turn, uvec4(read_lane(lanes.x), read_lane(lanes.y), read_lane(lanes.z), read_lane(lanes.w)), group.depth);
    }
}

// Branches and loops change the masks of their depth; something is seen if a lane goes on, breaks or traps.
bool control_place(Step s, Group group, uint turn) {
    bool conditional = s.op == VIR_IF || s.op == VIR_BREAK || s.op == VIR_TRAP;
    uvec4 condition = conditional ? truth(notEqual(fetch(s.a, turn, 0u), uvec4(0u))) : uvec4(1u);
    if (!s.vector) { return condition.x != 0u; }
    uvec4 mask = masks[turn];
    if (s.op == VIR_TRAP) { return any(notEqual(mask >> group.depth & condition, uvec4(0u))); }
    if (s.op == VIR_IF || s.op == VIR_ELSE || s.op == VIR_LOOP) {
        uvec4 goes = s.op == VIR_ELSE ? ~mask >> s.d & 1u : condition;
        masks[turn] = mask & ~(1u << s.d) | (mask >> s.d - 1u & goes) << s.d;
    }
    if (s.op != VIR_BREAK) { return false; }
    mask = mix(mask, mask & (1u << s.d) - 1u, bvec4(mask >> group.depth & condition));
    masks[turn] = mask;
    return any(notEqual(mask >> s.d & 1u, uvec4(0u)));
}

// One of the lane's places in one pass. Gives whether it sees what is to be voted on.
bool run_place(Step s, inout Group group, uint turn) {
    if (HOST_THREADS && s.op < VIR_GET) {
        compute_place(s, group, turn);
    } else if (s.op == VIR_GET) {
        put(s.d, turn, special(s.word, LANE + turn * LANES, group.claim.tile), group.depth);
    } else if (is_memory(s.op)) {
        access_place(s, group, turn);
    } else if (is_reduction(s.op)) {
        reduce_place(s, group, turn);
    } else if (s.op == VIR_SCAN) {
        scan_place(s, group, turn);
    } else if (s.op == VIR_SHUFFLE) {
        shuffle_place(s, group, turn);
    } else {
        return control_place(s, group, turn);
    }
    return false;
}
