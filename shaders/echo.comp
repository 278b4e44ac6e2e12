#version 460
// One word there and back and nothing else: what the bus and the memory of a machine take for a round trip, below which no ring comes.
#extension GL_GOOGLE_include_directive : require

#include "prelude.glsl"

// The host's last word.
const uint ECHO_END = 0xffffffffu;

layout(push_constant, std430) uniform Dispatch {
    uvec2 asked;    // address of the word that the host writes
    uvec2 answered; // and of the one that it reads
    uint looks;
} dispatch;

void main() {
    if (LANE != 0u) { return; }
    uint last = 0u;
    for (uint i = 0u; i < dispatch.looks; ++i) {
        uint word = atomicLoad(Words(dispatch.asked).w[0], RELAXED);
        if (word == ECHO_END) { return; }
        if (word != last) { atomicStore(Words(dispatch.answered).w[0], word, RELAXED); }
        last = word;
    }
}
