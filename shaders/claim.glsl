// Taking tiles: the same functions as `claim.rs` of the reference engine. Lane 0 runs them.

// What lane 0 has taken.
struct Claim {
    uint priority;
    uint ticket;      // wire form
    uint generation;
    uint index;       // of the slot in the ring
    uint tile;
};

// What a worker remembers during a quantum; lane 0 has it.
struct Worker {
    uint fuel;
    uint above;       // claims in a row while a lower partition had work
    uint blocked;     // partitions that gave nothing although they have work, since the last success
    uint busy;        // turns since the last poll
    uint turns;
    uint idle_turns;
    uint tiles;
    bool leased;      // holds the poll lease
};

// Claims from above in a row before one from below is served.
const uint STARVATION_GUARD = 16u;

// The partitions, read once a quantum.
shared uint s_offsets[PARTITIONS + 1u];
shared uint s_laps[PARTITIONS];
// The polled line and the fronts, as they were at the end of the last turn.
shared uint s_polled[POLLED_WORDS];
shared uint s_front[PARTITIONS];

void load_partitions() {
    if (LANE <= PARTITIONS) { s_offsets[LANE] = load(REGION_CONTROL, CONTROL_OFFSETS + LANE); }
    if (LANE < PARTITIONS) { s_laps[LANE] = load(REGION_CONTROL, CONTROL_LAPS + LANE); }
}

// Looks at the host (with `host`: only a holder of the lease, or a worker that enters) or at the mirror that the last look
// left for all workers. A lane a word.
void look(bool host) {
    if (LANE < POLLED_WORDS) {
        uint word = host ? load_acquire(REGION_CONTROL, CONTROL_POLLED + LANE) : local_load(LOCAL_MIRROR + LANE);
        if (host) { local_store_release(LOCAL_MIRROR + LANE, word); }
        s_polled[LANE] = word;
    }
    if (LANE < PARTITIONS) { s_front[LANE] = local_load_acquire(LOCAL_FRONT + LANE); }
}

uint slot_word(uint index, uint word) { return HEADER_WORDS + index * SLOT_WORDS + word; }
uint state_word(uint index, uint word) { return LOCAL_SLOT_STATES + index * SLOT_STATE_WORDS + word; }

uint pending_bit(uint priority) { return s_front[priority] != s_polled[priority] ? 1u << priority : 0u; }

// Partitions that have work, as of the last look.
uint pending() { return pending_bit(0u) | pending_bit(1u) | pending_bit(2u) | pending_bit(3u) | pending_bit(4u); }

// Takes one tile of the partition's first slot that has any left; advances the front past a slot that has none. A tag in the
// tiles word makes a stale front harmless.
bool claim_from(uint priority, out Claim claim) {
    uint length = s_offsets[priority + 1u] - s_offsets[priority];
    uint ticket = s_front[priority];
    uint generation = ticket / length;
    uint index = s_offsets[priority] + ticket % length;
    claim = Claim(priority, ticket, generation, index, 0u);
    // Reserved but not yet published, or our front is stale.
    if (load_acquire(REGION_RING, slot_word(index, SLOT_SEQUENCE)) != generation + 1u) { return false; }
    uint tiles = local_load_acquire(state_word(index, STATE_TILES));
    uint total = clamp(load(REGION_RING, slot_word(index, SLOT_TILES)), 1u, MAX_TILES);
    claim.tile = tiles & 0xffffu;
    bool left = tiles >> 16 == (generation & 0xffffu) && claim.tile < total;
    bool taken = left && local_swap(state_word(index, STATE_TILES), tiles, tiles + 1u);
    if (!left || (taken && claim.tile + 1u == total)) {
        uint next = ticket + 1u == length * s_laps[priority] ? 0u : ticket + 1u;
        local_swap(LOCAL_FRONT + priority, ticket, next);
        if (taken) { local_add(LOCAL_COUNTERS + COUNTER_CLAIMED, 1u); }
    }
    return taken;
}

// Takes a tile, higher partitions first. After STARVATION_GUARD claims from above while lower work waits, the next lower
// partition with work goes first once. A partition that gives nothing stands back until another gave something, so that a
// stalled producer delays only its own partition. One attempt a turn: there is no loop to be paid for.
bool claim_tile(inout Worker worker, out Claim claim) {
    uint mask = pending() & ~worker.blocked;
    if (mask == 0u) { return false; }
    uint lower = mask & (mask - 1u);
    bool guarded = lower != 0u && worker.above >= STARVATION_GUARD;
    uint priority = uint(findLSB(guarded ? lower : mask));
    bool taken = claim_from(priority, claim);
    worker.blocked = taken ? 0u : worker.blocked | 1u << priority;
    worker.above = guarded || lower == 0u ? 0u : worker.above + (taken ? 1u : 0u);
    return taken;
}

// Takes the lease to look at the host; freed on the next turn.
bool take_lease() {
    return local_load(LOCAL_LEASE) == 0u && local_swap(LOCAL_LEASE, 0u, gl_WorkGroupID.x + 1u);
}
