// From a claimed tile to what its lanes do. Lane 0 checks everything; the checks come in the order that the reference engine
// and `fault.rs` give.

shared uint s_slot[SLOT_WORDS];
shared uint s_tile;
shared uvec2 s_input;
shared uvec2 s_output;
shared uint s_operation; // 0: nothing to run
shared uint s_bytes;     // of the tile

struct Verdict {
    uint fault;
    uint word;
};

const Verdict ACCEPTED = Verdict(FAULT_NONE, 0u);

uint entry_word(uint index, uint word) { return HEADER_WORDS + index * ENTRY_WORDS + word; }

// Address of `bytes` bytes behind a slot's operand (its handle and offset are at `operand`).
Verdict resolve(uint operand, uint bytes, uint access, out uvec2 address) {
    uint handle = s_slot[operand];
    uint offset = s_slot[operand + 1u];
    uint index = handle & ((1u << HANDLE_INDEX_BITS) - 1u);
    uint generation = handle >> HANDLE_INDEX_BITS;
    address = uvec2(0u);
    if (index >= load(REGION_CONTROL, COUNT_RESOURCES) || generation == 0u ||
        load_acquire(REGION_RESOURCES, entry_word(index, ENTRY_GENERATION)) != generation) {
        return Verdict(FAULT_BAD_HANDLE, handle);
    }
    uint owner = load(REGION_RESOURCES, entry_word(index, ENTRY_OWNER));
    bool allowed = (load(REGION_RESOURCES, entry_word(index, ENTRY_ACCESS)) & access) == access;
    if ((owner != OWNER_SHARED && owner != s_slot[SLOT_TENANT]) || !allowed) {
        return Verdict(FAULT_ACCESS_DENIED, handle);
    }
    if ((offset & 3u) != 0u) { return Verdict(FAULT_MISALIGNED, offset); }
    uint length = load(REGION_RESOURCES, entry_word(index, ENTRY_LENGTH));
    if (offset > length || bytes > length - offset) { return Verdict(FAULT_OUT_OF_RANGE, offset); }
    address = address_at(uvec2(load(REGION_RESOURCES, entry_word(index, ENTRY_ADDRESS)),
        load(REGION_RESOURCES, entry_word(index, ENTRY_ADDRESS + 1u))), offset);
    return ACCEPTED;
}

// Whether `tiles` tiles of `span` bytes cover `length` bytes.
bool covers(uint tiles, uint span, uint length) {
    uint high, low;
    umulExtended(tiles, span, high, low);
    return high != 0u || low >= length;
}

// Bytes of the tile within the slot's length.
uint tile_bytes(uint span) {
    uint high, low;
    umulExtended(s_tile, span, high, low);
    return high != 0u || low >= s_slot[SLOT_LENGTH] ? 0u : min(span, s_slot[SLOT_LENGTH] - low);
}

// What FILL and COPY have in common.
Verdict check_bytes() {
    uint length = s_slot[SLOT_LENGTH];
    uint span = s_slot[SLOT_TILE_SPAN];
    if ((length & 3u) != 0u) { return Verdict(FAULT_MISALIGNED, length); }
    if ((span & 3u) != 0u) { return Verdict(FAULT_MISALIGNED, span); }
    if (span == 0u || span > MAX_TILE_BYTES) { return Verdict(FAULT_BAD_ARGUMENT, span); }
    if (!covers(s_slot[SLOT_TILES], span, length)) { return Verdict(FAULT_BAD_ARGUMENT, s_slot[SLOT_TILES]); }
    return ACCEPTED;
}

#include "op_fill.glsl"
#include "op_copy.glsl"
#include "op_blake3.glsl"

// Whether this kernel was built with the operation.
bool compiled(uint operation) { return (OPERATIONS >> operation & 1u) != 0u; }

// Loop iterations that a tile of the prepared slot costs each lane, rounded up.
uint tile_fuel(uint operation) {
    if (operation == OP_BLAKE3) { return blake3_fuel(); }
    return operation == OP_NOP ? 0u : s_bytes / 4u / LANES + 5u;
}

Verdict check_operation(uint operation) {
    if (operation == OP_FILL && compiled(OP_FILL)) { return check_fill(); }
    if (operation == OP_COPY && compiled(OP_COPY)) { return check_copy(); }
    if (operation == OP_BLAKE3 && compiled(OP_BLAKE3)) { return check_blake3(); }
    return ACCEPTED;
}

Verdict check_slot() {
    uint tenant = s_slot[SLOT_TENANT];
    uint operation = s_slot[SLOT_OPERATION];
    if (tenant >= load(REGION_CONTROL, COUNT_TENANTS) ||
        load_acquire(REGION_CONTROL, CONTROL_TENANTS + tenant * TENANT_WORDS + TENANT_STATE) != TENANT_ACTIVE) {
        return Verdict(FAULT_UNKNOWN_TENANT, tenant);
    }
    if (operation < OP_NOP || operation > OP_LAST || !compiled(operation)) {
        return Verdict(FAULT_UNKNOWN_OPERATION, operation);
    }
    uint allowed = load(REGION_CONTROL, CONTROL_TENANTS + tenant * TENANT_WORDS + TENANT_OPERATIONS);
    if ((allowed >> operation & 1u) == 0u) { return Verdict(FAULT_OPERATION_DENIED, operation); }
    return check_operation(operation);
}

// Reads the slot of a claim, all lanes together.
void load_slot(uint index) {
    for (uint i = LANE; i < SLOT_WORDS; i += LANES) { s_slot[i] = load(REGION_RING, slot_word(index, i)); }
}

// Decides what the lanes do with the claimed tile of the loaded slot. Only lane 0 runs this.
void prepare(Claim claim, inout Worker worker) {
    s_tile = claim.tile;
    s_operation = 0u;
    // The slot's other tiles are spared once one has faulted.
    if (local_load(state_word(claim.index, STATE_FAULT)) != FAULT_NONE) { return; }
    Verdict verdict = check_slot();
    if (verdict.fault == FAULT_NONE) {
        s_operation = s_slot[SLOT_OPERATION];
        worker.fuel -= min(worker.fuel, tile_fuel(s_operation));
    } else if (local_swap(state_word(claim.index, STATE_FAULT), FAULT_NONE, verdict.fault)) {
        local_store(state_word(claim.index, STATE_FAULT_WORD), verdict.word);
    }
}

// Runs the tile on all lanes.
void execute() {
    if (s_operation == OP_FILL && compiled(OP_FILL)) { fill_tile(); }
    if (s_operation == OP_COPY && compiled(OP_COPY)) { copy_tile(); }
    if (s_operation == OP_BLAKE3 && compiled(OP_BLAKE3)) { blake3_tile(); }
}
