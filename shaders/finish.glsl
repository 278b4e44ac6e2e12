// Ending tiles and slots: the same functions as `finish.rs` of the reference engine.

shared uint s_position;
// Whether the tile was its slot's last, and what became of the slot: only for slots of many tiles.
shared uint s_last;
shared Verdict s_verdict;

// Counts the tile of a slot of many; the last one clears the slot's state for the next generation. Only lane 0 runs this.
void end_tile(Claim claim) {
    uint last = local_add_acq_rel(state_word(claim.index, STATE_DONE), 1u) + 1u == claim.tiles ? 1u : 0u;
    s_last = last;
    if (last != 0u) {
        s_verdict = Verdict(local_load(state_word(claim.index, STATE_FAULT)), local_load(state_word(claim.index, STATE_FAULT_WORD)));
        local_store(state_word(claim.index, STATE_FAULT), FAULT_NONE);
        local_store(state_word(claim.index, STATE_FAULT_WORD), 0u);
        local_store(state_word(claim.index, STATE_DONE), 0u);
    }
}

// Writes a data word of the completion with this place in the ring.
void store_completion(uint position, uint word, uint data) {
    uint record = HEADER_WORDS + (position & (s_completion_records - 1u)) * RECORD_WORDS;
    uint stamp = (position >> findLSB(s_completion_records)) + 1u;
    store_stamped(address_at(launch.regions[REGION_COMPLETIONS], record * 4u), word, data, stamp);
}

// This lane's data word of the completion.
uint completion_word(Claim claim, Verdict verdict) {
    uint status = verdict.fault == FAULT_NONE ? STATUS_DONE : STATUS_FAULTED;
    if (LANE == 0u) { return claim.ticket; }
    if (LANE == 1u) { return claim.priority | status << 8 | verdict.fault << 16; }
    if (LANE == 2u) { return verdict.word; }
    if (LANE == 3u) { return (s_slot[SLOT_OPERATION] & 0xffffu) | s_slot[SLOT_TENANT] << 16; }
    if ((LANE == 4u || LANE == 5u) && verdict.fault == FAULT_NONE && HAS_PACKED && s_slot[SLOT_OPERATION] == OP_PACKED) { return s_results[LANE - 4u]; }
    if (LANE == 6u) { return claim.clock.x; }
    return LANE == 7u ? device_clock().x : 0u;
}

// Moves the slot to its next generation, counts it and writes its completion. A worker that sees the new ticket and still the
// old tag does nothing, so tag and completion need no order between them.
void complete_slot(Claim claim, Verdict verdict) {
    meet_device();
    if (LANE == 0u) {
        local_store(state_word(claim.index, STATE_PHASE), next_generation(claim) << 16 | PHASE_FREE);
        if (verdict.fault != FAULT_NONE) { local_add(LOCAL_COUNTERS + COUNTER_FAULTED, 1u); }
        s_position = local_add(LOCAL_COMPLETION_TAIL, 1u);
        // What is behind a fence is claimed when the fence has its place in the completion ring.
        if (is_fence()) { local_swap_release(LOCAL_HOT + claim.priority, claim.ticket, ticket_behind(claim, 1u)); }
    }
    meet();
    if (LANE < RECORD_DATA) { store_completion(s_position, LANE, completion_word(claim, verdict)); }
    // Counted when the slot has its place in the completion ring, so that a fence that waits for it gets a later one.
    if (LANE == 0u) { local_add(LOCAL_COMPLETED + claim.priority, 1u); }
}

// Counts the tile; the worker that ends the slot's last one completes the slot. All lanes run this.
void finish_tile(Claim claim, Verdict verdict) {
    bool last = true;
    if (claim.tiles > 1u) {
        meet_lanes();
        if (LANE == 0u) { end_tile(claim); }
        meet();
        last = s_last != 0u;
        verdict = s_verdict;
    }
    if (last) { complete_slot(claim, verdict); }
}
