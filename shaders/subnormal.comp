#version 460
// What the device makes of results that are subnormal, for a host that asks (vyre-vk, `subnormal.rs`): a lane takes three floats and leaves
// their sum, difference, product and fused product and sum.
#extension GL_GOOGLE_include_directive : require
#include "rival.glsl"

void main() {
    uint i = gl_GlobalInvocationID.x;
    if (i >= work.items) { return; }
    Floats source = Floats(work.source);
    float a = source.f[3u * i], b = source.f[3u * i + 1u], c = source.f[3u * i + 2u];
    precise float sum = a + b;
    precise float difference = a - b;
    precise float product = a * b;
    Floats target = Floats(work.target);
    target.f[4u * i] = sum;
    target.f[4u * i + 1u] = difference;
    target.f[4u * i + 2u] = product;
    target.f[4u * i + 3u] = fma(a, b, c);
}
