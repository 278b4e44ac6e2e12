// Runs of scalar slots: those of one tile whose operation a single lane runs. A worker takes them from a partition's front a lane
// each, so that one look, one claim and one place in the completion ring do for all of them.

const uint RUN_LANES = LANES < RUN_SLOTS ? LANES : RUN_SLOTS;

// A lane's slot.
struct Scalar {
    uint phase;     // with its tag
    uint sequence;
    uint operation;
    uint tiles;
    uint tenant;
    uint handle;
    uint offset;
    uint bytes;
    uint args[2];
};

// Lanes whose slot ends the run, and those that have taken theirs, a bit each; whether one of these changed memory.
shared uint s_ends;
shared uint s_takers;
shared uint s_wrote;

// What a completion says beside ticket and clocks, and the lane that has it: words of a row of the scratch, a row for each slot taken.
const uint ROW_WORDS = 5u;

Scalar load_scalar(Claim claim) {
    Scalar slot;
    slot.phase = local_load(state_word(claim.index, STATE_PHASE));
    slot.sequence = load(REGION_RING, slot_word(claim.index, SLOT_SEQUENCE));
    slot.operation = load(REGION_RING, slot_word(claim.index, SLOT_OPERATION));
    slot.tiles = load(REGION_RING, slot_word(claim.index, SLOT_TILES));
    slot.tenant = load(REGION_RING, slot_word(claim.index, SLOT_TENANT));
    if (HAS_WORD_OPERATIONS) {
        uint operand = slot.operation == OP_LOAD_U32 ? SLOT_INPUT : SLOT_OUTPUT;
        slot.handle = load(REGION_RING, slot_word(claim.index, operand));
        slot.offset = load(REGION_RING, slot_word(claim.index, operand + 1u));
        slot.bytes = load(REGION_RING, slot_word(claim.index, SLOT_LENGTH));
        slot.args[0] = load(REGION_RING, slot_word(claim.index, SLOT_ARGS));
        slot.args[1] = load(REGION_RING, slot_word(claim.index, SLOT_ARGS + 1u));
    }
    return slot;
}

// Whether the run goes on with this slot. One that others have taken, or completed, does not end it: the front passes that, too.
bool continues_run(Claim claim, Scalar slot) {
    uint tag = slot.phase >> 16;
    bool known = tag == (claim.generation & 0xffffu) || tag == (next_generation(claim) & 0xffffu);
    return known && slot.sequence == claim.generation + 1u && is_scalar(slot.operation, slot.tiles);
}

// Length of the run at the front. All lanes meet.
uint run_length(Claim claim, Scalar slot, bool there) {
    if (LANE < RUN_LANES && !(there && continues_run(claim, slot))) { atomicOr(s_ends, 1u << LANE); }
    if (LANE == 0u) {
        s_takers = 0u;
        s_wrote = 0u;
    }
    meet();
    return s_ends == 0u ? RUN_LANES : uint(findLSB(s_ends));
}

// Takes this lane's slot of the run.
bool take_scalar(Claim claim, Scalar slot, bool in_run) {
    uint free = phase_word(claim, PHASE_FREE);
    bool taken = in_run && slot.phase == free && local_swap(state_word(claim.index, STATE_PHASE), free, free + PHASE_TAKEN);
    if (taken) { atomicOr(s_takers, 1u << LANE); }
    return taken;
}

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
    uint state = 0u;
    uint mask = 0u;
    address = uvec2(0u);
    if (slot.tenant < s_tenants) {
        uint tenant = CONTROL_TENANTS + slot.tenant * TENANT_WORDS;
        state = load(REGION_CONTROL, tenant + TENANT_STATE);
        mask = load(REGION_CONTROL, tenant + TENANT_OPERATIONS);
    }
    Verdict verdict = check_rights(slot.tenant, state, mask, slot.operation);
    if (verdict.fault != FAULT_NONE || !is_word_operation(slot.operation)) { return verdict; }
    if (slot.bytes != 4u) { return Verdict(FAULT_BAD_ARGUMENT, slot.bytes); }
    uint access = slot.operation == OP_LOAD_U32 ? ACCESS_READ : word_access(slot.operation);
    return resolve(load_entry(slot.handle), slot.tenant, slot.handle, slot.offset, 4u, access, address);
}

// Runs this lane's slot and leaves what its completion says in a row.
void run_scalar(Claim claim, Scalar slot) {
    uvec2 address;
    Verdict verdict = check_scalar(slot, address);
    bool faulted = verdict.fault != FAULT_NONE;
    uint result = 0u;
    if (!faulted && is_word_operation(slot.operation)) {
        result = run_word(slot.operation, address, slot.args[0], slot.args[1]);
        s_wrote = 1u;
    }
    if (faulted) { local_add(LOCAL_COUNTERS + COUNTER_FAULTED, 1u); }
    uint row = bitCount(s_takers & ((1u << LANE) - 1u)) * ROW_WORDS;
    s_scratch[row] = LANE;
    s_scratch[row + 1u] = claim.priority | (faulted ? STATUS_FAULTED : STATUS_DONE) << 8 | verdict.fault << 16;
    s_scratch[row + 2u] = verdict.word;
    s_scratch[row + 3u] = (slot.operation & 0xffffu) | slot.tenant << 16;
    s_scratch[row + 4u] = result;
}

// Data word `word` of the completion in this row.
uint row_word(Claim front, uint row, uint word) {
    uint at = row * ROW_WORDS;
    if (word == 0u) { return ticket_behind(front, s_scratch[at]); }
    if (word < ROW_WORDS) { return s_scratch[at + word]; }
    return word == 6u ? front.clock.x : word == 7u ? device_clock().x : 0u;
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
void complete_run(Claim front, Claim claim, bool taken, uint count) {
    meet();
    if (s_wrote != 0u) { meet_device(); }
    if (taken) { local_store(state_word(claim.index, STATE_PHASE), next_generation(claim) << 16 | PHASE_FREE); }
    if (LANE == 0u) { s_position = local_add(LOCAL_COMPLETION_TAIL, count); }
    meet();
    uint position = s_position;
    for (uint i = LANE; i < count * RECORD_DATA; i += LANES) {
        uint row = i / RECORD_DATA;
        store_completion(position + row, i % RECORD_DATA, row_word(front, row, i % RECORD_DATA));
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
    bool there = LANE < min(front.most, RUN_LANES);
    Claim claim = claim_on(front.priority, ticket_behind(front, LANE));
    Scalar slot;
    if (there) { slot = load_scalar(claim); }
    uint length = run_length(claim, slot, there);
    // Beside the slots' own words the front is only a hint, so it may pass them before they are taken: it passes no slot that nobody takes.
    bool moves = LANE == 0u && length != 0u;
    uint found = front.ticket;
    if (moves) { found = local_swap_relaxed(LOCAL_HOT + front.priority, front.ticket, ticket_behind(front, length)); }
    bool taken = take_scalar(claim, slot, LANE < length);
    if (moves) { settle_front(front, length, found); }
    meet();
    if (LANE == 0u) { s_ends = 0u; }
    uint count = bitCount(s_takers);
    if (count == 0u) { return 0u; }
    if (leaves_work(look, front, count)) { mirror(look); }
    if (taken) { run_scalar(claim, slot); }
    if (LANE == 0u) { local_add(LOCAL_COUNTERS + COUNTER_CLAIMED, count); }
    if (TRACE) { trace_scalar(front, slot); }
    complete_run(front, claim, taken, count);
    worker.fuel -= min(worker.fuel, (count * RECORD_DATA + LANES - 1u) / LANES);
    return count;
}
