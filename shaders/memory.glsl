// The only ways in which the kernel touches memory.
//
// Words that another side or another worker may touch are accessed by atomics at device scope with explicit semantics.
// Bulk data is accessed plainly but "nonprivate", so that the barriers around a tile order it (Vulkan memory model).

layout(buffer_reference, buffer_reference_align = 4, std430) nonprivate buffer Words { uint w[]; };
layout(buffer_reference, buffer_reference_align = 16, std430) nonprivate buffer Vectors { uvec4 v[]; };

#define RELAXED gl_ScopeDevice, 0, 0
#define ACQUIRE gl_ScopeDevice, gl_StorageSemanticsBuffer, gl_SemanticsAcquire | gl_SemanticsMakeVisible
#define RELEASE gl_ScopeDevice, gl_StorageSemanticsBuffer, gl_SemanticsRelease | gl_SemanticsMakeAvailable
#define ACQ_REL gl_ScopeDevice, gl_StorageSemanticsBuffer, \
    gl_SemanticsAcquireRelease | gl_SemanticsMakeAvailable | gl_SemanticsMakeVisible

uvec2 address_at(uvec2 base, uint offset) {
    uint carry;
    uint low = uaddCarry(base.x, offset, carry);
    return uvec2(low, base.y + carry);
}

// Three ways to meet, dearer one after the other. A GPU drains the stores of a worker for each meet_device, which costs as much
// as a round trip to memory: one before a claim and one before a completion is all there is on the way of a slot.

// All lanes of the worker meet; what one wrote to shared memory the others see.
void meet() { barrier(); }

// And what the lanes wrote to buffers is ordered before what one of them releases next.
void meet_lanes() {
    controlBarrier(gl_ScopeWorkgroup, gl_ScopeWorkgroup, gl_StorageSemanticsBuffer | gl_StorageSemanticsShared,
        gl_SemanticsAcquireRelease | gl_SemanticsMakeAvailable | gl_SemanticsMakeVisible);
}

// And for every lane this is an acquire of the relaxed loads before it and a release of the relaxed stores behind it, against
// other workers and the host.
void meet_device() {
    controlBarrier(gl_ScopeWorkgroup, gl_ScopeDevice, gl_StorageSemanticsBuffer | gl_StorageSemanticsShared,
        gl_SemanticsAcquireRelease | gl_SemanticsMakeAvailable | gl_SemanticsMakeVisible);
}

// What another worker had released before this one saw it is there for this lane's next loads.
void acquire_device() {
    memoryBarrier(gl_ScopeDevice, gl_StorageSemanticsBuffer, gl_SemanticsAcquire | gl_SemanticsMakeVisible);
}

// One 8-byte word of a stamped record. Data and stamp arrive together; where they are two stores, the stamp arrives last. What
// else shall be there before the record is ordered by a meet_device before it.
#ifdef VYRE_INT64
layout(buffer_reference, buffer_reference_align = 8, std430) nonprivate buffer Words64 { uint64_t d[]; };
void store_stamped(uvec2 address, uint index, uint data, uint stamp) {
    atomicStore(Words64(address).d[index], packUint2x32(uvec2(data, stamp)), RELAXED);
}
#else
void store_stamped(uvec2 address, uint index, uint data, uint stamp) {
    // Without the first step a host that comes late could take new data for that of an old stamp.
    atomicStore(Words(address).w[2 * index + 1], 0u, RELAXED);
    atomicStore(Words(address).w[2 * index], data, RELEASE);
    atomicStore(Words(address).w[2 * index + 1], stamp, RELEASE);
}
#endif

// The device's clock, in its own unit, low word first; 0 where there is none.
uvec2 device_clock() {
#ifdef VYRE_CLOCK
    return clockRealtime2x32EXT();
#else
    return uvec2(0u);
#endif
}
