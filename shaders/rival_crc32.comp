#version 460
// CRC-32 of blocks of as many words as the first parameter says, by hand: a lane a block, the table in shared memory.
#extension GL_GOOGLE_include_directive : require
#include "rival.glsl"

shared uint s_table[256];

void main() {
    uint entry = LANE;
    for (uint bit = 0u; bit < 8u; ++bit) { entry = entry >> 1 ^ ((entry & 1u) != 0u ? 0xedb88320u : 0u); }
    s_table[LANE] = entry;
    barrier();
    uint block = gl_GlobalInvocationID.x;
    if (block >= work.items) { return; }
    uint words = work.parameters[0];
    uint crc = 0xffffffffu;
    for (uint i = 0u; i < words; ++i) {
        crc ^= Words(work.source).w[block * words + i];
        for (uint byte = 0u; byte < 4u; ++byte) { crc = crc >> 8 ^ s_table[crc & 255u]; }
    }
    Words(work.target).w[block] = ~crc;
}
