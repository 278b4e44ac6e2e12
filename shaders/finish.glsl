// Ending tiles and slots: the same functions as `finish.rs` of the reference engine.

shared uint s_position;
shared uint s_completed;

// The tag goes to the next generation before the completion is written, so that the host cannot recycle the slot too early.
void complete_slot(Claim claim) {
    uint fault = local_load(state_word(claim.index, STATE_FAULT));
    uint word = local_load(state_word(claim.index, STATE_FAULT_WORD));
    uint next = claim.generation + 1u == s_laps[claim.priority] ? 0u : claim.generation + 1u;
    local_store(state_word(claim.index, STATE_FAULT), FAULT_NONE);
    local_store(state_word(claim.index, STATE_FAULT_WORD), 0u);
    local_store(state_word(claim.index, STATE_DONE), 0u);
    local_store_release(state_word(claim.index, STATE_TILES), next << 16);
    local_add_acq_rel(LOCAL_COMPLETED + claim.priority, 1u);
    local_add(LOCAL_COUNTERS + COUNTER_COMPLETED, 1u);
    if (fault != FAULT_NONE) { local_add(LOCAL_COUNTERS + COUNTER_FAULTED, 1u); }
    uint status = fault == FAULT_NONE ? STATUS_DONE : STATUS_FAULTED;
    s_record = uint[](claim.ticket, claim.priority | status << 8 | fault << 16, word,
        (s_slot[SLOT_OPERATION] & 0xffffu) | s_slot[SLOT_TENANT] << 16, 0u, 0u, 0u, 0u);
    s_position = local_add(LOCAL_COMPLETION_TAIL, 1u);
    s_completed = 1u;
}

// Counts the tile; the worker that ends the slot's last one completes the slot. All lanes run this.
void finish_tile(Claim claim) {
    meet_device();
    if (LANE == 0u) {
        s_completed = 0u;
        uint total = clamp(s_slot[SLOT_TILES], 1u, MAX_TILES);
        if (local_add_acq_rel(state_word(claim.index, STATE_DONE), 1u) + 1u == total) { complete_slot(claim); }
    }
    meet_device();
    if (s_completed != 0u) {
        uint records = region_records(REGION_COMPLETIONS);
        uint word = HEADER_WORDS + (s_position & (records - 1u)) * RECORD_WORDS;
        write_record(REGION_COMPLETIONS, word, (s_position >> findLSB(records)) + 1u, s_record);
    }
}
