// PACKED: several operations on words in one slot, by lane 0, in order. All are checked before the first one runs.

// Result words of the completion.
shared uint s_results[2];

const bool HAS_PACKED = (OPERATIONS >> OP_PACKED & 1u) != 0u;

// A word of the program.
uint packed_word(uint at) { return at < PACKED_WORDS ? s_slot[SLOT_TILE_SPAN + at] : 0u; }

// The word that the inner operation with this head works on.
Verdict resolve_inner(uint head, out uvec2 address) {
    uint operation = head & ((1u << PACKED_CODE_BITS) - 1u);
    bool load = operation == OP_LOAD_U32;
    uint operand = load ? SLOT_INPUT : SLOT_OUTPUT;
    uint offset = s_slot[operand + 1u] + (head >> PACKED_CODE_BITS) * 4u;
    // Beyond 32 bits it is in no resource.
    if (offset < s_slot[operand + 1u]) { offset = 0xfffffffcu; }
    address = uvec2(0u);
    if (operation == OP_NOP) { return ACCEPTED; }
    return resolve_at(s_slot[operand], offset, load ? ROW_INPUT : ROW_OUTPUT, 4u, load ? ACCESS_READ : word_access(operation), address);
}

Verdict check_inner(uint head, uint left) {
    uint operation = head & ((1u << PACKED_CODE_BITS) - 1u);
    uint size = operation <= OP_LAST ? PACKED_INNER_WORDS[operation] : 0u;
    if (size == 0u || size > left) { return Verdict(FAULT_BAD_ARGUMENT, head); }
    if (!compiled(operation)) { return Verdict(FAULT_UNKNOWN_OPERATION, operation); }
    if (!allowed(operation)) { return Verdict(FAULT_OPERATION_DENIED, operation); }
    uvec2 address;
    return resolve_inner(head, address);
}

Verdict check_packed() {
    uint bytes = s_slot[SLOT_LENGTH];
    if (s_slot[SLOT_TILES] != 1u) { return Verdict(FAULT_BAD_ARGUMENT, s_slot[SLOT_TILES]); }
    if ((bytes & 3u) != 0u) { return Verdict(FAULT_MISALIGNED, bytes); }
    if (bytes / 4u > PACKED_WORDS) { return Verdict(FAULT_BAD_ARGUMENT, bytes); }
    Verdict verdict = ACCEPTED;
    for (uint at = 0u; at < bytes / 4u && verdict.fault == FAULT_NONE;) {
        uint head = packed_word(at);
        verdict = check_inner(head, bytes / 4u - at);
        if (verdict.fault == FAULT_NONE) { at += PACKED_INNER_WORDS[head & ((1u << PACKED_CODE_BITS) - 1u)]; }
    }
    return verdict;
}

void packed_tile() {
    if (LANE != 0u) { return; }
    s_results = uint[](0u, 0u);
    uint results = 0u;
    uint words = min(s_slot[SLOT_LENGTH] / 4u, PACKED_WORDS);
    for (uint at = 0u; at < words;) {
        uint head = packed_word(at);
        uint operation = head & ((1u << PACKED_CODE_BITS) - 1u);
        uvec2 address;
        resolve_inner(head, address);
        // What came before is there for whoever sees this one.
        memoryBarrier(gl_ScopeDevice, gl_StorageSemanticsBuffer,
            gl_SemanticsAcquireRelease | gl_SemanticsMakeAvailable | gl_SemanticsMakeVisible);
        uint result = run_word(operation, address, packed_word(at + 1u), packed_word(at + 2u));
        if (operation != OP_NOP && operation != OP_STORE_U32) {
            if (results < 2u) { s_results[results] = result; }
            ++results;
        }
        at += max(PACKED_INNER_WORDS[operation], 1u);
    }
}
