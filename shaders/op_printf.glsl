// PRINTF: a line of the debug log.

const bool HAS_PRINTF = (OPERATIONS >> OP_PRINTF & 1u) != 0u;

Verdict check_printf() {
    if (s_slot[SLOT_TILES] != 1u) { return Verdict(FAULT_BAD_ARGUMENT, s_slot[SLOT_TILES]); }
    return s_slot[SLOT_ARGS + 1u] > LOG_ARGS ? Verdict(FAULT_BAD_ARGUMENT, s_slot[SLOT_ARGS + 1u]) : ACCEPTED;
}

// This lane's data word of the record of a line with `count` words, of which it has one.
uint line_word(Claim claim, uint format, uint count, uint arg) {
    if (LANE == 0u) { return format; }
    if (LANE == 1u) { return (gl_WorkGroupID.x & 0xffffu) | s_slot[SLOT_TENANT] << 16; }
    if (LANE == 2u) { return claim.ticket; }
    if (LANE == 3u) { return claim.priority | count << 8; }
    return LANE < 4u + count ? arg : 0u;
}

void printf_tile(Claim claim) {
    take_log_position();
    uint arg = LANE >= 4u && LANE < RECORD_DATA ? s_slot[SLOT_ARGS + LANE - 2u] : 0u;
    write_log(line_word(claim, s_slot[SLOT_ARGS], s_slot[SLOT_ARGS + 1u], arg));
}
