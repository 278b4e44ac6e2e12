// popcount: how many bits are set in each tile of the input, a word for each tile. Slots are those of COPY; the output takes 4 bytes
// for each tile.

Verdict check_popcount(inout Tile tile) {
    Verdict verdict = check_bytes();
    if (verdict.fault == FAULT_NONE) { verdict = resolve_input(s_slot[SLOT_LENGTH], tile); }
    if (verdict.fault == FAULT_NONE) { verdict = resolve_output(s_slot[SLOT_TILES] * 4u, ACCESS_WRITE, tile); }
    return verdict;
}

uint popcount_fuel(uint bytes) { return bytes / 4u / LANES + 1u; }

uint popcount_stride(uint span) { return 4u; }

void popcount_tile(Tile tile) {
    if (LANE == 0u) { s_scratch[0] = 0u; }
    meet();
    uint bits = 0u;
    for (uint i = LANE; i < tile.bytes / 4u; i += LANES) { bits += uint(bitCount(Words(tile.source).w[i])); }
    atomicAdd(s_scratch[0], bits);
    meet();
    if (LANE == 0u) { Words(tile.target).w[0] = s_scratch[0]; }
}
