// PRINTF: a line of the debug log.

const bool HAS_PRINTF = (OPERATIONS >> OP_PRINTF & 1u) != 0u;

Verdict check_printf() {
    if (s_slot[SLOT_TILES] != 1u) { return Verdict(FAULT_BAD_ARGUMENT, s_slot[SLOT_TILES]); }
    return s_slot[SLOT_ARGS + 1u] > LOG_ARGS ? Verdict(FAULT_BAD_ARGUMENT, s_slot[SLOT_ARGS + 1u]) : ACCEPTED;
}

// This lane's data word of the record.
uint line_word(Claim claim) {
    uint count = s_slot[SLOT_ARGS + 1u];
    if (LANE == 0u) { return s_slot[SLOT_ARGS]; }
    if (LANE == 1u) { return (gl_WorkGroupID.x & 0xffffu) | s_slot[SLOT_TENANT] << 16; }
    if (LANE == 2u) { return claim.ticket; }
    if (LANE == 3u) { return claim.priority | count << 8; }
    return LANE < 4u + count ? s_slot[SLOT_ARGS + LANE - 2u] : 0u;
}

void printf_tile(Claim claim) {
    take_log_position();
    write_log(LANE < RECORD_DATA ? line_word(claim) : 0u);
}
