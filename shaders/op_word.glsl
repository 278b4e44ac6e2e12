// STORE_U32, LOAD_U32, ATOMIC_ADD, COMPARE_SWAP: operations on one word, by lane 0.

// Result words of the completion; only these operations have any, alone or packed.
shared uint s_results[2];

const bool HAS_WORD_OPERATIONS = (OPERATIONS & (1u << OP_STORE_U32 | 1u << OP_LOAD_U32 | 1u << OP_ATOMIC_ADD |
    1u << OP_COMPARE_SWAP)) != 0u;

bool is_word_operation(uint operation) {
    return HAS_WORD_OPERATIONS && operation >= OP_STORE_U32 && operation <= OP_COMPARE_SWAP;
}

// What an operation that changes a word needs.
uint word_access(uint operation) { return operation == OP_STORE_U32 ? ACCESS_WRITE : ACCESS_WRITE | ACCESS_ATOMIC; }

Verdict check_word(inout Tile tile) {
    if (s_slot[SLOT_TILES] != 1u) { return Verdict(FAULT_BAD_ARGUMENT, s_slot[SLOT_TILES]); }
    if (s_slot[SLOT_LENGTH] != 4u) { return Verdict(FAULT_BAD_ARGUMENT, s_slot[SLOT_LENGTH]); }
    if (tile.operation == OP_LOAD_U32) { return resolve_input(4u, tile); }
    return resolve_output(4u, word_access(tile.operation), tile);
}

// Runs one of the operations on the word at the address; only one lane does. Gives its result.
uint run_word(uint operation, uvec2 address, uint first, uint second) {
    if (operation == OP_STORE_U32) { atomicStore(Words(address).w[0], first, RELAXED); }
    if (operation == OP_LOAD_U32) { return atomicLoad(Words(address).w[0], RELAXED); }
    if (operation == OP_ATOMIC_ADD) { return atomicAdd(Words(address).w[0], first, RELAXED); }
    if (operation == OP_COMPARE_SWAP) {
        return atomicCompSwap(Words(address).w[0], first, second, gl_ScopeDevice, 0, 0, 0, 0);
    }
    return 0u;
}

void word_tile(Tile tile) {
    if (LANE != 0u) { return; }
    uvec2 address = tile.operation == OP_LOAD_U32 ? tile.source : tile.target;
    s_results[0] = run_word(tile.operation, address, s_slot[SLOT_ARGS], s_slot[SLOT_ARGS + 1u]);
    s_results[1] = 0u;
}
