// The debug log: lines of PRINTF, and in a traced run a record of each tile. The newest records stay; a reader sees by the stamps
// what it missed.

shared uint s_log_position;
// When the tile was taken, and when it ended.
shared uvec4 s_clocks;

// Takes the next record's place. All lanes run this, and then write_log.
void take_log_position() {
    if (LANE == 0u) { s_log_position = local_add(LOCAL_LOG_TAIL, 1u); }
    meet();
}

// Writes the record, each lane its own word.
void write_log(uint data) {
    uint word = HEADER_WORDS + (s_log_position & (s_log_records - 1u)) * RECORD_WORDS;
    write_record(REGION_DEBUG_LOG, word, (s_log_position >> findLSB(s_log_records)) + 1u, data);
}

// This lane's data word of the tile's record.
uint tile_word(Claim claim) {
    if (LANE == 0u) { return claim.tile | s_slot[SLOT_OPERATION] << 16; }
    if (LANE == 1u) { return (gl_WorkGroupID.x & 0xffffu) | s_slot[SLOT_TENANT] << 16; }
    if (LANE == 2u) { return claim.ticket; }
    if (LANE == 3u) { return claim.priority | LOG_TILE << 16; }
    return LANE < RECORD_DATA ? s_clocks[LANE - 4u] : 0u;
}

// Leaves a record of the tile, before the completion of its slot. All lanes run this.
void trace_tile(Claim claim) {
    // A tile ends with its last lane.
    meet();
    if (LANE == 0u) { s_clocks = uvec4(claim.clock, device_clock()); }
    take_log_position();
    write_log(tile_word(claim));
}
