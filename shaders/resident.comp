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
const uint ACTION_SNAPSHOT = 2u;
const uint ACTION_NONE = 3u;

// A busy worker looks at the host at least this often, for more urgent work and for LEAVE.
const uint BUSY_TURNS_PER_POLL = 16u;

shared uint s_action;
shared uint s_index;
// Whether the next look goes to the host, and whether the worker stops looking and acts.
shared uint s_host;
shared uint s_act;

bool asked_for_snapshot(Worker worker) {
    return worker.leased && s_polled[POLLED_SNAPSHOT] != local_load(LOCAL_SNAPSHOT_SERVED);
}

// Whether there is anything to act on, as of the last look. Only lane 0 runs this.
bool has_reason(inout Worker worker) {
    uint mask = pending();
    // Partitions that stood back get another chance when there is nothing else.
    if ((mask & ~worker.blocked) == 0u) { worker.blocked = 0u; }
    bool reason = mask != 0u || worker.fuel < MAX_TILE_FUEL || s_polled[POLLED_COMMAND] == COMMAND_LEAVE ||
        asked_for_snapshot(worker);
    worker.fuel -= min(worker.fuel, 1u);
    worker.turns += 1u;
    worker.idle_turns += reason ? 0u : 1u;
    if (!reason && !worker.leased) { worker.leased = take_lease(); }
    return reason;
}

// Looks until there is something to act on. A small loop of its own: llvmpipe runs through all code of a loop's body whether
// lanes take part or not, so a worker that waits must not pass by the operations. One idle worker at a time holds the lease
// and looks at the host; the others look at the mirror.
void await_work(inout Worker worker) {
    for (;;) {
        look(s_host != 0u);
        meet_device();
        if (LANE == 0u) {
            s_act = has_reason(worker) ? 1u : 0u;
            s_host = worker.leased ? 1u : 0u;
        }
        meet_device();
        if (s_act != 0u) { break; }
    }
}

// What the worker does, by what it saw in the last look. Only lane 0 runs this.
uint decide(inout Worker worker, out Claim claim) {
    bool asked = asked_for_snapshot(worker);
    if (asked) {
        local_store(LOCAL_SNAPSHOT_SERVED, s_polled[POLLED_SNAPSHOT]);
        take_stamp();
    }
    if (worker.leased) { local_store_release(LOCAL_LEASE, 0u); }
    worker.leased = false;
    s_host = 0u;
    if (asked) { return ACTION_SNAPSHOT; }
    if (worker.fuel < MAX_TILE_FUEL || s_polled[POLLED_COMMAND] == COMMAND_LEAVE) { return ACTION_LEAVE; }
    worker.fuel -= TURN_FUEL;
    bool taken = claim_tile(worker, claim);
    s_index = claim.index;
    worker.tiles += taken ? 1u : 0u;
    worker.busy += 1u;
    if (worker.busy >= BUSY_TURNS_PER_POLL) {
        worker.busy = 0u;
        worker.leased = take_lease();
        s_host = worker.leased ? 1u : 0u;
    }
    return taken ? ACTION_TILE : ACTION_NONE;
}

void enter() {
    load_partitions();
    if (LANE == 0u) {
        s_host = 1u;
        uint resident = local_add(LOCAL_RESIDENT, 1u) + 1u;
        atomicMax(region(REGION_LOCAL).w[LOCAL_COUNTERS + COUNTER_RESIDENT_PEAK], resident, RELAXED);
    }
    meet_device();
}

// `cut`: a loop of the worker was ended by the driver. It should never be; the host sees it by a quantum that is not counted.
void leave(Worker worker, bool cut) {
    meet_device();
    if (LANE == 0u) {
        if (cut) { local_add(LOCAL_COUNTERS + COUNTER_QUANTA, 0xffffffffu); }
        if (worker.leased) { local_store_release(LOCAL_LEASE, 0u); }
        local_add(LOCAL_COUNTERS + COUNTER_TILES, worker.tiles);
        local_add(LOCAL_COUNTERS + COUNTER_TURNS, worker.turns);
        local_add(LOCAL_COUNTERS + COUNTER_IDLE_TURNS, worker.idle_turns);
        local_add(LOCAL_RESIDENT, 0xffffffffu);
        uint left = LOCAL_LEFT + launch.quantum % LEFT_WORDS;
        s_flag = local_add_acq_rel(left, 1u) + 1u == launch.workers ? 1u : 0u;
        if (s_flag != 0u) {
            local_store(left, 0u);
            local_add(LOCAL_COUNTERS + COUNTER_QUANTA, 1u);
            take_stamp();
        }
    }
    meet_device();
    if (s_flag != 0u) { publish_counters(); }
}

void main() {
    if (!check_launch()) { return; }
    enter();
    Worker worker = Worker(launch.fuel, 0u, 0u, 0u, 0u, 0u, 0u, false);
    Claim claim = Claim(0u, 0u, 0u, 0u, 0u);
    bool cut = true;
    for (;;) {
        await_work(worker);
        if (LANE == 0u) { s_action = decide(worker, claim); }
        meet_device();
        uint action = s_action;
        if (action == ACTION_LEAVE) {
            cut = false;
            break;
        }
        if (action == ACTION_TILE) {
            load_slot(s_index);
            meet();
            if (LANE == 0u) { prepare(claim, worker); }
            meet();
            execute();
            finish_tile(claim);
        }
        if (action == ACTION_SNAPSHOT) { publish_counters(); }
    }
    leave(worker, cut);
}
