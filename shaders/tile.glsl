// Tiles of the bulk operations: what they need of the kernel around them, and how the lanes run them.

shared uint s_slot[SLOT_WORDS];
// Words that an operation may use as it likes while it runs a tile, and a run of scalar slots likewise. How much shared memory a worker
// takes says how many are resident.
shared uint s_scratch[VIR_MAX_SCRATCH];

struct Verdict {
    uint fault;
    uint word;
};

const Verdict ACCEPTED = Verdict(FAULT_NONE, 0u);

// What the lanes do with a tile: computed by each of them alike.
struct Tile {
    uint operation; // 0: nothing to run
    uint number;    // of the tile in its slot
    uint bytes;
    uvec2 source;
    uvec2 target;
};

// The kernel finds its operands where its slots name them. One whose slots were checked before brings neither.
Verdict resolve_input(uint bytes, inout Tile tile);
Verdict resolve_output(uint bytes, uint access, inout Tile tile);

// Whether `tiles` tiles of `span` bytes cover `length` bytes.
bool covers(uint tiles, uint span, uint length) {
    uint high, low;
    umulExtended(tiles, span, high, low);
    return high != 0u || low >= length;
}

// Bytes of the tile within the slot's length.
uint tile_bytes(uint number, uint span) {
    uint high, low;
    umulExtended(number, span, high, low);
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

// Whether this kernel was built with the operation.
bool compiled(uint operation) { return (OPERATIONS >> operation & 1u) != 0u; }

#include "op_fill.glsl"
#include "op_copy.glsl"
#include "op_blake3.glsl"
#include "op_reduce.glsl"
#include "op_histogram.glsl"

#ifdef VYRE_CUSTOM
#include "custom.glsl"
const bool HAS_BULK = true;
#else
const bool HAS_BULK = (OPERATIONS & (1u << OP_FILL | 1u << OP_COPY | 1u << OP_BLAKE3 | 1u << OP_REDUCE |
    1u << OP_HISTOGRAM)) != 0u;
#endif

// Bytes of the output between two tiles of `span` bytes.
uint output_span(uint operation, uint span) {
#ifdef VYRE_CUSTOM
    if (is_custom(operation)) { return custom_stride(operation, span); }
#endif
    if (operation == OP_REDUCE) { return 8u; }
    if (operation == OP_HISTOGRAM) { return 0u; }
    return operation == OP_BLAKE3 ? RECORD_BYTES : span;
}

// Moves the tile from the start of its slot's operands to its own place.
void place(inout Tile tile) {
    if (!HAS_BULK) { return; }
    uint span = s_slot[SLOT_TILE_SPAN] * (tile.operation == OP_BLAKE3 ? CHUNK_BYTES : 1u);
    tile.bytes = tile_bytes(tile.number, span);
    tile.source = address_at(tile.source, tile.number * span);
    tile.target = address_at(tile.target, tile.number * output_span(tile.operation, span));
}

// Runs the tile on all lanes.
void run_bulk(Tile tile) {
    if (tile.operation == OP_FILL && compiled(OP_FILL)) { fill_tile(tile); }
    if (tile.operation == OP_COPY && compiled(OP_COPY)) { copy_tile(tile); }
    if (tile.operation == OP_BLAKE3 && compiled(OP_BLAKE3)) { blake3_tile(tile); }
    if (tile.operation == OP_REDUCE && compiled(OP_REDUCE)) { reduce_tile(tile); }
    if (tile.operation == OP_HISTOGRAM && compiled(OP_HISTOGRAM)) { histogram_tile(tile); }
#ifdef VYRE_CUSTOM
    if (is_custom(tile.operation)) { custom_tile(tile); }
#endif
}
