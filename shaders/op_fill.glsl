// FILL: a word over a range of the output.

Verdict check_fill() {
    Verdict verdict = check_bytes();
    if (verdict.fault == FAULT_NONE) { verdict = resolve(SLOT_OUTPUT, s_slot[SLOT_LENGTH], ACCESS_WRITE, s_output); }
    s_output = address_at(s_output, s_tile * s_slot[SLOT_TILE_SPAN]);
    s_bytes = tile_bytes(s_slot[SLOT_TILE_SPAN]);
    return verdict;
}

void fill_tile() {
    uint pattern = s_slot[SLOT_ARGS];
    uint words = s_bytes / 4u;
    uint vectors = (s_output.x & 15u) == 0u ? words / 4u : 0u;
    for (uint i = LANE; i < vectors; i += LANES) { Vectors(s_output).v[i] = uvec4(pattern); }
    for (uint i = vectors * 4u + LANE; i < words; i += LANES) { Words(s_output).w[i] = pattern; }
}
