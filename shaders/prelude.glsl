// What every kernel starts with: extensions, the width of a workgroup, the operations compiled in, and memory.
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_control_flow_attributes : require
#ifdef VYRE_INT64
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#extension GL_EXT_shader_atomic_int64 : require
#endif
#ifdef VYRE_CLOCK
#extension GL_EXT_shader_realtime_clock : require
#endif
#pragma use_vulkan_memory_model

layout(local_size_x_id = 0) in;
// Bit c: the operation with code c is compiled in.
layout(constant_id = 1) const uint OPERATIONS = 0xffffffffu;
// Longest pause of an idle worker between two looks, in loads from memory; 0 where workers are host threads.
layout(constant_id = 2) const uint MAX_PAUSE = 0u;
const bool HOST_THREADS = MAX_PAUSE == 0u;

#define LANES gl_WorkGroupSize.x
#define LANE gl_LocalInvocationIndex

#include "abi.glsl"
#include "memory.glsl"
