//! The ABI between a host and the vyre kernel that stays resident on a device.
//!
//! Everything that two sides must agree on is defined here and nowhere else: the shader's constants are generated from this
//! crate ([`glsl::render`]), the reference engine executes it, and the fuzzers attack its decoders. The crate has no IO, no
//! GPU, no operating system and no `unsafe`.
//!
//! # Regions
//!
//! Two sides share eight *regions*. Every word has exactly one writing side, so neither ever needs a read-modify-write on
//! memory that the other side writes:
//!
//! | region | written by | content | module |
//! |---|---|---|---|
//! | control | host | doorbells, command, partitions, tenants | [`control`] |
//! | ring | host | slots of 64 bytes | [`slot`] |
//! | resources | host | addresses and sizes behind handles | [`resource`] |
//! | IO responses | host | answers to the kernel's IO requests | [`ioqueue`] |
//! | status | device | counters, launch fault, observables | [`status`] |
//! | completions | device | stamped records of 64 bytes | [`completion`] |
//! | debug log | device | stamped records of 64 bytes | [`debuglog`] |
//! | IO requests | device | stamped records of 64 bytes | [`ioqueue`] |
//!
//! A ninth region, [`local`], is private to the device: claims, tile counters, the mirror of the doorbells.
//!
//! Each region starts with a [`header::RegionHeader`] that repeats the [`geometry::Geometry`]; both sides check it. All words
//! are 32 bits, little-endian. Reading order for newcomers: [`geometry`], [`slot`], [`completion`], [`ring`].
//!
//! # Publication
//!
//! The host writes a slot's payload, then its *sequence* word, then the partition's *doorbell*; a store barrier that also
//! orders write-combined memory stands between the steps ([`words::SharedWords::publish_fence`]). The sequence is the ticket's
//! generation plus one, so a recycled slot is never mistaken and nobody has to write "empty". Records that the device writes
//! are *stamped*: each 8-byte word carries 32 bits of data and the 32-bit stamp ([`stamped`]).
#![no_std]
#![forbid(unsafe_code)]

#[cfg(not(target_endian = "little"))]
compile_error!("vyre shares little-endian words with devices; this target is big-endian");

extern crate alloc;

pub mod completion;
pub mod control;
pub mod custom;
pub mod debuglog;
pub mod decode;
pub mod fault;
pub mod geometry;
pub mod glsl;
pub mod header;
pub mod ioqueue;
pub mod launch;
pub mod local;
pub mod mirror;
pub mod operation;
pub mod packed;
pub mod resource;
pub mod ring;
pub mod slot;
pub mod stamped;
pub mod status;
pub mod tenants;
pub mod vir0;
pub mod words;

/// Version of everything in this crate that another side can see. It changes whenever a byte moves.
pub const ABI_VERSION: u32 = 1;

/// Bytes in a word, the unit of every access to shared memory.
pub const WORD_BYTES: u32 = 4;

/// Lanes that the kernel needs at least in a worker: one lane per word of the polled line and of a stamped record.
pub const MIN_LANES: u32 = 8;
