// swap: the words of the input with their bytes the other way round, to the output. Slots are those of COPY.

Verdict check_swap(inout Tile tile) {
    Verdict verdict = check_bytes();
    if (verdict.fault == FAULT_NONE) { verdict = resolve_input(s_slot[SLOT_LENGTH], tile); }
    if (verdict.fault == FAULT_NONE) { verdict = resolve_output(s_slot[SLOT_LENGTH], ACCESS_WRITE, tile); }
    return verdict;
}

// One loop, whose lanes share the words.
uint swap_fuel(uint bytes) { return bytes / 4u / LANES + 1u; }

// A tile writes as many bytes as it reads.
uint swap_stride(uint span) { return span; }

void swap_tile(Tile tile) {
    for (uint i = LANE; i < tile.bytes / 4u; i += LANES) {
        uint word = Words(tile.source).w[i];
        uint even = word & 0x00ff00ffu;
        uint odd = word & 0xff00ff00u;
        Words(tile.target).w[i] = even << 24u | even >> 8u | odd >> 24u | odd << 8u;
    }
}
