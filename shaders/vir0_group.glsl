// A group of VIR0: what its lanes hold, and one instruction on it. The counterpart of `exec.rs`.
//
// Lane `l` of the group is component `l / PLACES` of place `l % PLACES`, and place `p` belongs to the hardware lane `p mod LANES`: what an
// instruction does within a lane needs no meeting. An instruction takes one pass over the places or more; what goes across lanes, or
// to memory, meets at the end of each pass.

const uint PLACES = VIR_GROUP / 4u;
const uvec4 PLACE_LANES = uvec4(0u, PLACES, 2u * PLACES, 3u * PLACES);

// Of one element where the kernel has no EXEC: what it does not use must not cost occupancy.
shared uvec4 s_vectors[HAS_EXEC ? VIR_VECTORS * PLACES : 1u];
// Bit d of a lane's word: it is active at depth d of masks.
shared uvec4 s_masks[HAS_EXEC ? PLACES : 1u];
// What goes across lanes: two buffers, one read while the other is written.
shared uvec4 s_exchange[HAS_EXEC ? 2u * PLACES : 1u];
// Address of the program's instructions.
shared uvec2 s_code;
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

// Each lane has the same.
uint scalars[VIR_SCALARS];

struct Step {
    uint op;
    uint d;
    uint a;
    uint b;
    uint c;
    uint word;
    bool vector; // in each lane, by the mask
};

// What all hardware lanes have alike, but for the two that say `mine`.
struct Group {
    uint at;
    uint pass;
    uint depth;
    uint fuel;
    uint meetings;
    uint tile;
    uint mine_outside_lane;
    uint mine_outside_offset;
};

bool is_memory(uint op) { return op >= VIR_LD8 && op <= VIR_ATCAS; }
bool is_store(uint op) { return op >= VIR_ST8 && op <= VIR_ST128; }
bool is_reduction(uint op) { return op >= VIR_SUM && op <= VIR_ALL; }
bool is_fourfold(uint op) {
    return op >= VIR_ATADD && op <= VIR_ATCAS || op == VIR_ST8 || op == VIR_ST16 || op == VIR_LD128 || op == VIR_ST128;
}

bool works_in_lanes(uint op, uint d, uint a, uint b) {
    if (op >= VIR_IF) { return op != VIR_ENDLOOP && op != VIR_END && a < VIR_VECTORS; }
    return is_store(op) ? a < VIR_VECTORS || b < VIR_VECTORS : d < VIR_VECTORS;
}

uvec2 instruction_at(uint at) { return uvec2(Words(s_code).w[2u * at], Words(s_code).w[2u * at + 1u]); }

Step decode(uvec2 words) {
    uint op = words.x & 0xffu, d = words.x >> 8 & 0xffu, a = words.x >> 16 & 0xffu, b = words.x >> 24;
    uint c = op == VIR_ATCAS ? words.y >> 8 & 0xffu : op == VIR_FMA || op == VIR_SELECT ? words.y : VIR_IMMEDIATE;
    return Step(op, d, a, b, c, words.y, works_in_lanes(op, d, a, b));
}

uint step_fuel(Step s) {
    if (is_reduction(s.op)) { return VIR_REDUCE_FUEL; }
    if (s.op == VIR_SCAN) { return VIR_SCAN_FUEL; }
    if (s.op == VIR_SHUFFLE) { return 2u * VIR_SWEEP; }
    if (s.op == VIR_PRINTF) { return VIR_PRINT_FUEL; }
    if (s.op == VIR_ENDIF || !s.vector) { return VIR_STEP; }
    return is_fourfold(s.op) ? 4u * VIR_SWEEP : VIR_SWEEP;
}

uint step_passes(Step s) {
    if (is_reduction(s.op) || s.op == VIR_SCAN) { return 8u; }
    if (s.op == VIR_SHUFFLE) { return 2u; }
    return s.vector && is_fourfold(s.op) ? 4u : 1u;
}

// Places of the pass. What is done once for the group is done once by each hardware lane; memory, by the first.
uint pass_places(Step s, uint pass) {
    if (is_reduction(s.op)) { return pass == 0u ? PLACES : PLACES >> pass - 1u; }
    if (s.vector || s.op == VIR_SHUFFLE && pass == 0u) { return PLACES; }
    return is_memory(s.op) ? 1u : LANES;
}

bvec4 active_lanes(uint place, uint depth) { return bvec4(s_masks[place] >> depth & 1u); }

uvec4 fetch(uint code, uint place, uint word) {
    if (code < VIR_VECTORS) { return s_vectors[code * PLACES + place]; }
    return uvec4(code < VIR_IMMEDIATE ? scalars[code - VIR_VECTORS] : word);
}

// To the active lanes of a vector, or to a scalar.
void put(uint d, uint place, uvec4 value, uint depth) {
    if (d < VIR_VECTORS) {
        uint at = d * PLACES + place;
        s_vectors[at] = depth == 0u ? value : mix(s_vectors[at], value, active_lanes(place, depth));
    } else {
        scalars[d - VIR_VECTORS] = value.x;
    }
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

uint load_word(uint memory, uint word) {
    return memory == VIR_SCRATCH ? s_scratch[word] : Words(s_memory_address[memory]).w[word];
}

void store_word(uint memory, uint word, uint value) {
    if (memory == VIR_SCRATCH) { s_scratch[word] = value; } else { Words(s_memory_address[memory]).w[word] = value; }
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

// LD8, LD16 and LD32: the bits of one element.
uint load_element(uint op, uint memory, uint index) {
    uint shift = 2u - width_bits(op);
    uint word = load_word(memory, index >> shift);
    uint bits = 32u >> shift;
    return shift == 0u ? word : word >> (index & (1u << shift) - 1u) * bits & (1u << bits) - 1u;
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

// Notes the lane whose access lies outside, if none before it is known.
void note_outside(inout Group group, uint lane, uint index, uint width) {
    if (lane < group.mine_outside_lane) {
        group.mine_outside_lane = lane;
        group.mine_outside_offset = index > 0xffffffffu >> width ? 0xffffffffu : index << width;
    }
}

// Which of the lanes that take part lie inside; the first that does not is noted.
bvec4 inside_lanes(inout Group group, uint op, uint memory, uvec4 index, uvec4 takes_part, uvec4 lanes) {
    uint width = width_bits(op);
    uvec4 fits = truth(lessThan(index, uvec4(s_memory_bytes[memory] >> width)));
    uvec4 outside = takes_part & ~fits;
    if (outside.x != 0u) { note_outside(group, lanes.x, index.x, width); }
    if (outside.y != 0u) { note_outside(group, lanes.y, index.y, width); }
    if (outside.z != 0u) { note_outside(group, lanes.z, index.z, width); }
    if (outside.w != 0u) { note_outside(group, lanes.w, index.w, width); }
    return bvec4(takes_part & fits);
}

void load_elements(uint op, uint memory, uvec4 index, bvec4 inside, inout uvec4 value) {
    if (inside.x) { value.x = load_element(op, memory, index.x); }
    if (inside.y) { value.y = load_element(op, memory, index.y); }
    if (inside.z) { value.z = load_element(op, memory, index.z); }
    if (inside.w) { value.w = load_element(op, memory, index.w); }
}

void store_words(uint memory, uvec4 index, bvec4 inside, uvec4 value) {
    if (inside.x) { store_word(memory, index.x, value.x); }
    if (inside.y) { store_word(memory, index.y, value.y); }
    if (inside.z) { store_word(memory, index.z, value.z); }
    if (inside.w) { store_word(memory, index.w, value.w); }
}

// The pass of one of four: a lane of each place, or a word of each element.
void access_part(Step s, Group group, uint place, uvec4 index, bvec4 inside) {
    uint memory = s.word & 0xffu;
    uint pass = group.pass;
    if (s.op == VIR_LD128 || s.op == VIR_ST128) {
        uvec4 value = s.op == VIR_ST128 ? s_vectors[(s.b + pass) * PLACES + place] : uvec4(0u);
        uvec4 word = index * 4u + pass;
        if (inside.x) { if (s.op == VIR_ST128) { store_word(memory, word.x, value.x); } else { value.x = load_word(memory, word.x); } }
        if (inside.y) { if (s.op == VIR_ST128) { store_word(memory, word.y, value.y); } else { value.y = load_word(memory, word.y); } }
        if (inside.z) { if (s.op == VIR_ST128) { store_word(memory, word.z, value.z); } else { value.z = load_word(memory, word.z); } }
        if (inside.w) { if (s.op == VIR_ST128) { store_word(memory, word.w, value.w); } else { value.w = load_word(memory, word.w); } }
        if (s.op == VIR_LD128) { put(s.d + pass, place, value, group.depth); }
        return;
    }
    if (component(uvec4(inside), pass) == 0u) { return; }
    uint at = component(index, pass);
    uint b = component(fetch(s.b, place, 0u), pass);
    if (is_store(s.op)) {
        store_part(s.op, memory, at, b);
        return;
    }
    uint before = change_word(s.op, memory, at, b, component(fetch(s.c, place, 0u), pass));
    if (s.vector) { s_vectors[s.d * PLACES + place][pass] = before; } else { s_uniform[group.meetings % 3u] = before; }
}

// LD8, LD16, LD32 and ST32: four lanes at once.
void access_whole(Step s, Group group, uint place, uvec4 index, bvec4 inside) {
    uint memory = s.word & 0xffu;
    uvec4 value = s.op == VIR_ST32 ? fetch(s.b, place, 0u) : uvec4(0u);
    if (s.op == VIR_ST32) {
        store_words(memory, index, inside, value);
        return;
    }
    load_elements(s.op, memory, index, inside, value);
    if (s.vector) { put(s.d, place, value, group.depth); } else { s_uniform[group.meetings % 3u] = value.x; }
}

// Lanes whose access lies inside do it; the first that does not is noted. Something is seen if there is one.
uint access_place(Step s, inout Group group, uint place) {
    uvec4 index = (s.a == VIR_IMMEDIATE ? uvec4(0u) : fetch(s.a, place, 0u)) + (s.word >> 16);
    uvec4 takes_part = s.vector ? truth(active_lanes(place, group.depth)) : uvec4(1u, 0u, 0u, 0u);
    // In one of four passes: the index of a lane that had its pass may have been overwritten by what it got.
    if (is_fourfold(s.op) && s.op != VIR_LD128 && s.op != VIR_ST128) {
        takes_part &= truth(equal(uvec4(0u, 1u, 2u, 3u), uvec4(group.pass)));
    }
    uvec4 lanes = s.vector ? place + PLACE_LANES : uvec4(0u);
    bvec4 inside = inside_lanes(group, s.op, s.word & 0xffu, index, takes_part, lanes);
    if (is_fourfold(s.op)) {
        access_part(s, group, place, index, inside);
    } else {
        access_whole(s, group, place, index, inside);
    }
    return group.mine_outside_lane == 0xffffffffu ? 0u : 1u;
}

uint reduction_join(uint op) {
    return op == VIR_SUM ? VIR_ADD : op == VIR_SUMF ? VIR_ADDF : op == VIR_LEASTU ? VIR_MINU : op == VIR_MOSTU ? VIR_MAXU
        : op == VIR_LEASTF ? VIR_MINF : op == VIR_MOSTF ? VIR_MAXF : op == VIR_ANY ? VIR_OR : VIR_AND;
}

uint reduction_identity(uint op) {
    return op == VIR_LEASTU || op == VIR_ALL ? 0xffffffffu : op == VIR_LEASTF ? FLOAT_INFINITY
        : op == VIR_MOSTF ? FLOAT_INFINITY | FLOAT_SIGN : 0u;
}

// What a reduction joins in this pass: the components of each place, and then the places by halves.
void reduction_operands(Step s, Group group, uint place, out uvec4 a, out uvec4 b) {
    a = s_exchange[place];
    b = a.yyyy;
    if (group.pass == 0u) {
        a = mix(uvec4(reduction_identity(s.op)), fetch(s.a, place, 0u), active_lanes(place, group.depth));
        b = a.zwzw;
    } else if (group.pass > 1u) {
        b = s_exchange[place + (PLACES >> group.pass - 1u)];
    }
}

// Instructions on registers, and reductions.
void compute_place(Step s, Group group, uint place) {
    uvec4 a, b, c = uvec4(0u);
    uint op = s.op;
    bool reduction = is_reduction(op);
    if (reduction) {
        reduction_operands(s, group, place, a, b);
        op = reduction_join(op);
    } else {
        a = fetch(s.a, place, s.word);
        b = fetch(s.b, place, s.word);
        c = fetch(s.c, place, 0u);
    }
    uvec4 value = alu(op, a, b, c);
    if (reduction) {
        s_exchange[place] = value;
        if (group.pass == 7u) { s_uniform[group.meetings % 3u] = value.x; }
    } else {
        put(s.d, place, value, group.depth);
    }
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

void scan_place(Step s, Group group, uint place) {
    if (group.pass == 0u) {
        s_exchange[place] = mix(uvec4(0u), fetch(s.a, place, 0u), active_lanes(place, group.depth));
    } else if (group.pass < 7u) {
        double_sum(group.pass, place);
    } else {
        put(s.d, place, scanned(place), group.depth);
    }
}

uint read_lane(uint lane) { return component(s_exchange[lane % PLACES], lane / PLACES % 4u); }

void shuffle_place(Step s, Group group, uint place) {
    if (group.pass == 0u) {
        s_exchange[place] = mix(uvec4(0u), fetch(s.a, place, 0u), active_lanes(place, group.depth));
    } else {
        uvec4 lanes = fetch(s.b, place, s.word);
        put(s.d, place, uvec4(read_lane(lanes.x), read_lane(lanes.y), read_lane(lanes.z), read_lane(lanes.w)), group.depth);
    }
}

// Branches and loops change the masks of their depth; something is seen if a lane goes on, breaks or traps.
uint control_place(Step s, Group group, uint place) {
    bool conditional = s.op == VIR_IF || s.op == VIR_BREAK || s.op == VIR_TRAP;
    uvec4 condition = conditional ? truth(notEqual(fetch(s.a, place, 0u), uvec4(0u))) : uvec4(1u);
    if (!s.vector) { return condition.x; }
    uvec4 mask = s_masks[place];
    if (s.op == VIR_TRAP) { return truth(notEqual(mask >> group.depth & condition, uvec4(0u))) == uvec4(0u) ? 0u : 1u; }
    if (s.op == VIR_IF || s.op == VIR_ELSE || s.op == VIR_LOOP) {
        uvec4 goes = s.op == VIR_ELSE ? ~mask >> s.d & 1u : condition;
        s_masks[place] = mask & ~(1u << s.d) | (mask >> s.d - 1u & goes) << s.d;
    }
    if (s.op != VIR_BREAK) { return 0u; }
    mask = mix(mask, mask & (1u << s.d) - 1u, bvec4(mask >> group.depth & condition));
    s_masks[place] = mask;
    return (mask >> s.d & 1u) == uvec4(0u) ? 0u : 1u;
}

// One place in one pass. Gives what is to be voted on.
uint run_place(Step s, inout Group group, uint place) {
    if (is_memory(s.op)) { return access_place(s, group, place); }
    if (s.op >= VIR_IF) { return control_place(s, group, place); }
    if (s.op == VIR_GET) {
        put(s.d, place, special(s.word, place, group.tile), group.depth);
    } else if (s.op == VIR_SCAN) {
        scan_place(s, group, place);
    } else if (s.op == VIR_SHUFFLE) {
        shuffle_place(s, group, place);
    } else {
        compute_place(s, group, place);
    }
    return 0u;
}
