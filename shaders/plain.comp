#version 460
// A slot of a bulk operation as a plain dispatch: a workgroup a tile, no ring, and no checks, which the host has done. It is what
// the resident kernel is measured against, so the tiles are run by the same code.
#extension GL_GOOGLE_include_directive : require

#include "prelude.glsl"

// The slot. Its operands are buffer device addresses, low word first, in place of handles and offsets.
layout(push_constant, std430) uniform Dispatch { uint slot[SLOT_WORDS]; } dispatch;

#include "tile.glsl"

void main() {
    for (uint i = LANE; i < SLOT_WORDS; i += LANES) { s_slot[i] = dispatch.slot[i]; }
    meet();
    uvec2 source = uvec2(s_slot[SLOT_INPUT], s_slot[SLOT_INPUT + 1u]);
    uvec2 target = uvec2(s_slot[SLOT_OUTPUT], s_slot[SLOT_OUTPUT + 1u]);
    Tile tile = Tile(s_slot[SLOT_OPERATION], gl_WorkGroupID.x, 0u, source, target);
    place(tile);
    run_bulk(tile);
}
