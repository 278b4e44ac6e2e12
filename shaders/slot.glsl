// A slot as its lanes read it: its words, what its handles and its tenant stand for, and its state among the workers.

// Counts of the launch, read once a quantum.
shared uint s_tenants;
shared uint s_observables;
shared uint s_resources;
shared uint s_completion_records;
shared uint s_log_records;

shared uint s_phase;
shared uint s_fault;

// Rows of 8 words: the slot's tenant, the entry of its input, the entry of its output; what is behind them is EXEC's.
const uint ROW = 8u;
const uint ROW_TENANT = 0u;
const uint ROW_INPUT = 8u;
const uint ROW_OUTPUT = 16u;
shared uint s_context[6u * ROW];

// A kernel of operations without operands reads no entries.
const bool HAS_OPERANDS = (OPERATIONS & ~(1u << OP_NOP | 1u << OP_FENCE | 1u << OP_PRINTF)) != 0u;
const uint CONTEXT_WORDS = HAS_OPERANDS ? 3u * ROW : ROW;

uint slot_word(uint index, uint word) { return HEADER_WORDS + index * SLOT_WORDS + word; }
uint state_word(uint index, uint word) { return LOCAL_SLOT_STATES + index * SLOT_STATE_WORDS + word; }

// Reads a slot and its state, all lanes together. The doorbell behind the look covers the slot, so it is there in whole. Who sees the
// counter opened counts behind that.
void load_slot(uint index) {
    for (uint i = LANE; i < SLOT_WORDS; i += LANES) { s_slot[i] = load(REGION_RING, slot_word(index, i)); }
    if (LANE == 0u) {
        s_fault = local_load(state_word(index, STATE_FAULT));
        s_phase = local_load_acquire(state_word(index, STATE_PHASE));
    }
}

// A word of the entry behind a handle; 0, which is valid nowhere, for what does not exist.
uint entry_word(uint handle, uint word) {
    uint index = handle & ((1u << HANDLE_INDEX_BITS) - 1u);
    return index < s_resources ? load(REGION_RESOURCES, HEADER_WORDS + index * ENTRY_WORDS + word) : 0u;
}

// Word `i` of the loaded slot's context; 0, which is valid nowhere, for what does not exist.
uint context_word(uint i) {
    bool tenant = i < ROW_INPUT;
    uint named = s_slot[tenant ? SLOT_TENANT : i < ROW_OUTPUT ? SLOT_INPUT : SLOT_OUTPUT];
    if (!tenant) { return entry_word(named, i % ROW); }
    return named < s_tenants ? load(REGION_CONTROL, CONTROL_TENANTS + named * TENANT_WORDS + i % ROW) : 0u;
}

// Reads all that the checks need in one go, all lanes together: what the host wrote before it published the slot.
void load_context() {
    for (uint i = LANE; i < CONTEXT_WORDS; i += LANES) { s_context[i] = context_word(i); }
}
