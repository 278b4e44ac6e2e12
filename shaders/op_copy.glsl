// COPY: a range of the input to the output.

Verdict check_copy() {
    uint length = s_slot[SLOT_LENGTH];
    Verdict verdict = check_bytes();
    if (verdict.fault == FAULT_NONE) { verdict = resolve(SLOT_INPUT, length, ACCESS_READ, s_input); }
    if (verdict.fault == FAULT_NONE) { verdict = resolve(SLOT_OUTPUT, length, ACCESS_WRITE, s_output); }
    s_input = address_at(s_input, s_tile * s_slot[SLOT_TILE_SPAN]);
    s_output = address_at(s_output, s_tile * s_slot[SLOT_TILE_SPAN]);
    s_bytes = tile_bytes(s_slot[SLOT_TILE_SPAN]);
    return verdict;
}

void copy_tile() {
    uint words = s_bytes / 4u;
    uint vectors = ((s_input.x | s_output.x) & 15u) == 0u ? words / 4u : 0u;
    for (uint i = LANE; i < vectors; i += LANES) { Vectors(s_output).v[i] = Vectors(s_input).v[i]; }
    for (uint i = vectors * 4u + LANE; i < words; i += LANES) { Words(s_output).w[i] = Words(s_input).w[i]; }
}
