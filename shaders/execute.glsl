// From a claimed tile to what its lanes do. All lanes check alike, in the order that the reference engine and `fault.rs` give.

// A resource's entry, as far as the checks need it.
struct Entry {
    uint generation;
    uint owner;
    uint access;
    uint size;
    uvec2 address;
};

Entry table_entry(uint row) {
    return Entry(s_context[row + ENTRY_GENERATION], s_context[row + ENTRY_OWNER], s_context[row + ENTRY_ACCESS],
        s_context[row + ENTRY_LENGTH], uvec2(s_context[row + ENTRY_ADDRESS], s_context[row + ENTRY_ADDRESS + 1u]));
}

// The host looks at them, so nothing may change one in one step.
Entry observables() {
    return Entry(0u, OWNER_SHARED, ACCESS_READ | ACCESS_WRITE, s_observables * 4u,
        address_at(launch.regions[REGION_STATUS], STATUS_OBSERVABLES * 4u));
}

// Address of `bytes` bytes at an offset of the resource behind a tenant's handle, whose entry was read.
Verdict resolve(Entry entry, uint tenant, uint handle, uint offset, uint bytes, uint access, out uvec2 address) {
    uint generation = handle >> HANDLE_INDEX_BITS;
    bool observable = handle == HANDLE_OBSERVABLES;
    address = uvec2(0u);
    if (!observable && (generation == 0u || entry.generation != generation)) { return Verdict(FAULT_BAD_HANDLE, handle); }
    if (observable) { entry = observables(); }
    bool ours = entry.owner == OWNER_SHARED || entry.owner == tenant;
    if (!ours || (entry.access & access) != access) { return Verdict(FAULT_ACCESS_DENIED, handle); }
    if ((offset & 3u) != 0u) { return Verdict(FAULT_MISALIGNED, offset); }
    if (offset > entry.size || bytes > entry.size - offset) { return Verdict(FAULT_OUT_OF_RANGE, offset); }
    address = address_at(entry.address, offset);
    return ACCEPTED;
}

// The same for the loaded slot, of which `row` has the entry.
Verdict resolve_at(uint handle, uint offset, uint row, uint bytes, uint access, out uvec2 address) {
    return resolve(table_entry(row), s_slot[SLOT_TENANT], handle, offset, bytes, access, address);
}

Verdict resolve_input(uint bytes, inout Tile tile) {
    return resolve_at(s_slot[SLOT_INPUT], s_slot[SLOT_INPUT + 1u], ROW_INPUT, bytes, ACCESS_READ, tile.source);
}
Verdict resolve_output(uint bytes, uint access, inout Tile tile) {
    return resolve_at(s_slot[SLOT_OUTPUT], s_slot[SLOT_OUTPUT + 1u], ROW_OUTPUT, bytes, access, tile.target);
}

// Whether a tenant with this state and mask may use the operation, and this kernel has it.
Verdict check_rights(uint tenant, uint state, uint mask, uint operation) {
    if (state != TENANT_ACTIVE) { return Verdict(FAULT_UNKNOWN_TENANT, tenant); }
#ifdef VYRE_CUSTOM
    if (is_custom(operation)) { return check_custom_rights(mask, operation); }
#endif
    if (operation < OP_NOP || operation > OP_LAST || !compiled(operation)) { return Verdict(FAULT_UNKNOWN_OPERATION, operation); }
    return (mask >> operation & 1u) != 0u ? ACCEPTED : Verdict(FAULT_OPERATION_DENIED, operation);
}

// Whether the loaded slot's tenant may use the operation.
bool allowed(uint operation) { return (s_context[ROW_TENANT + TENANT_OPERATIONS] >> operation & 1u) != 0u; }

// Loop iterations of a tile that count as one busy turn more.
const uint FUEL_PER_BUSY_TURN = 4u;

#include "op_word.glsl"
#include "op_printf.glsl"
#include "op_packed.glsl"
// The interpreter is half of a kernel's code, and drivers read all of it when a runtime starts, used or not.
#ifdef VYRE_EXEC
#include "op_exec.glsl"
#else
const bool HAS_EXEC = false;
#endif

// Loop iterations that a tile costs each lane, rounded up.
uint tile_fuel(Tile tile) {
#ifdef VYRE_CUSTOM
    if (is_custom(tile.operation)) { return custom_fuel(tile.operation, tile.bytes); }
#endif
    if (tile.operation == OP_BLAKE3) { return blake3_fuel(tile); }
    if (tile.operation == OP_REDUCE) { return reduce_fuel(tile); }
    if (tile.operation == OP_HISTOGRAM) { return histogram_fuel(tile); }
    if (tile.operation == OP_PACKED) { return 2u * PACKED_WORDS; }
    // The program's own fuel is taken when it has run.
    if (tile.operation == OP_EXEC) { return VIR_SETUP_FUEL; }
    return tile.operation == OP_NOP || tile.operation == OP_FENCE || tile.operation == OP_PRINTF ? 0u : tile.bytes / 4u / LANES + 5u;
}

Verdict check_operation(inout Tile tile) {
    if (tile.operation == OP_FILL && compiled(OP_FILL)) { return check_fill(tile); }
    if (tile.operation == OP_COPY && compiled(OP_COPY)) { return check_copy(tile); }
    if (tile.operation == OP_BLAKE3 && compiled(OP_BLAKE3)) { return check_blake3(tile); }
    // Those of one tile are scalar slots, and have been taken as such.
    if (is_word_operation(tile.operation)) { return Verdict(FAULT_BAD_ARGUMENT, s_slot[SLOT_TILES]); }
    if (tile.operation == OP_FENCE && s_slot[SLOT_TILES] != 1u) { return Verdict(FAULT_BAD_ARGUMENT, s_slot[SLOT_TILES]); }
    if (tile.operation == OP_PRINTF && HAS_PRINTF) { return check_printf(); }
    if (tile.operation == OP_PACKED && HAS_PACKED) { return check_packed(); }
    if (tile.operation == OP_REDUCE && compiled(OP_REDUCE)) { return check_reduce(tile); }
    if (tile.operation == OP_HISTOGRAM && compiled(OP_HISTOGRAM)) { return check_histogram(tile); }
#ifdef VYRE_EXEC
    if (tile.operation == OP_EXEC && HAS_EXEC) { return check_exec(tile); }
#endif
#ifdef VYRE_CUSTOM
    if (is_custom(tile.operation)) { return check_custom(tile); }
#endif
    return ACCEPTED;
}

Verdict check_slot(inout Tile tile) {
    uint operation = s_slot[SLOT_OPERATION];
    Verdict verdict = check_rights(s_slot[SLOT_TENANT], s_context[ROW_TENANT + TENANT_STATE],
        s_context[ROW_TENANT + TENANT_OPERATIONS], operation);
    if (verdict.fault != FAULT_NONE) { return verdict; }
    tile.operation = operation;
    return check_operation(tile);
}

// Leaves the fault of a tile to the slot's other tiles.
void note_fault(Claim claim, Verdict verdict) {
    if (claim.tiles > 1u && LANE == 0u && local_swap(state_word(claim.index, STATE_FAULT), FAULT_NONE, verdict.fault)) {
        local_store(state_word(claim.index, STATE_FAULT_WORD), verdict.word);
    }
}

// A tile of more loop iterations gives another worker the chance to look at the host meanwhile. For shorter ones the lease stays where
// it is: the multiprocessor that holds it has the kernel's code at hand, which fetched anew costs more than such a tile.
const uint LEASE_FUEL = 8u;

// Decides what the lanes do with the claimed tile of the loaded slot.
Verdict prepare(Claim claim, inout Worker worker, out Tile tile) {
    tile = Tile(0u, claim.tile, 0u, uvec2(0u), uvec2(0u));
    Verdict verdict = check_slot(tile);
    if (verdict.fault == FAULT_NONE) {
        place(tile);
        uint fuel = tile_fuel(tile);
        worker.fuel -= min(worker.fuel, fuel);
        // After a long tile it looks at the host at once: what is more urgent waits for one tile only.
        worker.busy += fuel / FUEL_PER_BUSY_TURN;
        if (fuel > LEASE_FUEL) { return_lease(worker); }
    } else {
        tile.operation = 0u;
        note_fault(claim, verdict);
    }
    return verdict;
}

// Runs the tile on all lanes. Only a program can fault still.
Verdict execute(Claim claim, Tile tile, inout Worker worker) {
    run_bulk(tile);
    if (tile.operation == OP_PRINTF && HAS_PRINTF) { printf_tile(claim); }
    if (tile.operation == OP_PACKED && HAS_PACKED) { packed_tile(); }
    Verdict verdict = ACCEPTED;
#ifdef VYRE_EXEC
    if (tile.operation == OP_EXEC && HAS_EXEC) {
        verdict = exec_tile(claim, worker);
        if (verdict.fault != FAULT_NONE) { note_fault(claim, verdict); }
    }
#endif
    return verdict;
}
