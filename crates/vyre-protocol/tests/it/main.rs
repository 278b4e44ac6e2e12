//! What the ABI promises: pinned bytes, strict decoders, and the host's side of the ring.

mod decoders;
mod geometry;
mod mirror;
mod pinned;
mod ring;
mod tenants;
mod vir0;
