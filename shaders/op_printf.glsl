// PRINTF: a record of the debug log. The newest records stay; a reader sees by the stamps what it missed.

shared uint s_log_position;

const bool HAS_PRINTF = (OPERATIONS >> OP_PRINTF & 1u) != 0u;

Verdict check_printf() {
    if (s_slot[SLOT_TILES] != 1u) { return Verdict(FAULT_BAD_ARGUMENT, s_slot[SLOT_TILES]); }
    return s_slot[SLOT_ARGS + 1u] > LOG_ARGS ? Verdict(FAULT_BAD_ARGUMENT, s_slot[SLOT_ARGS + 1u]) : ACCEPTED;
}

// This lane's data word of the record.
uint log_word(Claim claim) {
    uint count = s_slot[SLOT_ARGS + 1u];
    if (LANE == 0u) { return s_slot[SLOT_ARGS]; }
    if (LANE == 1u) { return (gl_WorkGroupID.x & 0xffffu) | s_slot[SLOT_TENANT] << 16; }
    if (LANE == 2u) { return claim.ticket; }
    if (LANE == 3u) { return claim.priority | count << 8; }
    return LANE < 4u + count ? s_slot[SLOT_ARGS + LANE - 2u] : 0u;
}

void printf_tile(Claim claim) {
    if (LANE == 0u) { s_log_position = local_add(LOCAL_LOG_TAIL, 1u); }
    meet();
    uint word = HEADER_WORDS + (s_log_position & (s_log_records - 1u)) * RECORD_WORDS;
    write_record(REGION_DEBUG_LOG, word, (s_log_position >> findLSB(s_log_records)) + 1u, LANE < RECORD_DATA ? log_word(claim) : 0u);
}
