// FILL: a word over a range of the output.

Verdict check_fill(inout Tile tile) {
    Verdict verdict = check_bytes();
    if (verdict.fault == FAULT_NONE) { verdict = resolve_output(s_slot[SLOT_LENGTH], ACCESS_WRITE, tile); }
    return verdict;
}

void fill_tile(Tile tile) {
    uint pattern = s_slot[SLOT_ARGS];
    uint words = tile.bytes / 4u;
    uint vectors = (tile.target.x & 15u) == 0u ? words / 4u : 0u;
    for (uint i = LANE; i < vectors; i += LANES) { Vectors(tile.target).v[i] = uvec4(pattern); }
    for (uint i = vectors * 4u + LANE; i < words; i += LANES) { Words(tile.target).w[i] = pattern; }
}
