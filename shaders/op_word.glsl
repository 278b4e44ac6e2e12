// STORE_U32, LOAD_U32, ATOMIC_ADD, COMPARE_SWAP: operations on one word, by lane 0.

// Result words of the completion; only these operations have any.
shared uint s_result;

const bool HAS_WORD_OPERATIONS = (OPERATIONS & (1u << OP_STORE_U32 | 1u << OP_LOAD_U32 | 1u << OP_ATOMIC_ADD |
    1u << OP_COMPARE_SWAP)) != 0u;

bool is_word_operation(uint operation) {
    return HAS_WORD_OPERATIONS && operation >= OP_STORE_U32 && operation <= OP_COMPARE_SWAP;
}

Verdict check_word(inout Tile tile) {
    if (s_slot[SLOT_TILES] != 1u) { return Verdict(FAULT_BAD_ARGUMENT, s_slot[SLOT_TILES]); }
    if (s_slot[SLOT_LENGTH] != 4u) { return Verdict(FAULT_BAD_ARGUMENT, s_slot[SLOT_LENGTH]); }
    if (tile.operation == OP_LOAD_U32) { return resolve_input(4u, tile); }
    uint access = tile.operation == OP_STORE_U32 ? ACCESS_WRITE : ACCESS_WRITE | ACCESS_ATOMIC;
    return resolve_output(4u, access, tile);
}

void word_tile(Tile tile) {
    if (LANE != 0u) { return; }
    uint value = s_slot[SLOT_ARGS];
    if (tile.operation == OP_STORE_U32) {
        atomicStore(Words(tile.target).w[0], value, RELAXED);
        s_result = 0u;
    }
    if (tile.operation == OP_LOAD_U32) { s_result = atomicLoad(Words(tile.source).w[0], RELAXED); }
    if (tile.operation == OP_ATOMIC_ADD) { s_result = atomicAdd(Words(tile.target).w[0], value, RELAXED); }
    if (tile.operation == OP_COMPARE_SWAP) {
        s_result = atomicCompSwap(Words(tile.target).w[0], value, s_slot[SLOT_ARGS + 1u], gl_ScopeDevice, 0, 0, 0, 0);
    }
}
