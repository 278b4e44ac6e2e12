#version 460
// Dot products of 256 pairs each by hand; y lies behind x.
#extension GL_GOOGLE_include_directive : require
#include "rival.glsl"

shared float s_sums[256];

void main() {
    uint i = gl_GlobalInvocationID.x;
    Floats pairs = Floats(work.source);
    s_sums[LANE] = i < work.items ? pairs.f[i] * pairs.f[work.items + i] : 0.0;
    for (uint stride = 128u; stride > 0u; stride /= 2u) {
        barrier();
        if (LANE < stride) { s_sums[LANE] += s_sums[LANE + stride]; }
    }
    if (LANE == 0u) { Floats(work.target).f[gl_WorkGroupID.x] = s_sums[0]; }
}
