// Operations of the user's own, in kernels that `cargo xtask build-shaders --ops DIR` builds: docs/custom-operations.md says what a
// file of DIR defines. The committed modules have none.

// Whether this kernel was built with the operation of this number.
bool compiled_custom(uint number) { return (OPERATIONS >> (CUSTOM_BIT + number) & 1u) != 0u; }

// Generated: CUSTOM_COUNT, and custom_check, custom_fuel, custom_stride and custom_tile, which fan out to the operations.
#include "custom_operations.glsl"

const bool HAS_CUSTOM = (OPERATIONS >> CUSTOM_BIT) != 0u;

bool is_custom(uint operation) { return operation - USER_OPERATIONS < CUSTOM_COUNT; }

// What check_rights says of the others.
Verdict check_custom_rights(uint mask, uint operation) {
    uint number = operation - USER_OPERATIONS;
    if (!compiled_custom(number)) { return Verdict(FAULT_UNKNOWN_OPERATION, operation); }
    return (mask >> (CUSTOM_BIT + number) & 1u) != 0u ? ACCEPTED : Verdict(FAULT_OPERATION_DENIED, operation);
}

// A worker keeps MAX_TILE_FUEL back for a tile, so one that costs more must not begin. All tiles of the slot are judged alike.
Verdict check_custom(inout Tile tile) {
    uint fuel = custom_fuel(tile.operation, min(s_slot[SLOT_TILE_SPAN], s_slot[SLOT_LENGTH]));
    Verdict verdict = custom_check(tile);
    if (verdict.fault == FAULT_NONE && fuel > MAX_TILE_FUEL) { verdict = Verdict(FAULT_OUT_OF_FUEL, fuel); }
    return verdict;
}
