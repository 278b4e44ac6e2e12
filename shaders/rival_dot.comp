#version 460
// Dot products of `span` pairs each by hand; y lies behind x.
#extension GL_GOOGLE_include_directive : require
#include "rival.glsl"

shared float s_sums[256];

void main() {
    uint end = min(work.items, (gl_WorkGroupID.x + 1u) * work.span);
    Floats pairs = Floats(work.source);
    float sum = 0.0;
    for (uint i = gl_WorkGroupID.x * work.span + LANE; i < end; i += 256u) { sum += pairs.f[i] * pairs.f[work.items + i]; }
    s_sums[LANE] = sum;
    for (uint stride = 128u; stride > 0u; stride /= 2u) {
        barrier();
        if (LANE < stride) { s_sums[LANE] += s_sums[LANE + stride]; }
    }
    if (LANE == 0u) { Floats(work.target).f[gl_WorkGroupID.x] = s_sums[0]; }
}
