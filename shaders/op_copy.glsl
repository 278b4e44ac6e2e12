// COPY: a range of the input to the output.

Verdict check_copy(inout Tile tile) {
    uint length = s_slot[SLOT_LENGTH];
    Verdict verdict = check_bytes();
    if (verdict.fault == FAULT_NONE) { verdict = resolve_input(length, tile); }
    if (verdict.fault == FAULT_NONE) { verdict = resolve_output(length, ACCESS_WRITE, tile); }
    return verdict;
}

// Four loads before the first store: a compiler must take it that a store changes what a later load reads, so in a plain loop each
// lane would wait for memory once for every 16 bytes.
void copy_tile(Tile tile) {
    uint words = tile.bytes / 4u;
    uint vectors = ((tile.source.x | tile.target.x) & 15u) == 0u ? words / 4u : 0u;
    Vectors source = Vectors(tile.source);
    Vectors target = Vectors(tile.target);
    uint i = LANE;
    for (; i + 3u * LANES < vectors; i += 4u * LANES) {
        uvec4 a = source.v[i];
        uvec4 b = source.v[i + LANES];
        uvec4 c = source.v[i + 2u * LANES];
        uvec4 d = source.v[i + 3u * LANES];
        target.v[i] = a;
        target.v[i + LANES] = b;
        target.v[i + 2u * LANES] = c;
        target.v[i + 3u * LANES] = d;
    }
    for (; i < vectors; i += LANES) { target.v[i] = source.v[i]; }
    for (i = vectors * 4u + LANE; i < words; i += LANES) { Words(tile.target).w[i] = Words(tile.source).w[i]; }
}
