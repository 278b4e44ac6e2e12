// Taking tiles: the same functions as `claim.rs` of the reference engine.
//
// All lanes of a worker compute the same; only atomics are lane 0's alone, and their outcome goes round through shared memory.

// What a worker is about to take or has taken.
struct Claim {
    uint priority;
    uint ticket;      // wire form
    uint generation;
    uint index;       // of the slot in the ring
    uint tile;
    uint tiles;       // of the slot
    uvec2 clock;      // when it was taken
    uint most;        // slots that may be taken at once from there
    bool above;       // from above, while a lower partition has work
};

// What a worker remembers during a quantum.
struct Worker {
    uint fuel;
    uint above;       // claims in a row while a lower partition had work
    uint blocked;     // partitions that gave nothing although they have work, since the last success
    uint busy;        // actions since the last look at the host
    uint looks;       // since the last tile
    uint turns;
    uint idle_turns;
    uint tiles;
    uint stray;       // the counter in which it has found a tile left of another slot than it meant, or 0
    uint start;       // of its quantum, by this lane's look at the clock
    uint woken;       // its group's wake word, when it last looked at that
    uint loaded;      // 1 + the index of the slot of many tiles that it has loaded and found open, or 0
    uint generation;  // of that slot
    bool leased;      // holds the poll lease
};

// What one lane found in a look, and what all lanes found together.
struct Look {
    uint polled;      // its word of the polled line
    uint hot;         // its word of the hot line
    uint ahead;       // slots between front and doorbell of its partition
    uint seen;
    bool host;        // the polled line came from the host itself
};

// Bits of `seen`: first the partitions with work.
const uint SEEN_WORK = (1u << PARTITIONS) - 1u;
const uint SEEN_LEAVE = 1u << POLLED_COMMAND;
const uint SEEN_SNAPSHOT = 1u << POLLED_SNAPSHOT;
const uint SEEN_LEASE = 1u << POLLED_WORDS;
// The quantum is over.
const uint SEEN_END = SEEN_LEASE << 1;

// Claims from above in a row before one from below is served.
const uint STARVATION_GUARD = 16u;

// What does not change during a launch, read once a quantum.
shared uint s_first[PARTITIONS];
shared uint s_length[PARTITIONS];
shared uint s_laps[PARTITIONS];
// What the lanes have seen: in turn one is written, one is read, one is cleared.
shared uint s_seen[3];
shared uint s_hot[POLLED_WORDS];
shared uint s_ahead[POLLED_WORDS];

void load_geometry() {
    if (LANE < PARTITIONS) {
        uint first = load(REGION_CONTROL, CONTROL_OFFSETS + LANE);
        s_first[LANE] = first;
        s_length[LANE] = load(REGION_CONTROL, CONTROL_OFFSETS + LANE + 1u) - first;
        s_laps[LANE] = load(REGION_CONTROL, CONTROL_LAPS + LANE);
    }
    if (LANE == 0u) {
        s_tenants = load(REGION_CONTROL, COUNT_TENANTS);
        s_observables = load(REGION_CONTROL, COUNT_OBSERVABLES);
        s_resources = load(REGION_CONTROL, COUNT_RESOURCES);
        s_completion_records = region_records(REGION_COMPLETIONS);
        s_log_records = region_records(REGION_DEBUG_LOG);
        s_seen = uint[](0u, 0u, 0u);
    }
}

// How far a ticket is behind another one; wire tickets wrap at the modulus.
uint ticket_distance(uint from, uint to, uint modulus) { return to - from + (to < from ? modulus : 0u); }

// Slots between the front and the doorbell of this lane's partition, if it has one. A look is not one moment: where the front that it saw is
// beyond the doorbell that it saw, others have taken all that this look may speak for.
uint slots_ahead(Look look, uint length, uint modulus) {
    uint ahead = ticket_distance(look.hot, look.polled, modulus);
    return ahead <= length ? ahead : 0u;
}

// Whether the worker's quantum is over by the clock; lanes may differ.
bool is_over(Worker worker) { return MAX_PAUSE != 0u && launch.ticks != 0u && device_clock().x - worker.start >= launch.ticks; }

// What this lane's words say. The lane that has the lease's word takes the lease, if it is free and the last look found nothing.
uint seen_by_lane(Worker worker, Look look) {
    if (LANE < PARTITIONS) { return look.ahead > 0u ? 1u << LANE : 0u; }
    if (LANE == HOT_LEASE) {
        bool take = look.hot == 0u && worker.looks != 0u && !worker.leased &&
            local_swap(LOCAL_HOT + HOT_LEASE, 0u, gl_WorkGroupID.x + 1u);
        return (look.polled == COMMAND_LEAVE ? SEEN_LEAVE : 0u) | (take ? SEEN_LEASE : 0u) | (is_over(worker) ? SEEN_END : 0u);
    }
    return LANE == HOT_SNAPSHOT_SERVED && worker.leased && look.polled != look.hot ? SEEN_SNAPSHOT : 0u;
}

// Looks at the host, or at the mirror that the last look at the host left for all workers, and at the hot line: a lane a word.
// Nothing is ordered here, since a worker that waits does nothing else.
Look look_around(Worker worker, bool host, uint length, uint modulus) {
    Look look = Look(0u, 0u, 0u, 0u, host);
    uint place = worker.turns % 3u;
    if (LANE < POLLED_WORDS) {
        uvec2 line = host ? address_at(launch.regions[REGION_CONTROL], CONTROL_POLLED * 4u)
                          : address_at(launch.regions[REGION_LOCAL], LOCAL_MIRROR * 4u);
        look.polled = atomicLoad(Words(line).w[LANE], RELAXED);
        look.hot = local_load(LOCAL_HOT + LANE);
        look.ahead = slots_ahead(look, length, modulus);
        uint seen = seen_by_lane(worker, look);
        if (seen != 0u) { atomicOr(s_seen[place], seen); }
    }
    meet();
    look.seen = s_seen[place];
    // Read last before the meeting above, written first behind the next.
    if (LANE == 0u) { s_seen[(place + 2u) % 3u] = 0u; }
    return look;
}

// Another worker may look at the host.
void return_lease(inout Worker worker) {
    if (worker.leased && LANE == HOT_LEASE) { local_store(LOCAL_HOT + HOT_LEASE, 0u); }
    worker.leased = false;
}

// The claim on a partition's ticket.
Claim claim_on(uint priority, uint ticket) {
    uint length = max(s_length[priority], 1u);
    uint generation = ticket / length;
    uint index = s_first[priority] + (ticket - generation * length);
    return Claim(priority, ticket, generation, index, 0u, 1u, device_clock(), RUN_SLOTS, false);
}

// Where to claim next, higher partitions first. After STARVATION_GUARD claims from above while lower work waits, the next lower
// partition with work goes first once. One attempt a turn: there is no loop to be paid for.
Claim choose(Worker worker, uint seen) {
    uint mask = seen & SEEN_WORK & ~worker.blocked;
    uint lower = mask & (mask - 1u);
    bool guarded = lower != 0u && worker.above >= STARVATION_GUARD;
    uint priority = min(uint(findLSB(guarded ? lower : mask)), PARTITIONS - 1u);
    Claim claim = claim_on(priority, s_hot[priority]);
    claim.above = lower != 0u && !guarded;
    // A traced worker takes one at a time, so that its track shows each.
    claim.most = min(s_ahead[priority], guarded || TRACE ? 1u : claim.above ? STARVATION_GUARD - worker.above : RUN_SLOTS);
    return claim;
}

// Counts what a claim has given. A partition that gives nothing stands back until another gave something, so that a stalled
// producer delays only its own partition.
void count_claimed(inout Worker worker, Claim claim, uint taken) {
    worker.blocked = taken != 0u ? 0u : worker.blocked | 1u << claim.priority;
    worker.above = claim.above ? worker.above + taken : 0u;
    worker.tiles += taken;
}

// The generation behind this one: wire tickets wrap after the partition's laps.
uint generation_behind(uint priority, uint generation) { return generation + 1u == s_laps[priority] ? 0u : generation + 1u; }
uint next_generation(Claim claim) { return generation_behind(claim.priority, claim.generation); }

// The ticket that many behind the claim's in the partition, at most a lap.
uint ticket_behind(Claim claim, uint by) {
    uint modulus = s_length[claim.priority] * s_laps[claim.priority];
    uint ticket = claim.ticket + by;
    return ticket >= modulus || ticket < by ? ticket - modulus : ticket;
}

// Slots that a single lane runs are taken by `run.glsl`, all others tile by tile.
const bool HAS_SCALARS = (OPERATIONS & SCALAR_OPERATIONS) != 0u;
bool is_scalar(uint operation, uint tiles) {
    return HAS_SCALARS && tiles == 1u && operation <= OP_LAST && (OPERATIONS & SCALAR_OPERATIONS & 1u << operation) != 0u;
}

const bool HAS_FENCE = (OPERATIONS >> OP_FENCE & 1u) != 0u;
bool is_fence() { return HAS_FENCE && s_slot[SLOT_OPERATION] == OP_FENCE; }

// What lane 0 got: 0 for nothing, or one of these; and what it found in the counter.
shared uint s_taken;
shared uint s_counter;
const uint TAKEN = 1u;
// Another tile of the slot has faulted, so this one is spared.
const uint TAKEN_SPARED = 2u;
// It was counted for another slot.
const uint TAKEN_STRAY = 3u;
// Nothing, now or later.
const uint EXHAUSTED = 4u;

// Tiles that were left, the one that was taken included, and whether the counter counts for the claim's generation.
uint tiles_left(uint counter) {
    uint count = counter & (1u << TILE_COUNT_BITS) - 1u;
    return count - min(count, NO_TILES_LEFT);
}
bool counts_for(Claim claim, uint counter) { return (counter ^ claim.generation << TILE_COUNT_BITS) >> TILE_COUNT_BITS == 0u; }

// The phase word of the claim's generation.
uint phase_word(Claim claim, uint phase) { return claim.generation << 16 | phase; }

// Takes a slot that is free: its only tile, or the first, and then the others are counted. Only lane 0 runs this.
bool open_slot(Claim claim) {
    uint word = state_word(claim.index, STATE_PHASE);
    if (!local_swap(word, phase_word(claim, PHASE_FREE), phase_word(claim, PHASE_TAKEN))) { return false; }
    s_counter = claim.generation << TILE_COUNT_BITS | NO_TILES_LEFT + claim.tiles;
    if (claim.tiles > 1u) {
        // Released twice: who finds the counter need not have seen the phase.
        local_store_release(state_word(claim.index, STATE_COUNTER), s_counter - 1u);
        local_store_release(word, phase_word(claim, PHASE_OPEN));
        s_phase = phase_word(claim, PHASE_OPEN);
    }
    return true;
}

// Takes one tile of the loaded slot. The tag in the phase word makes a stale front harmless: with the tag behind, this worker's view is
// old, and nothing is done. Only lane 0 runs this.
uint take_from(Claim claim) {
    if (s_phase == phase_word(claim, PHASE_FREE)) {
        bool scalar = is_scalar(s_slot[SLOT_OPERATION], s_slot[SLOT_TILES]);
        return !scalar && open_slot(claim) ? TAKEN : 0u;
    }
    if (s_phase == phase_word(claim, PHASE_OPEN)) {
        s_counter = local_add(state_word(claim.index, STATE_COUNTER), 0xffffffffu);
        if (tiles_left(s_counter) == 0u) { return counts_for(claim, s_counter) ? EXHAUSTED : 0u; }
        return counts_for(claim, s_counter) ? TAKEN : TAKEN_STRAY;
    }
    bool taken = claim.tiles == 1u && s_phase == phase_word(claim, PHASE_TAKEN);
    return taken || s_phase >> 16 == (next_generation(claim) & 0xffffu) ? EXHAUSTED : 0u;
}

// Takes one tile, or the one that was counted for another slot than this one, as it now turns out to be. Advances the front past a slot that
// has none left, but not past a fence: only what completes that does. Only lane 0 runs this.
uint take(Claim claim, uint stray) {
    // Else it is reserved but not yet published, or our front is stale.
    bool published = s_slot[SLOT_SEQUENCE] == claim.generation + 1u;
    // A fence is taken when all slots before it have completed; until then the partition gives nothing.
    bool held = is_fence() && s_slot[SLOT_ARGS] != local_load(LOCAL_COMPLETED + claim.priority);
    uint taken = stray != 0u ? TAKEN : published && !held ? take_from(claim) : 0u;
    if (stray != 0u) { s_counter = stray; }
    bool last = taken == TAKEN && tiles_left(s_counter) == 1u;
    if (last) { local_add(LOCAL_COUNTERS + COUNTER_CLAIMED, 1u); }
    if ((last || taken == EXHAUSTED) && !is_fence()) {
        local_swap_relaxed(LOCAL_HOT + claim.priority, claim.ticket, ticket_behind(claim, 1u));
    }
    if (taken == TAKEN && claim.tiles > 1u && s_fault != FAULT_NONE) { return TAKEN_SPARED; }
    return taken == EXHAUSTED ? 0u : taken;
}

// Leaves what was seen at the host to the other workers. Behind a meet_device, so that a slot whose doorbell they see is there.
void mirror(Look look) {
    if (look.host && LANE < POLLED_WORDS) { local_store(LOCAL_MIRROR + LANE, look.polled); }
}

// Whether other workers find something to do in what this one has seen. Else it does not call them: a worker that comes for a
// tile that is gone is in the way of the one that has it.
bool leaves_work(Look look, Claim claim, uint taken) {
    uint mask = look.seen & SEEN_WORK;
    return s_ahead[claim.priority] > taken || (mask & (mask - 1u)) != 0u || claim.tile + 1u < claim.tiles;
}

// The word that wakes a worker's group.
uint wake_word(uint worker) { return LOCAL_WAKE + worker % WAKE_GROUPS * WAKE_STRIDE; }

// Wakes as many paused workers as find a tile: in the rest of the slot, for the worker that has opened it, and in the slots behind it,
// for the one that has seen them at the host. Which groups, the ticket says, so that slots that follow each other wake others.
void wake(Look look, Claim claim) {
    uint slots = look.host ? max(s_ahead[claim.priority], 1u) - 1u : 0u;
    uint tiles = slots + (claim.tile == 0u ? claim.tiles - 1u : 0u);
    if (tiles == 0u) { return; }
    uint groups = min(launch.workers, WAKE_GROUPS);
    uint members = (launch.workers + groups - 1u) / groups;
    uint woken = min((tiles + members - 1u) / members, groups);
    meet_device();
    for (uint i = LANE; i < woken; i += LANES) { local_add(wake_word((claim.ticket * woken + i) % groups), 1u); }
}

// Whoever pauses looks at once.
void wake_all() {
    for (uint i = LANE; i < min(launch.workers, WAKE_GROUPS); i += LANES) { local_add(wake_word(i), 1u); }
}

// Takes a tile of the loaded slot. The lanes read the slot's context while lane 0 waits for memory. A tile that was counted for another slot
// stays with the worker: its next claim is on what stands there now.
uint take_tile(inout Worker worker, inout Claim claim) {
    if (worker.stray != 0u) {
        uint first = s_first[claim.priority];
        bool above = claim.above;
        claim = claim_on(claim.priority, (s_slot[SLOT_SEQUENCE] - 1u) * s_length[claim.priority] + claim.index - first);
        claim.above = above;
    }
    claim.tiles = clamp(s_slot[SLOT_TILES], 1u, MAX_TILES);
    if (LANE == 0u) { s_taken = take(claim, worker.stray); }
    load_context();
    meet();
    claim.tile = claim.tiles - min(tiles_left(s_counter), claim.tiles);
    worker.stray = s_taken == TAKEN_STRAY ? s_counter : 0u;
    bool open = claim.tiles > 1u && (s_taken == TAKEN || s_taken == TAKEN_SPARED);
    worker.loaded = open && !TRACE ? claim.index + 1u : 0u;
    worker.generation = claim.generation;
    return worker.stray != 0u ? 0u : s_taken;
}
