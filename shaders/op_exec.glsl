// EXEC: a VIR0 program over the items of a tile.

const bool HAS_EXEC = (OPERATIONS >> OP_EXEC & 1u) != 0u;

// Rows of the context behind those that every slot has: the program and two further resources.
const uint ROW_PROGRAM = 3u * ROW;

#include "vir0_alu.glsl"
#include "vir0_group.glsl"

// Reads the entries of the handles among the arguments. All lanes run this.
void load_bindings() {
    for (uint i = LANE; i < 3u * ROW; i += LANES) {
        s_context[ROW_PROGRAM + i] = entry_word(s_slot[SLOT_ARGS + i / ROW], i % ROW);
    }
    meet();
}

// Finds the program. It is what the host has checked: nobody else can write it. Its code stays where it is: in shared memory it would
// cost more workers than it saves time.
void load_program(uvec2 address) {
    for (uint i = LANE; i < VIR_HEADER_WORDS; i += LANES) { s_program[i] = Words(address).w[i]; }
    meet();
    uint instructions = min(s_program[VIR_HEADER_INSTRUCTIONS], VIR_MAX_INSTRUCTIONS);
    if (LANE == 0u) {
        s_code = address_at(address, VIR_HEADER_WORDS * 4u);
        s_memory_address[VIR_CONSTANTS] = address_at(address, (VIR_HEADER_WORDS + 2u * instructions) * 4u);
        s_memory_bytes[VIR_CONSTANTS] = s_program[VIR_HEADER_CONSTANTS] * 4u;
        s_memory_bytes[VIR_SCRATCH] = min(s_program[VIR_HEADER_SCRATCH], VIR_MAX_SCRATCH) * 4u;
    }
}

// Resolves resource `i` as the program declares it.
Verdict bind_resource(uint i) {
    uint row = i == 0u ? ROW_INPUT : i == 1u ? ROW_OUTPUT : ROW_PROGRAM + (i - 1u) * ROW;
    uint word = i == 0u ? SLOT_INPUT : i == 1u ? SLOT_OUTPUT : SLOT_ARGS + i - 1u;
    uint handle = s_slot[word];
    uint offset = i < 2u ? s_slot[word + 1u] : 0u;
    uvec2 address;
    Verdict verdict = resolve_at(handle, offset, row, 0u, s_program[VIR_HEADER_ACCESS + i], address);
    uint size = handle == HANDLE_OBSERVABLES ? s_observables * 4u : s_context[row + ENTRY_LENGTH];
    if (LANE == 0u && verdict.fault == FAULT_NONE) {
        s_memory_address[i] = address;
        s_memory_bytes[i] = size - offset;
    }
    return verdict;
}

Verdict check_exec(inout Tile tile) {
    uint span = s_slot[SLOT_TILE_SPAN];
    if (span == 0u) { return Verdict(FAULT_BAD_ARGUMENT, 0u); }
    if (!covers(s_slot[SLOT_TILES], span, s_slot[SLOT_LENGTH])) { return Verdict(FAULT_BAD_ARGUMENT, s_slot[SLOT_TILES]); }
    load_bindings();
    Verdict verdict = resolve_at(s_slot[SLOT_ARGS], 0u, ROW_PROGRAM, VIR_HEADER_WORDS * 4u, ACCESS_EXECUTE, tile.source);
    if (verdict.fault != FAULT_NONE) { return verdict; }
    load_program(tile.source);
    uint resources = min(s_program[VIR_HEADER_RESOURCES], VIR_RESOURCES);
    for (uint i = 0u; i < resources && verdict.fault == FAULT_NONE; ++i) { verdict = bind_resource(i); }
    return verdict;
}

// Nothing is visible yet of what a program before this one has left.
void begin_group() {
    for (uint turn = 0u; turn < TURNS; ++turn) { masks[turn] = uvec4(1u); }
    for (uint i = LANE; i < s_memory_bytes[VIR_SCRATCH] / 4u; i += LANES) { s_scratch[i] = 0u; }
    if (LANE == 0u) {
        s_votes = uint[](0u, 0u, 0u);
        s_outside_lane = 0xffffffffu;
    }
    meet();
}

const uint VOTE_OUTSIDE = 1u;
const uint VOTE_SEEN = 2u;

// All lanes meet, and what they wrote is there for all. Gives whether an access of any lane lay outside, and whether any has seen something.
uint vote(inout Group group, bool seen) {
    uint place = group.meetings % 3u;
    uint mine = (group.mine_outside_lane != 0xffffffffu ? VOTE_OUTSIDE : 0u) | (seen ? VOTE_SEEN : 0u);
    group.meetings += 1u;
    group.open = 0u;
    if (mine != 0u) { atomicOr(s_votes[place], mine); }
    meet_lanes();
    // Read last before the meeting above, written first behind the next.
    if (LANE == 0u) { s_votes[(place + 2u) % 3u] = 0u; }
    return s_votes[place];
}

// The first lane of the group whose access lies outside.
Verdict outside(Group group) {
    atomicMin(s_outside_lane, group.mine_outside_lane);
    meet();
    if (s_outside_lane == group.mine_outside_lane) { s_outside_offset = group.mine_outside_offset; }
    meet();
    return Verdict(FAULT_OUT_OF_RANGE, s_outside_offset);
}

// Where a branch or loop goes on, and at what depth.
void branch(Step s, inout Group group, bool seen) {
    bool jumps = s.op == VIR_ENDLOOP || !s.vector && (s.op == VIR_ELSE || s.op == VIR_IF && !seen);
    if (s.op == VIR_BREAK) {
        jumps = seen != s.vector;
        group.depth = !jumps ? group.depth : s.vector ? s.d - 1u : s.d;
    } else if (s.op != VIR_TRAP && s.op != VIR_PRINTF) {
        group.depth = s.d;
    }
    group.at = jumps ? s.word : group.at + 1u;
}

// Whether it goes across lanes: they meet behind each pass.
bool is_across(Step s) {
    bool scalar_access = is_memory(s.op) && !s.vector && !is_store(s.op);
    return scalar_access || s.op >= VIR_SUM && s.op <= VIR_SHUFFLE || s.vector && (s.op == VIR_BREAK || s.op == VIR_TRAP);
}

// Behind a pass: the next one, or the next instruction.
Verdict advance(Step s, inout Group group, bool seen) {
    group.pass += 1u;
    if (group.pass < s.passes) { return ACCEPTED; }
    group.pass = 0u;
    if (s.op == VIR_TRAP && seen) { return Verdict(FAULT_TRAP, s.word); }
    if (is_reduction(s.op) || is_memory(s.op) && !s.vector && !is_store(s.op)) {
        registers[register_at(s.d, 0u)] = uvec4(s_uniform[(group.meetings + 2u) % 3u]);
    }
    if (s.op >= VIR_IF) { branch(s, group, seen); } else { group.at += 1u; }
    return ACCEPTED;
}

// PRINTF: a line with two scalars, of which lane 4 has the first.
void print_line(Claim claim, uint format, uint arg) {
    take_log_position();
    write_log(line_word(claim, format, 2u, arg));
    // The next line's position comes when all have this one's.
    meet();
}

#ifdef VYRE_HOT
#include "vir0_hot.glsl"
#endif

// One pass of the instruction. Gives whether this hardware lane sees what is to be voted on.
bool run_pass(Step s, inout Group group) {
    uint places = pass_places(s, group.pass);
    bool seen = false;
    for (uint turn = 0u; turn < TURNS && LANE + turn * LANES < places; ++turn) {
        if (run_place(s, group, turn)) { seen = true; }
    }
    group.open |= s.opens;
    return seen;
}

Verdict interpret(inout Group group) {
    Verdict verdict = ACCEPTED;
    uvec2 ahead = uvec2(0x80000000u, 0u);
    uint votes = 0u;
    while (verdict.fault == FAULT_NONE) {
        Step s = next_step(group, ahead);
        // Most instructions, the short way.
        if (!HOST_THREADS && s.op < VIR_GET && group.fuel >= s.fuel) {
            for (uint turn = 0u; turn < (s.vector ? TURNS : 1u); ++turn) { compute_place(s, group, turn); }
            group.fuel -= s.fuel;
            group.at += 1u;
            continue;
        }
        uint fuel = group.pass == 0u ? s.fuel : 0u;
        if (group.pass == 0u && (group.open & s.conflicts) != 0u) { votes = vote(group, false); }
        bool short_of_fuel = group.fuel < fuel;
        if (short_of_fuel) { verdict = Verdict(FAULT_OUT_OF_FUEL, group.at); }
        if (short_of_fuel || s.op == VIR_END || (votes & VOTE_OUTSIDE) != 0u) { break; }
        group.fuel -= fuel;
        bool seen = run_pass(s, group);
        if (s.op <= VIR_GET) {
            group.at += 1u;
            continue;
        }
        if (is_across(s)) {
            votes = vote(group, seen);
            seen = (votes & VOTE_SEEN) != 0u;
        }
        if (s.op == VIR_PRINTF) { print_line(group.claim, s.word, registers[register_at(LANE == 4u ? s.a : s.b, 0u)].x); }
        verdict = advance(s, group, seen);
    }
    // An access outside came before whatever ended it.
    if (group.open != 0u) { votes = vote(group, false); }
    return (votes & VOTE_OUTSIDE) != 0u ? outside(group) : verdict;
}

Verdict run_program(inout Group group) {
#ifdef VYRE_HOT
    uint outcome = hot_program(group);
    if (outcome != HOT_UNKNOWN) { return verdict_of(outcome, group); }
#endif
    return interpret(group);
}

// Runs the program; takes the fuel that it uses.
Verdict exec_tile(Claim claim, inout Worker worker) {
    begin_group();
    Group group = Group(0u, 0u, 0u, s_program[VIR_HEADER_FUEL], 0u, 0u, claim, 0xffffffffu, 0u);
    Verdict verdict = run_program(group);
    uint used = s_program[VIR_HEADER_FUEL] - group.fuel;
    worker.fuel -= min(worker.fuel, used);
    worker.busy += used / FUEL_PER_BUSY_TURN;
    return verdict;
}
