#version 460
// The resident kernel. A workgroup is a worker: it claims tiles from the ring, runs them and writes completions until its
// fuel is used up or the host says so. The relay (vyre-vk) launches it again and again; all state lives in memory.
//
// Correct with any number of workers, one included: nothing here waits for another worker.
#extension GL_GOOGLE_include_directive : require

#include "prelude.glsl"

// Whether each tile leaves a record in the debug log.
layout(constant_id = 3) const bool TRACE = false;

#include "regions.glsl"
#include "tile.glsl"
#include "report.glsl"
#include "slot.glsl"
#include "claim.glsl"
#include "log.glsl"
#include "execute.glsl"
#include "finish.glsl"
#include "run.glsl"

// What a worker keeps back for a tile.
#ifdef VYRE_CUSTOM
const uint TILE_FUEL = HAS_EXEC || HAS_CUSTOM ? MAX_TILE_FUEL : MAX_BUILT_IN_TILE_FUEL;
#else
const uint TILE_FUEL = HAS_EXEC ? MAX_TILE_FUEL : MAX_BUILT_IN_TILE_FUEL;
#endif

// A busy worker looks at the host at least this often, for more urgent work and for LEAVE.
const uint BUSY_TURNS_PER_POLL = 16u;

// Looks without a tile before an idle worker begins to pause.
const uint EAGER_LOOKS = 8u;

// Thousands of idle workers that all look at the same words are in the way of the one that has work. Without the lease they
// pause, twice as long each time, up to what makes the looks of all workers together rare, or until they are woken. A pause is a
// chain of loads, each group's from another place: a worker that waits for memory takes no cycles from those beside it, as one
// that counts would. It costs as much fuel as the looks that it replaces.
void pause(inout Worker worker) {
    if (MAX_PAUSE == 0u || worker.leased || worker.looks < EAGER_LOOKS) { return; }
    uint loads = min(1u << min(worker.looks - EAGER_LOOKS, 16u), min(launch.workers / 4u, MAX_PAUSE));
    worker.fuel -= min(worker.fuel, loads);
    uint word = wake_word(gl_WorkGroupID.x);
    // Against what it was before the last look: who was woken since then looks once more.
    uint before = worker.woken;
    for (uint i = 0u; i < loads && worker.woken == before && !is_over(worker); ++i) { worker.woken = local_load(word); }
    // What those who woke it had seen is there for the next look.
    if (worker.woken != before) { acquire_device(); }
}

// Looks until there is something to act on. A small loop of its own: llvmpipe runs through all code of a loop's body whether
// lanes take part or not, so a worker that waits must not pass by the operations. One idle worker at a time holds the lease
// and looks at the host; the others look at the mirror.
Look await_work(inout Worker worker) {
    uint length = LANE < PARTITIONS ? s_length[LANE] : 0u;
    uint modulus = LANE < PARTITIONS ? length * s_laps[LANE] : 0u;
    for (;;) {
        Look look = look_around(worker, worker.leased || worker.busy >= BUSY_TURNS_PER_POLL, length, modulus);
        worker.leased = worker.leased || (look.seen & SEEN_LEASE) != 0u;
        worker.busy = look.host ? 0u : worker.busy;
        worker.fuel -= min(worker.fuel, 1u);
        worker.turns += 1u;
        worker.looks += 1u;
        if ((look.seen & ~SEEN_LEASE) != 0u || worker.fuel < TILE_FUEL) { return look; }
        worker.idle_turns += 1u;
        pause(worker);
    }
}

// Loads the claim's slot, unless the worker's last tile was of the same: what it counts for it finds in the counter. The slot's own words do
// not say so: while one lane asks, others may be loading the next.
void load_claimed(Worker worker, Claim claim) {
    if (worker.stray == 0u && worker.loaded == claim.index + 1u && worker.generation == claim.generation) {
        if (LANE == 0u) { s_fault = local_load(state_word(claim.index, STATE_FAULT)); }
        return;
    }
    load_slot(claim.index);
    meet();
}

// Claims a tile of the slot at the front of a partition and runs it. Gives whether there was one.
#ifdef VYRE_SCALARS
// This kernel leaves all but scalar slots to the one that takes its place.
uint run_tile(inout Worker worker, Look look, Claim claim) { return 0u; }
#else
uint run_tile(inout Worker worker, Look look, Claim claim) {
    load_claimed(worker, claim);
    uint taken = take_tile(worker, claim);
    if (leaves_work(look, claim, min(taken, 1u))) {
        mirror(look);
        if (MAX_PAUSE != 0u && taken != 0u) { wake(look, claim); }
    }
    if (taken != 0u) {
        Tile tile;
        Verdict verdict = prepare(claim, worker, tile);
        if (taken == TAKEN_SPARED) { tile.operation = 0u; }
        Verdict outcome = execute(claim, tile, worker);
        if (verdict.fault == FAULT_NONE) { verdict = outcome; }
        if (TRACE) { trace_tile(claim); }
        finish_tile(claim, verdict);
    }
    // The slot for which it was counted is there for all lanes from here on.
    if (worker.stray != 0u) {
        worker.fuel -= min(worker.fuel, TURN_FUEL);
        meet_device();
    }
    return min(taken, 1u);
}
#endif

void enter() {
    load_geometry();
    if (LANE == 0u) {
        s_end = RUN_LENGTH;
        uint resident = local_add(LOCAL_RESIDENT, 1u) + 1u;
        atomicMax(region(REGION_LOCAL).w[LOCAL_COUNTERS + COUNTER_RESIDENT_PEAK], resident, RELAXED);
    }
    meet_device();
    // What the mirror says may be from before a park.
    uint polled = LANE < POLLED_WORDS ? load(REGION_CONTROL, CONTROL_POLLED + LANE) : 0u;
    meet_device();
    if (LANE < POLLED_WORDS) { local_store(LOCAL_MIRROR + LANE, polled); }
}

// `cut`: a loop of the worker was ended by the driver. It should never be; the host sees it by a quantum that is not counted.
void leave(Worker worker, bool cut) {
    bool led = worker.leased;
    return_lease(worker);
    meet_device();
    // What it was told is in the mirror by now; those who pause would look only after their pause.
    if (MAX_PAUSE != 0u && led) { wake_all(); }
    if (LANE == 0u) {
        if (cut) { local_add(LOCAL_COUNTERS + COUNTER_QUANTA, 0xffffffffu); }
        local_add(LOCAL_COUNTERS + COUNTER_TILES, worker.tiles);
        local_add(LOCAL_COUNTERS + COUNTER_TURNS, worker.turns);
        local_add(LOCAL_COUNTERS + COUNTER_IDLE_TURNS, worker.idle_turns);
        local_add(LOCAL_RESIDENT, 0xffffffffu);
        uint left = LOCAL_LEFT + launch.quantum % LEFT_WORDS;
        s_flag = local_add_acq_rel(left, 1u) + 1u == launch.workers ? 1u : 0u;
        if (s_flag != 0u) {
            local_store(left, 0u);
            local_add(LOCAL_COUNTERS + COUNTER_QUANTA, 1u);
        }
    }
    meet_device();
    if (s_flag != 0u) { publish_counters(); }
}

// What was seen in the last look is there for all lanes and workers from here on.
void share(Look look) {
    if (LANE < POLLED_WORDS) {
        s_hot[LANE] = look.hot;
        s_ahead[LANE] = look.ahead;
    }
    meet_device();
    if ((look.seen & SEEN_WORK) == 0u || (look.seen & SEEN_LEAVE) != 0u) { mirror(look); }
}

// Looks, and takes scalar slots, until there is something else at a front. Gives whether the worker must leave. A loop between
// await_work's and main's, for the same reason as that one: a worker that runs scalar slots must not pass by the operations.
bool serve_scalars(inout Worker worker, out Look look, out Claim claim) {
    bool leaves = false;
    for (;;) {
        look = await_work(worker);
        share(look);
        worker.busy += 1u;
        if ((look.seen & SEEN_SNAPSHOT) != 0u) {
            if (LANE == HOT_SNAPSHOT_SERVED) { local_store(LOCAL_HOT + HOT_SNAPSHOT_SERVED, look.polled); }
            publish_counters();
        }
        leaves = (look.seen & (SEEN_LEAVE | SEEN_END)) != 0u || worker.fuel < TILE_FUEL;
        if (leaves) { break; }
        worker.fuel -= TURN_FUEL;
        if ((look.seen & SEEN_WORK) == 0u) { continue; }
        // Partitions that stood back get another chance when there is nothing else.
        if ((look.seen & SEEN_WORK & ~worker.blocked) == 0u) { worker.blocked = 0u; }
        claim = choose(worker, look.seen);
        uint taken = HAS_SCALARS ? run_scalars(worker, look, claim) : 0u;
        if (taken == 0u) { break; }
        count_claimed(worker, claim, taken);
        worker.looks = 0u;
    }
    return leaves;
}

void main() {
    if (!check_launch()) { return; }
    enter();
    Worker worker = Worker(launch.fuel, 0u, 0u, 0u, 0u, 0u, 0u, 0u, 0u, device_clock().x, 0u, 0u, 0u, false);
    Look look;
    Claim claim;
    bool cut = true;
    for (;;) {
        // A worker does not leave with a tile that may be its own alone.
        if (worker.stray == 0u && serve_scalars(worker, look, claim)) {
            cut = false;
            break;
        }
        uint taken = run_tile(worker, look, claim);
        count_claimed(worker, claim, taken);
        if (taken != 0u) { worker.looks = 0u; }
        // What is there cannot be taken: by this worker not now, or by nobody until a fence passes.
        else { pause(worker); }
    }
    leave(worker, cut);
}
