// What the hand-written shaders share: compute shaders as a user of Vulkan writes them, which `vyre bench vir0` measures programs against.
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require

layout(local_size_x = 256) in;

layout(buffer_reference, buffer_reference_align = 4, std430) buffer Words { uint w[]; };
layout(buffer_reference, buffer_reference_align = 4, std430) buffer Floats { float f[]; };

// Two buffers, how many items there are, and what the shader calls its parameters. A workgroup takes `span` items.
layout(push_constant, std430) uniform Work {
    uvec2 source;
    uvec2 target;
    uint items;
    uint span;
    uint parameters[5];
} work;

#define LANE gl_LocalInvocationIndex
