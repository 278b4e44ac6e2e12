// COPY: a range of the input to the output.

Verdict check_copy(inout Tile tile) {
    uint length = s_slot[SLOT_LENGTH];
    Verdict verdict = check_bytes();
    if (verdict.fault == FAULT_NONE) { verdict = resolve_input(length, tile); }
    if (verdict.fault == FAULT_NONE) { verdict = resolve_output(length, ACCESS_WRITE, tile); }
    return verdict;
}

void copy_tile(Tile tile) {
    uint words = tile.bytes / 4u;
    uint vectors = ((tile.source.x | tile.target.x) & 15u) == 0u ? words / 4u : 0u;
    for (uint i = LANE; i < vectors; i += LANES) { Vectors(tile.target).v[i] = Vectors(tile.source).v[i]; }
    for (uint i = vectors * 4u + LANE; i < words; i += LANES) { Words(tile.target).w[i] = Words(tile.source).w[i]; }
}
