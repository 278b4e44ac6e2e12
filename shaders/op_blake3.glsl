// BLAKE3: a tile of chunks to the chaining value of its subtree. One lane a chunk, then the tree in shared memory.
// Constants and structure: the BLAKE3 paper, sections 2.1 to 2.4.

const uint BLAKE3_CHUNK_START = 1u;
const uint BLAKE3_CHUNK_END = 2u;
const uint BLAKE3_PARENT = 4u;
const uint BLAKE3_ROOT = 8u;
const uint BLAKE3_BLOCK = 64u;
const uint BLAKE3_IV[8] = uint[](0x6A09E667u, 0xBB67AE85u, 0x3C6EF372u, 0xA54FF53Au, 0x510E527Fu, 0x9B05688Cu,
    0x1F83D9ABu, 0x5BE0CD19u);

// Two buffers of values in the scratch: a level of the tree is read from one while the next is written to the other.
const uint VALUES = MAX_TILE_CHUNKS * 8u;

Verdict check_blake3(inout Tile tile) {
    uint length = s_slot[SLOT_LENGTH];
    uint span = s_slot[SLOT_TILE_SPAN];
    uint root = s_slot[SLOT_ARGS + 2u];
    uint tiles = s_slot[SLOT_TILES];
    if (span == 0u || span > MAX_TILE_CHUNKS || (span & (span - 1u)) != 0u) {
        return Verdict(FAULT_BAD_ARGUMENT, span);
    }
    if (!covers(tiles, span * CHUNK_BYTES, length)) { return Verdict(FAULT_BAD_ARGUMENT, tiles); }
    bool whole = tiles == 1u && (s_slot[SLOT_ARGS] | s_slot[SLOT_ARGS + 1u]) == 0u;
    if (root > 1u || (root == 1u && !whole)) { return Verdict(FAULT_BAD_ARGUMENT, root); }
    if ((s_slot[SLOT_ARGS] & (span - 1u)) != 0u) { return Verdict(FAULT_BAD_ARGUMENT, s_slot[SLOT_ARGS]); }
    if (root == 0u && length == 0u) { return Verdict(FAULT_BAD_ARGUMENT, 0u); }
    if (s_slot[SLOT_ARGS + 3u] == 0u) { return Verdict(FAULT_BAD_ARGUMENT, 0u); }
    if ((s_slot[SLOT_OUTPUT + 1u] & 7u) != 0u) { return Verdict(FAULT_MISALIGNED, s_slot[SLOT_OUTPUT + 1u]); }
    // The last word may hang over the length; a length beyond the last multiple of four fits in no resource.
    uint rounded = length > 0xfffffffcu ? 0xffffffffu : (length + 3u) & ~3u;
    Verdict verdict = resolve_input(rounded, tile);
    if (verdict.fault == FAULT_NONE) {
        verdict = resolve_output(tiles * RECORD_BYTES, ACCESS_WRITE, tile);
    }
    return verdict;
}

// Per lane and chunk 16 blocks and a turn; then at most 6 levels of the tree, whose pairs are half as many each time.
uint blake3_fuel(Tile tile) {
    uint chunks = (tile.bytes + CHUNK_BYTES - 1u) / CHUNK_BYTES;
    return (chunks / LANES + 1u) * 18u + 24u;
}

uint rotate_right(uint x, uint n) { return x >> n | x << (32u - n); }

#define BLAKE3_G(a, b, c, d, x, y) \
    a += b + (x); d = rotate_right(d ^ a, 16u); c += d; b = rotate_right(b ^ c, 12u); \
    a += b + (y); d = rotate_right(d ^ a, 8u); c += d; b = rotate_right(b ^ c, 7u);

#define BLAKE3_ROUND(a, b, c, d, e, f, g, h, i, j, k, l, m_, n, o, p) \
    BLAKE3_G(v[0], v[4], v[8], v[12], m[a], m[b]) BLAKE3_G(v[1], v[5], v[9], v[13], m[c], m[d]) \
    BLAKE3_G(v[2], v[6], v[10], v[14], m[e], m[f]) BLAKE3_G(v[3], v[7], v[11], v[15], m[g], m[h]) \
    BLAKE3_G(v[0], v[5], v[10], v[15], m[i], m[j]) BLAKE3_G(v[1], v[6], v[11], v[12], m[k], m[l]) \
    BLAKE3_G(v[2], v[7], v[8], v[13], m[m_], m[n]) BLAKE3_G(v[3], v[4], v[9], v[14], m[o], m[p])

// The compression function, cut to the eight words of a chaining value.
void blake3_compress(inout uint h[8], uint m[16], uvec2 counter, uint bytes, uint flags) {
    uint v[16] = uint[](h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7], BLAKE3_IV[0], BLAKE3_IV[1], BLAKE3_IV[2],
        BLAKE3_IV[3], counter.x, counter.y, bytes, flags);
    BLAKE3_ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
    BLAKE3_ROUND(2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
    BLAKE3_ROUND(3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1)
    BLAKE3_ROUND(10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6)
    BLAKE3_ROUND(12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4)
    BLAKE3_ROUND(9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7)
    BLAKE3_ROUND(11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13)
    [[unroll]] for (uint i = 0u; i < 8u; ++i) { h[i] = v[i] ^ v[i + 8u]; }
}

// Word `i` of a block of which `bytes` bytes exist, the rest being zero.
uint partial_word(uvec2 address, uint i, uint bytes) {
    uint before = i * 4u;
    if (bytes <= before) { return 0u; }
    uint word = Words(address).w[i];
    return bytes - before >= 4u ? word : word & ((1u << (bytes - before) * 8u) - 1u);
}

void load_block(uvec2 address, uint bytes, out uint m[16]) {
    if (bytes == BLAKE3_BLOCK && (address.x & 15u) == 0u) {
        [[unroll]] for (uint i = 0u; i < 4u; ++i) {
            uvec4 four = Vectors(address).v[i];
            m[4u * i] = four.x; m[4u * i + 1u] = four.y; m[4u * i + 2u] = four.z; m[4u * i + 3u] = four.w;
        }
    } else {
        [[unroll]] for (uint i = 0u; i < 16u; ++i) { m[i] = partial_word(address, i, bytes); }
    }
}

// Chaining value of a chunk of the tile, to the first buffer.
void blake3_chunk(Tile tile, uint chunk, uint root_flag) {
    uint bytes = min(CHUNK_BYTES, tile.bytes - chunk * CHUNK_BYTES);
    uvec2 counter = address_at(uvec2(s_slot[SLOT_ARGS], s_slot[SLOT_ARGS + 1u]), tile.number * s_slot[SLOT_TILE_SPAN] + chunk);
    uint blocks = max(1u, (bytes + BLAKE3_BLOCK - 1u) / BLAKE3_BLOCK);
    uint h[8] = BLAKE3_IV;
    for (uint block = 0u; block < blocks; ++block) {
        uint length = min(BLAKE3_BLOCK, bytes - block * BLAKE3_BLOCK);
        uint flags = (block == 0u ? BLAKE3_CHUNK_START : 0u) |
            (block + 1u == blocks ? BLAKE3_CHUNK_END | root_flag : 0u);
        uint m[16];
        load_block(address_at(tile.source, chunk * CHUNK_BYTES + block * BLAKE3_BLOCK), length, m);
        blake3_compress(h, m, counter, length, flags);
    }
    [[unroll]] for (uint i = 0u; i < 8u; ++i) { s_scratch[chunk * 8u + i] = h[i]; }
}

// One pair of a level to the next level.
void blake3_parent(uint from, uint pair, uint root_flag) {
    uint h[8] = BLAKE3_IV;
    uint m[16];
    [[unroll]] for (uint i = 0u; i < 16u; ++i) { m[i] = s_scratch[from * VALUES + pair * 16u + i]; }
    blake3_compress(h, m, uvec2(0u), BLAKE3_BLOCK, BLAKE3_PARENT | root_flag);
    [[unroll]] for (uint i = 0u; i < 8u; ++i) { s_scratch[(1u - from) * VALUES + pair * 8u + i] = h[i]; }
}

void blake3_tile(Tile tile) {
    uint count = max(1u, (tile.bytes + CHUNK_BYTES - 1u) / CHUNK_BYTES);
    // A tile behind the end of the input has no subtree and writes nothing.
    if (tile.bytes == 0u && tile.number != 0u) { return; }
    uint root = s_slot[SLOT_ARGS + 2u] == 1u ? BLAKE3_ROOT : 0u;
    for (uint chunk = LANE; chunk < count; chunk += LANES) { blake3_chunk(tile, chunk, count == 1u ? root : 0u); }
    meet();
    uint from = 0u;
    while (count > 1u) {
        uint pairs = count / 2u;
        for (uint pair = LANE; pair < pairs; pair += LANES) { blake3_parent(from, pair, count == 2u ? root : 0u); }
        // An odd value rises as it is, which gives the tree whose left subtrees are complete.
        if ((count & 1u) != 0u && LANE < 8u) {
            s_scratch[(1u - from) * VALUES + pairs * 8u + LANE] = s_scratch[from * VALUES + pairs * 16u + LANE];
        }
        meet();
        from = 1u - from;
        count = pairs + (count & 1u);
    }
    if (LANE < RECORD_DATA) { store_stamped(tile.target, LANE, s_scratch[from * VALUES + LANE], s_slot[SLOT_ARGS + 3u]); }
}
