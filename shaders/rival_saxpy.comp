#version 460
// y = a * x + y by hand.
#extension GL_GOOGLE_include_directive : require
#include "rival.glsl"

void main() {
    uint i = gl_GlobalInvocationID.x;
    if (i >= work.items) { return; }
    float a = uintBitsToFloat(work.parameters[0]);
    Floats(work.target).f[i] += a * Floats(work.source).f[i];
}
