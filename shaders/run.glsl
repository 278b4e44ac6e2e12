// Runs of scalar slots: those of one tile whose operation a single lane runs. A worker takes them from a partition's front, each lane
// every LANES-th of them, so that one look, one wait for each step of the claim and one place in the completion ring do for all of them.

// Slots of a lane, one each turn: a worker waits for memory once for those of all turns. Host threads have one turn, since more of them would
// only make others wait. No GPU's worker has less than 32 lanes.
#ifdef VYRE_SCALARS
// A small start is for host threads, and its kernel as small as can be.
const uint MOST_TURNS = 1u;
#else
const uint MOST_TURNS = (RUN_SLOTS + 31u) / 32u;
#endif
const uint FULL_TURNS = RUN_SLOTS / LANES < MOST_TURNS ? RUN_SLOTS / LANES : MOST_TURNS;
const uint RUN_TURNS = HOST_THREADS || FULL_TURNS == 0u ? 1u : FULL_TURNS;
const uint RUN_LENGTH = RUN_TURNS * LANES < RUN_SLOTS ? RUN_TURNS * LANES : RUN_SLOTS;

// The optimizer unrolls it, so that it is none of the loops that TURN_FUEL pays for, and drivers leave out the turns that a worker has not.
#define EACH_TURN [[unroll]] for (uint turn = 0u; turn < MOST_TURNS; ++turn) if (turn < RUN_TURNS)

// How far behind the front this lane's slot of the turn is.
uint behind_front(uint turn) { return turn * LANES + LANE; }

// A lane's slot.
struct Scalar {
    uint index;     // in the ring
    uint generation;
    uint phase;     // with its tag
    uint sequence;
    uint operation;
    uint tiles;
    uint tenant;
    uint state;     // of the tenant
    uint mask;      // of the tenant's operations
    uint handle;
    uint offset;
    uint bytes;
    uint args[2];
};

// Where the run ends, by the first slot that does not continue it. Between runs it is RUN_LENGTH.
shared uint s_end;
// The slots of the run that their lanes have taken, a bit each; whether one of these changed memory.
const uint TAKEN_WORDS = 4u;
shared uint s_run_taken[TAKEN_WORDS];
shared uint s_wrote;

// What a completion says beside clocks: words of a row of the scratch, a row for each slot taken.
const uint ROW_WORDS = 5u;

// What says whether a slot continues the run, and whose it is: no more, so that what all lanes hold for all turns fits into few registers.
Scalar load_scalar(Claim claim) {
    Scalar slot;
    slot.index = claim.index;
    slot.generation = claim.generation;
    slot.phase = local_load(state_word(claim.index, STATE_PHASE));
    slot.sequence = load(REGION_RING, slot_word(claim.index, SLOT_SEQUENCE));
    slot.operation = load(REGION_RING, slot_word(claim.index, SLOT_OPERATION));
    slot.tiles = load(REGION_RING, slot_word(claim.index, SLOT_TILES));
    slot.tenant = load(REGION_RING, slot_word(claim.index, SLOT_TENANT));
    return slot;
}

// What the slot's checks and its operation need.
void load_operands(inout Scalar slot) {
    slot.state = 0u;
    slot.mask = 0u;
    if (slot.tenant < s_tenants) {
        uint tenant = CONTROL_TENANTS + slot.tenant * TENANT_WORDS;
        slot.state = load(REGION_CONTROL, tenant + TENANT_STATE);
        slot.mask = load(REGION_CONTROL, tenant + TENANT_OPERATIONS);
    }
    if (is_word_operation(slot.operation)) {
        uint operand = slot.operation == OP_LOAD_U32 ? SLOT_INPUT : SLOT_OUTPUT;
        slot.handle = load(REGION_RING, slot_word(slot.index, operand));
        slot.offset = load(REGION_RING, slot_word(slot.index, operand + 1u));
        slot.bytes = load(REGION_RING, slot_word(slot.index, SLOT_LENGTH));
        slot.args[0] = load(REGION_RING, slot_word(slot.index, SLOT_ARGS));
        slot.args[1] = load(REGION_RING, slot_word(slot.index, SLOT_ARGS + 1u));
    }
}

// The claim on the slot that many behind the front's, less than a lap.
Claim claim_behind(Claim front, uint by) {
    Claim claim = front;
    claim.ticket = ticket_behind(front, by);
    claim.index += by;
    if (claim.index >= s_first[front.priority] + s_length[front.priority]) {
        claim.index -= s_length[front.priority];
        claim.generation = next_generation(front);
    }
    return claim;
}

// Whether the run goes on with this slot. One that others have taken, or completed, does not end it: the front passes that, too.
bool continues_run(uint priority, Scalar slot) {
    uint tag = slot.phase >> 16;
    bool known = tag == (slot.generation & 0xffffu) || tag == (generation_behind(priority, slot.generation) & 0xffffu);
    return known && slot.sequence == slot.generation + 1u && is_scalar(slot.operation, slot.tiles);
}

// Length of the run at the front, of at most that many slots. All lanes meet.
uint run_length(Claim front, Scalar slots[MOST_TURNS], uint most) {
    uint end = most;
    EACH_TURN {
        if (behind_front(turn) < end && !continues_run(front.priority, slots[turn])) { end = behind_front(turn); }
    }
    if (end < most) { atomicMin(s_end, end); }
    if (LANE < TAKEN_WORDS) { s_run_taken[LANE] = 0u; }
    if (LANE == 0u) { s_wrote = 0u; }
    meet();
    return min(s_end, most);
}

// Takes this lane's slots of the run that are free; gives their turns, a bit each. All attempts are on their way before the first outcome is
// awaited. They order nothing: a place in the ring is used again only when the host has seen the completion of what was there before, and
// whoever sees the doorbell behind that sees what that had written.
uint take_scalars(inout Scalar slots[MOST_TURNS], uint length) {
    EACH_TURN {
        uint free = slots[turn].generation << 16 | PHASE_FREE;
        if (behind_front(turn) < length && slots[turn].phase == free) {
            load_operands(slots[turn]);
            slots[turn].phase = local_swap_relaxed(state_word(slots[turn].index, STATE_PHASE), free, free + PHASE_TAKEN);
        }
    }
    uint taken = 0u;
    EACH_TURN {
        uint by = behind_front(turn);
        if (by < length && slots[turn].phase == (slots[turn].generation << 16 | PHASE_FREE)) {
            atomicOr(s_run_taken[by / 32u], 1u << by % 32u);
            taken |= 1u << turn;
        }
    }
    return taken;
}

// Slots that the worker has taken among the run's first ones, by one word and by all. No loop, since the optimizer unrolls none around another.
uint taken_in(uint word, uint by) {
    return bitCount(bitfieldExtract(s_run_taken[word], 0, clamp(int(by) - int(word * 32u), 0, 32)));
}
uint taken_before(uint by) { return taken_in(0u, by) + taken_in(1u, by) + taken_in(2u, by) + taken_in(3u, by); }

Entry load_entry(uint handle) {
    uint index = handle & ((1u << HANDLE_INDEX_BITS) - 1u);
    uint base = HEADER_WORDS + index * ENTRY_WORDS;
    // Valid nowhere, like what does not exist.
    Entry entry = Entry(0u, 0u, 0u, 0u, uvec2(0u));
    if (index < s_resources) {
        entry.generation = load(REGION_RESOURCES, base + ENTRY_GENERATION);
        entry.owner = load(REGION_RESOURCES, base + ENTRY_OWNER);
        entry.access = load(REGION_RESOURCES, base + ENTRY_ACCESS);
        entry.size = load(REGION_RESOURCES, base + ENTRY_LENGTH);
        entry.address = uvec2(load(REGION_RESOURCES, base + ENTRY_ADDRESS), load(REGION_RESOURCES, base + ENTRY_ADDRESS + 1u));
    }
    return entry;
}

// Checks a scalar slot as `check_slot` and `check_operation` check the others.
Verdict check_scalar(Scalar slot, out uvec2 address) {
    address = uvec2(0u);
    Verdict verdict = check_rights(slot.tenant, slot.state, slot.mask, slot.operation);
    if (verdict.fault != FAULT_NONE || !is_word_operation(slot.operation)) { return verdict; }
    if (slot.bytes != 4u) { return Verdict(FAULT_BAD_ARGUMENT, slot.bytes); }
    uint access = slot.operation == OP_LOAD_U32 ? ACCESS_READ : word_access(slot.operation);
    return resolve(load_entry(slot.handle), slot.tenant, slot.handle, slot.offset, 4u, access, address);
}

// Runs a slot that this lane has taken, and leaves what its completion says in a row.
void run_scalar(Claim front, uint by, Scalar slot) {
    uvec2 address;
    Verdict verdict = check_scalar(slot, address);
    bool faulted = verdict.fault != FAULT_NONE;
    uint result = 0u;
    if (!faulted && is_word_operation(slot.operation)) {
        result = run_word(slot.operation, address, slot.args[0], slot.args[1]);
        s_wrote = 1u;
    }
    if (faulted) { local_add(LOCAL_COUNTERS + COUNTER_FAULTED, 1u); }
    uint row = taken_before(by) * ROW_WORDS;
    s_scratch[row] = ticket_behind(front, by);
    s_scratch[row + 1u] = front.priority | (faulted ? STATUS_FAULTED : STATUS_DONE) << 8 | verdict.fault << 16;
    s_scratch[row + 2u] = verdict.word;
    s_scratch[row + 3u] = (slot.operation & 0xffffu) | slot.tenant << 16;
    s_scratch[row + 4u] = result;
}

// The record of the one slot of a traced run.
void trace_scalar(Claim front, Scalar slot) {
    if (LANE == 0u) {
        s_slot[SLOT_OPERATION] = slot.operation;
        s_slot[SLOT_TENANT] = slot.tenant;
    }
    trace_tile(front);
}

// Completes all slots of the run that this worker has taken. A slot that changed no memory has nothing to release.
void complete_run(Claim front, Scalar slots[MOST_TURNS], uint taken, uint count) {
    meet();
    if (s_wrote != 0u) { meet_device(); }
    EACH_TURN {
        uint next = generation_behind(front.priority, slots[turn].generation);
        if ((taken >> turn & 1u) != 0u) { local_store(state_word(slots[turn].index, STATE_PHASE), next << 16 | PHASE_FREE); }
    }
    if (LANE == 0u) { s_position = local_add(LOCAL_COMPLETION_TAIL, count); }
    // Each lane has the same data word of every record that it writes.
    uint word = LANE % RECORD_DATA;
    uint clock = word == 6u ? front.clock.x : word == 7u ? device_clock().x : 0u;
    meet();
    uint position = s_position;
    for (uint row = LANE / RECORD_DATA; row < count; row += LANES / RECORD_DATA) {
        store_completion(position + row, word, word < ROW_WORDS ? s_scratch[row * ROW_WORDS + word] : clock);
    }
    // Counted when the slots have their places in the completion ring, so that a fence that waits for them gets a later one.
    if (LANE == 0u) { local_add(LOCAL_COMPLETED + front.priority, count); }
}

// Moves the front on, to the end of the run, from where others have left it in between; `found` is where the first attempt has found it. It must be
// past a slot before that completes, since the host may then fill the partition up to a lap ahead of the front, where no look finds it. Only
// lane 0 runs this.
void settle_front(Claim front, uint length, uint found) {
    uint modulus = s_length[front.priority] * s_laps[front.priority];
    uint last = front.ticket;
    while (found != last && ticket_distance(front.ticket, found, modulus) < length) {
        last = found;
        found = local_swap_relaxed(LOCAL_HOT + front.priority, last, ticket_behind(front, length));
    }
}

// Takes and runs the scalar slots at the partition's front. Gives how many it has run.
uint run_scalars(inout Worker worker, Look look, Claim front) {
    uint most = min(front.most, RUN_LENGTH);
    Scalar slots[MOST_TURNS];
    EACH_TURN {
        if (behind_front(turn) < most) { slots[turn] = load_scalar(claim_behind(front, behind_front(turn))); }
    }
    uint length = run_length(front, slots, most);
    // Beside the slots' own words the front is only a hint, so it may pass them before they are taken: it passes no slot that nobody takes.
    bool moves = LANE == 0u && length != 0u;
    uint found = front.ticket;
    if (moves) { found = local_swap_relaxed(LOCAL_HOT + front.priority, front.ticket, ticket_behind(front, length)); }
    uint taken = take_scalars(slots, length);
    if (moves) { settle_front(front, length, found); }
    meet();
    if (LANE == 0u) { s_end = RUN_LENGTH; }
    uint count = taken_before(RUN_LENGTH);
    if (count == 0u) { return 0u; }
    if (leaves_work(look, front, count)) { mirror(look); }
    EACH_TURN {
        if ((taken >> turn & 1u) != 0u) { run_scalar(front, behind_front(turn), slots[turn]); }
    }
    if (LANE == 0u) { local_add(LOCAL_COUNTERS + COUNTER_CLAIMED, count); }
    if (TRACE) { trace_scalar(front, slots[0]); }
    complete_run(front, slots, taken, count);
    worker.fuel -= min(worker.fuel, (count * RECORD_DATA + LANES - 1u) / LANES);
    return count;
}
