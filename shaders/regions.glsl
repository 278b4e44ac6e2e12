// The launch, and the words of its regions.

layout(push_constant, std430) uniform Launch {
    uvec2 regions[REGION_COUNT];
    uint quantum;
    uint fuel;
    uint workers;
    uint ticks;
} launch;

Words region(uint kind) { return Words(launch.regions[kind]); }

uint load(uint kind, uint word) { return atomicLoad(region(kind).w[word], RELAXED); }
uint load_acquire(uint kind, uint word) { return atomicLoad(region(kind).w[word], ACQUIRE); }
void store(uint kind, uint word, uint value) { atomicStore(region(kind).w[word], value, RELAXED); }

uint local_load(uint word) { return load(REGION_LOCAL, word); }
uint local_load_acquire(uint word) { return load_acquire(REGION_LOCAL, word); }
void local_store(uint word, uint value) { store(REGION_LOCAL, word, value); }
void local_store_release(uint word, uint value) { atomicStore(region(REGION_LOCAL).w[word], value, RELEASE); }
uint local_add(uint word, uint value) { return atomicAdd(region(REGION_LOCAL).w[word], value, RELAXED); }
uint local_add_acq_rel(uint word, uint value) { return atomicAdd(region(REGION_LOCAL).w[word], value, ACQ_REL); }

// Whether the word was `old` and is `new` now. What was released with the old value is visible then.
bool local_swap(uint word, uint old, uint new) {
    return atomicCompSwap(region(REGION_LOCAL).w[word], old, new, gl_ScopeDevice, gl_StorageSemanticsBuffer,
        gl_SemanticsAcquire | gl_SemanticsMakeVisible, gl_StorageSemanticsBuffer,
        gl_SemanticsAcquire | gl_SemanticsMakeVisible) == old;
}

// The same behind all that this lane did before; nobody waits for the outcome.
void local_swap_release(uint word, uint old, uint new) {
    atomicCompSwap(region(REGION_LOCAL).w[word], old, new, gl_ScopeDevice, gl_StorageSemanticsBuffer,
        gl_SemanticsRelease | gl_SemanticsMakeAvailable, 0, 0);
}

// And for a word that orders nothing. Gives what it was.
uint local_swap_relaxed(uint word, uint old, uint new) {
    return atomicCompSwap(region(REGION_LOCAL).w[word], old, new, gl_ScopeDevice, 0, 0, 0, 0);
}

// Writes a stamped record, each lane its own word.
void write_record(uint kind, uint word, uint stamp, uint data) {
    if (LANE < RECORD_DATA) { store_stamped(address_at(launch.regions[kind], word * 4u), LANE, data, stamp); }
}
