// Taking tiles: the same functions as `claim.rs` of the reference engine. Lane 0 runs them.

// What lane 0 has taken.
struct Claim {
    uint priority;
    uint ticket;      // wire form
    uint generation;
    uint index;       // of the slot in the ring
    uint tile;
};

// What a worker counts during a quantum; lane 0 has it.
struct Worker {
    uint fuel;
    uint above;       // claims in a row while a lower priority had work
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

void load_partitions() {
    if (LANE <= PARTITIONS) { s_offsets[LANE] = load(REGION_CONTROL, CONTROL_OFFSETS + LANE); }
    if (LANE < PARTITIONS) { s_laps[LANE] = load(REGION_CONTROL, CONTROL_LAPS + LANE); }
}

uint partition_length(uint priority) { return s_offsets[priority + 1u] - s_offsets[priority]; }

uint slot_word(uint index, uint word) { return HEADER_WORDS + index * SLOT_WORDS + word; }
uint state_word(uint index, uint word) { return LOCAL_SLOT_STATES + index * SLOT_STATE_WORDS + word; }

void advance_front(uint priority, uint ticket, uint length) {
    uint next = ticket + 1u == length * s_laps[priority] ? 0u : ticket + 1u;
    local_swap(LOCAL_FRONT + priority, ticket, next);
}

// Takes one tile of the priority's first slot that has any left. A tag in the tiles word makes a stale front harmless.
bool claim_from(uint priority, inout Worker worker, out Claim claim) {
    uint length = partition_length(priority);
    while (worker.fuel > 0u) {
        worker.fuel -= 1u;
        uint ticket = local_load_acquire(LOCAL_FRONT + priority);
        if (ticket == local_load(LOCAL_MIRROR + priority)) { return false; }
        uint generation = ticket / length;
        uint index = s_offsets[priority] + ticket % length;
        // Reserved but not yet published, or our front is stale.
        if (load_acquire(REGION_RING, slot_word(index, SLOT_SEQUENCE)) != generation + 1u) { return false; }
        uint tiles = local_load_acquire(state_word(index, STATE_TILES));
        uint total = clamp(load(REGION_RING, slot_word(index, SLOT_TILES)), 1u, MAX_TILES);
        uint tile = tiles & 0xffffu;
        if (tiles >> 16 != (generation & 0xffffu) || tile >= total) {
            advance_front(priority, ticket, length);
            continue;
        }
        if (local_swap(state_word(index, STATE_TILES), tiles, tiles + 1u)) {
            if (tile + 1u == total) {
                advance_front(priority, ticket, length);
                local_add(LOCAL_COUNTERS + COUNTER_CLAIMED, 1u);
            }
            claim = Claim(priority, ticket, generation, index, tile);
            return true;
        }
    }
    return false;
}

uint pending_bit(uint priority) {
    return local_load(LOCAL_FRONT + priority) != local_load(LOCAL_MIRROR + priority) ? 1u << priority : 0u;
}

// Partitions that have work, as far as the mirror knows. No loop: idle turns run this.
uint pending() { return pending_bit(0u) | pending_bit(1u) | pending_bit(2u) | pending_bit(3u) | pending_bit(4u); }

// Takes a tile, higher partitions first. After STARVATION_GUARD claims from above while lower work waits, the next lower
// priority with work goes first once; if it has nothing after all, the order is the usual one.
bool claim_tile(inout Worker worker, out Claim claim) {
    uint mask = pending();
    if (mask == 0u) { return false; }
    uint highest = uint(findLSB(mask));
    uint lower = mask & ~(1u << highest);
    if (lower != 0u && worker.above >= STARVATION_GUARD) {
        worker.above = 0u;
        if (claim_from(uint(findLSB(lower)), worker, claim)) { return true; }
    }
    while (mask != 0u) {
        uint priority = uint(findLSB(mask));
        mask &= ~(1u << priority);
        if (claim_from(priority, worker, claim)) {
            worker.above = mask != 0u ? worker.above + 1u : 0u;
            return true;
        }
    }
    return false;
}

// Takes the lease to poll the host. Its holder copies the polled line to the mirror, all lanes at once, and frees the lease
// on its next turn.
bool take_lease(inout Worker worker) {
    worker.leased = local_load(LOCAL_LEASE) == 0u && local_swap(LOCAL_LEASE, 0u, gl_WorkGroupID.x + 1u);
    return worker.leased;
}

void poll() {
    if (LANE < POLLED_WORDS) {
        local_store_release(LOCAL_MIRROR + LANE, load_acquire(REGION_CONTROL, CONTROL_POLLED + LANE));
    }
}
