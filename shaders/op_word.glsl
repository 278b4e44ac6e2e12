// STORE_U32, LOAD_U32, ATOMIC_ADD, COMPARE_SWAP: operations on one word, by one lane; `run.glsl` or PACKED runs them.

const bool HAS_WORD_OPERATIONS = (OPERATIONS & (1u << OP_STORE_U32 | 1u << OP_LOAD_U32 | 1u << OP_ATOMIC_ADD |
    1u << OP_COMPARE_SWAP)) != 0u;

bool is_word_operation(uint operation) {
    return HAS_WORD_OPERATIONS && operation >= OP_STORE_U32 && operation <= OP_COMPARE_SWAP;
}

// What an operation that changes a word needs.
uint word_access(uint operation) { return operation == OP_STORE_U32 ? ACCESS_WRITE : ACCESS_WRITE | ACCESS_ATOMIC; }

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
