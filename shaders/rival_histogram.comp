#version 460
// How often each byte occurs, by hand. The bytes are whole words, and so are those of a workgroup.
#extension GL_GOOGLE_include_directive : require
#include "rival.glsl"

shared uint s_bins[256];

void main() {
    s_bins[LANE] = 0u;
    barrier();
    uint first = gl_WorkGroupID.x * work.span / 4u;
    uint end = min(first + work.span / 4u, work.items / 4u);
    for (uint i = first + LANE; i < end; i += 256u) {
        uint word = Words(work.source).w[i];
        atomicAdd(s_bins[word & 255u], 1u);
        atomicAdd(s_bins[word >> 8 & 255u], 1u);
        atomicAdd(s_bins[word >> 16 & 255u], 1u);
        atomicAdd(s_bins[word >> 24], 1u);
    }
    barrier();
    atomicAdd(Words(work.target).w[LANE], s_bins[LANE]);
}
