#version 460
// The resident kernel. A workgroup is a worker: it claims tiles from the ring, runs them and writes completions until its
// fuel is used up or the host says so. The relay (vyre-vk) launches it again and again; all state lives in memory.
//
// Correct with any number of workers, one included: nothing here waits for another worker.
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_control_flow_attributes : require
#ifdef VYRE_INT64
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#extension GL_EXT_shader_atomic_int64 : require
#endif
#pragma use_vulkan_memory_model

layout(local_size_x_id = 0) in;
// Bit c: the operation with code c is compiled in.
layout(constant_id = 1) const uint OPERATIONS = 0xffffffffu;

#define LANES gl_WorkGroupSize.x
#define LANE gl_LocalInvocationIndex

#include "abi.glsl"
#include "memory.glsl"
#include "report.glsl"
#include "claim.glsl"
#include "execute.glsl"
#include "finish.glsl"

const uint ACTION_LEAVE = 0u;
const uint ACTION_TILE = 1u;
const uint ACTION_POLL = 2u;
const uint ACTION_SNAPSHOT = 3u;
const uint ACTION_IDLE = 4u;

// A busy worker looks at the host at least this often, for more urgent work and for LEAVE.
const uint BUSY_TURNS_PER_POLL = 16u;

// Double-buffered by the parity of the turn, so that one barrier a turn is enough.
shared uint s_action[2];

// What the worker does in this turn. Only lane 0 runs this.
uint decide(inout Worker worker, out Claim claim) {
    worker.turns += 1u;
    if (worker.leased) {
        uint request = local_load(LOCAL_MIRROR + POLLED_SNAPSHOT);
        bool asked = request != local_load(LOCAL_SNAPSHOT_SERVED);
        if (asked) { local_store(LOCAL_SNAPSHOT_SERVED, request); }
        worker.leased = false;
        local_store_release(LOCAL_LEASE, 0u);
        if (asked) { return ACTION_SNAPSHOT; }
    }
    if (worker.fuel < MAX_TILE_FUEL || local_load(LOCAL_MIRROR + POLLED_COMMAND) == COMMAND_LEAVE) { return ACTION_LEAVE; }
    worker.fuel -= 1u;
    worker.busy += 1u;
    if (worker.busy >= BUSY_TURNS_PER_POLL && take_lease(worker)) {
        worker.busy = 0u;
        return ACTION_POLL;
    }
    if (claim_tile(worker, claim)) {
        prepare(claim, worker);
        worker.tiles += 1u;
        return ACTION_TILE;
    }
    worker.idle_turns += 1u;
    worker.busy = 0u;
    return take_lease(worker) ? ACTION_POLL : ACTION_IDLE;
}

void enter() {
    load_partitions();
    poll();
    if (LANE == 0u) {
        uint resident = local_add(LOCAL_RESIDENT, 1u) + 1u;
        atomicMax(region(REGION_LOCAL).w[LOCAL_COUNTERS + COUNTER_RESIDENT_PEAK], resident, RELAXED);
    }
    meet_device();
}

void leave(Worker worker) {
    meet_device();
    if (LANE == 0u) {
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

void main() {
    if (!check_launch()) { return; }
    enter();
    Worker worker = Worker(launch.fuel, 0u, 0u, 0u, 0u, 0u, false);
    Claim claim = Claim(0u, 0u, 0u, 0u, 0u);
    for (uint parity = 0u;; parity ^= 1u) {
        if (LANE == 0u) { s_action[parity] = decide(worker, claim); }
        meet_device();
        uint action = s_action[parity];
        if (action == ACTION_LEAVE) { break; }
        if (action == ACTION_TILE) {
            execute();
            finish_tile(claim);
        } else if (action == ACTION_POLL) {
            poll();
        } else if (action == ACTION_SNAPSHOT) {
            publish_counters();
        }
    }
    leave(worker);
}
