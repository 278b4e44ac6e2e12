// Checking the launch, and telling the host about it and about the counters.

shared uint s_stamp;
shared uint s_flag;

// Elements of a region, as `Geometry::region_bytes` counts them.
uint region_records(uint kind) {
    uint count = load(REGION_CONTROL, REGION_ELEMENT_COUNT[kind]);
    return REGION_ROUNDED[kind] == 0u ? count : count <= 2u ? 2u : 2u << findMSB(count - 1u);
}

uint region_size(uint kind) { return REGION_FIXED_BYTES[kind] + REGION_ELEMENT_BYTES[kind] * region_records(kind); }

// Fault of one header word, as a launch fault code.
uint header_fault(uint kind, uint word) {
    uint value = load(kind, word);
    if (word == HEADER_MAGIC) { return value == MAGIC ? LAUNCH_FAULT_NONE : LAUNCH_FAULT_MAGIC; }
    if (word == HEADER_VERSION) { return value == ABI_VERSION ? LAUNCH_FAULT_NONE : LAUNCH_FAULT_VERSION; }
    if (word == HEADER_KIND) { return value == kind ? LAUNCH_FAULT_NONE : LAUNCH_FAULT_KIND; }
    if (word == HEADER_SIZE) { return value == region_size(kind) ? LAUNCH_FAULT_NONE : LAUNCH_FAULT_SIZE; }
    return value == load(REGION_CONTROL, word) ? LAUNCH_FAULT_NONE : LAUNCH_FAULT_GEOMETRY;
}

void report_launch(uint fault, uint kind) {
    if (LANE == 0u) {
        s_flag = local_swap(LOCAL_LAUNCH_REPORTED, 0u, 1u) ? 1u : 0u;
    }
    meet();
    if (s_flag != 0u) {
        uint word = LANE == 0u ? fault : LANE == 1u ? kind : LANE == 2u ? LANES : LANE == 3u ? launch.workers : 0u;
        write_record(REGION_STATUS, STATUS_LAUNCH, LAUNCH_STAMP, word);
    }
    meet();
}

// Whether all regions are what this kernel was built for. Uniform over the worker; the lanes share the words out.
bool check_launch() {
    if (LANE == 0u) { s_flag = 0u; }
    meet();
    for (uint i = LANE; i < REGION_COUNT * HEADER_COUNTS_END; i += LANES) {
        uint kind = i / HEADER_COUNTS_END;
        uint fault = header_fault(kind, i % HEADER_COUNTS_END);
        // The lowest region and code win, so that every worker reports the same.
        if (fault != LAUNCH_FAULT_NONE) { atomicMax(s_flag, (REGION_COUNT - kind) << 8 | (0xffu - fault)); }
    }
    meet();
    uint worst = s_flag;
    meet();
    if (worst == 0u) {
        report_launch(LAUNCH_FAULT_NONE, 0u);
    } else {
        report_launch(0xffu - (worst & 0xffu), REGION_COUNT - (worst >> 8));
    }
    return worst == 0u;
}

// Copies the device's counters to the status region. The completed slots are those that have a place in the completion ring; they
// are read first, so that no snapshot has more of them than claimed ones. All lanes run this.
void publish_counters() {
    uint completed = local_load(LOCAL_COMPLETION_TAIL);
    if (LANE == 0u) { s_stamp = local_add(LOCAL_SNAPSHOT_STAMP, 1u) + 1u; }
    meet_device();
    uint counter = LANE < RECORD_DATA ? local_load(LOCAL_COUNTERS + LANE) : 0u;
    write_record(REGION_STATUS, STATUS_COUNTERS, s_stamp, LANE == COUNTER_COMPLETED ? completed : counter);
}
