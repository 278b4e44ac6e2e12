// HISTOGRAM: how many elements of a tile fall into each bin, counted in the scratch and added to the output once a tile.

uint histogram_bins() { return s_slot[SLOT_ARGS] == 0u ? 256u : s_slot[SLOT_ARGS + 3u]; }

Verdict check_histogram(inout Tile tile) {
    Verdict verdict = check_bytes();
    uint bins = histogram_bins();
    if (verdict.fault != FAULT_NONE) { return verdict; }
    if (s_slot[SLOT_ARGS] > 1u) { return Verdict(FAULT_BAD_ARGUMENT, s_slot[SLOT_ARGS]); }
    if (bins == 0u || bins > MAX_BINS) { return Verdict(FAULT_BAD_ARGUMENT, bins); }
    if (s_slot[SLOT_ARGS] == 1u && s_slot[SLOT_ARGS + 2u] > 31u) { return Verdict(FAULT_BAD_ARGUMENT, s_slot[SLOT_ARGS + 2u]); }
    verdict = resolve_input(s_slot[SLOT_LENGTH], tile);
    if (verdict.fault == FAULT_NONE) { verdict = resolve_output(bins * 4u, ACCESS_WRITE | ACCESS_ATOMIC, tile); }
    return verdict;
}

uint histogram_fuel(Tile tile) { return (tile.bytes / 4u + 2u * MAX_BINS) / LANES + 8u; }

void count_bin(uint bin, uint bins) {
    if (bin < bins) { atomicAdd(s_scratch[bin], 1u); }
}

void count_word(uint word, uint bins) {
    if (s_slot[SLOT_ARGS] == 0u) {
        count_bin(word & 0xffu, bins);
        count_bin(word >> 8 & 0xffu, bins);
        count_bin(word >> 16 & 0xffu, bins);
        count_bin(word >> 24, bins);
    } else {
        count_bin((word - s_slot[SLOT_ARGS + 1u]) >> s_slot[SLOT_ARGS + 2u], bins);
    }
}

// Four words of the tile, or zeros behind its end, which nobody counts.
uvec4 four_words(Tile tile, uint i, uint vectors) { return i < vectors ? Vectors(tile.source).v[i] : uvec4(0u); }

// Each lane has two loads on their way while it counts.
void histogram_tile(Tile tile) {
    uint bins = histogram_bins();
    uint words = tile.bytes / 4u;
    uint vectors = (tile.source.x & 15u) == 0u ? words / 4u : 0u;
    for (uint i = LANE; i < bins; i += LANES) { s_scratch[i] = 0u; }
    meet();
    uvec4 next = four_words(tile, LANE, vectors);
    uvec4 after = four_words(tile, LANE + LANES, vectors);
    for (uint i = LANE; i < vectors; i += LANES) {
        uvec4 four = next;
        next = after;
        after = four_words(tile, i + 2u * LANES, vectors);
        count_word(four.x, bins);
        count_word(four.y, bins);
        count_word(four.z, bins);
        count_word(four.w, bins);
    }
    for (uint i = vectors * 4u + LANE; i < words; i += LANES) { count_word(Words(tile.source).w[i], bins); }
    meet();
    for (uint i = LANE; i < bins; i += LANES) {
        if (s_scratch[i] != 0u) { atomicAdd(Words(tile.target).w[i], s_scratch[i], RELAXED); }
    }
}
