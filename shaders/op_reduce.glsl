// REDUCE: the words of a tile to one. 32 accumulators, in the scratch, whatever the number of lanes, so that floats sum alike everywhere.

Verdict check_reduce(inout Tile tile) {
    Verdict verdict = check_bytes();
    uint kind = s_slot[SLOT_ARGS];
    uint tiles = s_slot[SLOT_TILES];
    if (verdict.fault != FAULT_NONE) { return verdict; }
    if (kind < REDUCE_SUM || kind > REDUCE_MAX_F32) { return Verdict(FAULT_BAD_ARGUMENT, kind); }
    if (s_slot[SLOT_ARGS + 1u] == 0u) { return Verdict(FAULT_BAD_ARGUMENT, 0u); }
    if ((s_slot[SLOT_OUTPUT + 1u] & 7u) != 0u) { return Verdict(FAULT_MISALIGNED, s_slot[SLOT_OUTPUT + 1u]); }
    verdict = resolve_input(s_slot[SLOT_LENGTH], tile);
    if (verdict.fault == FAULT_NONE) { verdict = resolve_output(tiles * 8u, ACCESS_WRITE, tile); }
    return verdict;
}

uint reduce_fuel(Tile tile) { return tile.bytes / 4u / LANES + 2u * (ACCUMULATORS / min(LANES, ACCUMULATORS)) + 20u; }

uint reduce_join(uint kind, uint sum, uint element) {
    if (kind == REDUCE_SUM) { return sum + element; }
    if (kind == REDUCE_SUM_F32) { return floatBitsToUint(uintBitsToFloat(sum) + uintBitsToFloat(element)); }
    bool minimum = kind == REDUCE_MIN_U32 || kind == REDUCE_MIN_I32 || kind == REDUCE_MIN_F32;
    // The lesser of the two is the one that a minimum takes; NaN is never less.
    uint a = minimum ? element : sum;
    uint b = minimum ? sum : element;
    bool less = a < b;
    if (kind == REDUCE_MIN_I32 || kind == REDUCE_MAX_I32) { less = int(a) < int(b); }
    if (kind == REDUCE_MIN_F32 || kind == REDUCE_MAX_F32) { less = uintBitsToFloat(a) < uintBitsToFloat(b); }
    return less ? element : sum;
}

uint reduce_four(uint kind, uint sum, uvec4 elements) {
    sum = reduce_join(kind, reduce_join(kind, sum, elements.x), elements.y);
    return reduce_join(kind, reduce_join(kind, sum, elements.z), elements.w);
}

// The four elements of an accumulator from word `i` on.
uvec4 load_four(uvec2 source, uint i) {
    Words from = Words(source);
    return uvec4(from.w[i], from.w[i + ACCUMULATORS], from.w[i + 2u * ACCUMULATORS], from.w[i + 3u * ACCUMULATORS]);
}

// Eight loads are on their way before the first is joined; they are joined in their order, as the sum of floats demands.
void reduce_tile(Tile tile) {
    uint kind = s_slot[SLOT_ARGS];
    uint words = tile.bytes / 4u;
    for (uint j = LANE; j < ACCUMULATORS; j += LANES) {
        uint sum = REDUCE_IDENTITY[kind];
        uint i = j;
        for (; i + 7u * ACCUMULATORS < words; i += 8u * ACCUMULATORS) {
            uvec4 first = load_four(tile.source, i);
            uvec4 second = load_four(tile.source, i + 4u * ACCUMULATORS);
            sum = reduce_four(kind, reduce_four(kind, sum, first), second);
        }
        for (; i < words; i += ACCUMULATORS) { sum = reduce_join(kind, sum, Words(tile.source).w[i]); }
        s_scratch[j] = sum;
    }
    for (uint stride = ACCUMULATORS / 2u; stride > 0u; stride /= 2u) {
        meet();
        for (uint j = LANE; j < stride; j += LANES) {
            s_scratch[j] = reduce_join(kind, s_scratch[j], s_scratch[j + stride]);
        }
    }
    meet();
    // A tile behind the end of the input writes nothing.
    if (LANE == 0u && (words != 0u || tile.number == 0u)) {
        store_stamped(tile.target, 0u, s_scratch[0], s_slot[SLOT_ARGS + 1u]);
    }
}
