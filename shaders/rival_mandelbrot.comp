#version 460
// Steps until a point leaves the circle of radius 2, by hand; the parameters are those of programs/mandelbrot.vir.
#extension GL_GOOGLE_include_directive : require
#include "rival.glsl"

void main() {
    uint i = gl_GlobalInvocationID.x;
    if (i >= work.items) { return; }
    uint width = work.parameters[0];
    float apart = uintBitsToFloat(work.parameters[3]);
    // Contracted to fma, or not: else a point may leave one step earlier than in the program.
    precise vec2 c = vec2(i % width, i / width) * apart;
    c += vec2(uintBitsToFloat(work.parameters[1]), uintBitsToFloat(work.parameters[2]));
    precise vec2 z = vec2(0.0);
    precise vec2 square = vec2(0.0);
    uint steps = 0u;
    while (steps < work.parameters[4] && square.x + square.y <= 4.0) {
        precise float product = z.x * z.y;
        z = vec2(square.x - square.y, product + product) + c;
        square = z * z;
        ++steps;
    }
    Words(work.target).w[i] = steps;
}
