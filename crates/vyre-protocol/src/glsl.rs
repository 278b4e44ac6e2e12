//! Renders everything that the shader shares with this crate as GLSL constants, so that no number is typed twice.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use crate::completion::Status;
use crate::control::{self, Command, TenantState};
use crate::fault::{Fault, LaunchFault};
use crate::header::{HEADER_BYTES, HEADER_WORDS, MAGIC, RegionKind};
use crate::operation::{self, Operation, Reduction};
use crate::vir0::{self, Form, Opcode, Special};
use crate::{ABI_VERSION, WORD_BYTES, debuglog, geometry, launch, local, packed, resource, slot, stamped, status};

/// Word of a header where the counts begin.
const HEADER_COUNTS: u32 = 4;

const OP_LAST: u32 = Operation::ALL[Operation::ALL.len() - 1].0.code();

/// Word offsets and sizes, in groups: `(comment, [(name, value)])`.
const OFFSETS: &[(&str, &[(&str, u32)])] = &[
    (
        "Region header.",
        &[
            ("ABI_VERSION", ABI_VERSION),
            ("MAGIC", MAGIC),
            ("HEADER_WORDS", HEADER_WORDS),
            ("REGION_COUNT", RegionKind::COUNT as u32),
            ("HEADER_MAGIC", 0),
            ("HEADER_VERSION", 1),
            ("HEADER_KIND", 2),
            ("HEADER_SIZE", 3),
            ("HEADER_COUNTS", HEADER_COUNTS),
            ("HEADER_COUNTS_END", HEADER_COUNTS + geometry::Counts::WORDS as u32),
            ("COUNT_SLOTS", HEADER_COUNTS),
            ("COUNT_TENANTS", HEADER_COUNTS + 1),
            ("COUNT_OBSERVABLES", HEADER_COUNTS + 2),
            ("COUNT_RESOURCES", HEADER_COUNTS + 3),
        ],
    ),
    (
        "Control region.",
        &[
            ("PARTITIONS", geometry::PARTITIONS as u32),
            ("CONTROL_POLLED", control::DOORBELLS),
            ("POLLED_WORDS", control::POLLED_WORDS),
            ("POLLED_COMMAND", control::COMMAND - control::DOORBELLS),
            ("POLLED_SNAPSHOT", control::SNAPSHOT_REQUEST - control::DOORBELLS),
            ("CONTROL_OFFSETS", control::PRIORITY_OFFSETS),
            ("CONTROL_LAPS", control::LAPS),
            ("CONTROL_TENANTS", control::TENANTS),
            ("TENANT_WORDS", control::TENANT_WORDS),
            ("TENANT_STATE", 0),
            ("TENANT_OPERATIONS", 1),
        ],
    ),
    (
        "Slot.",
        &[
            ("SLOT_WORDS", slot::SLOT_WORDS),
            ("SLOT_SEQUENCE", 0),
            ("SLOT_OPERATION", 1),
            ("SLOT_TILES", 2),
            ("SLOT_TENANT", 3),
            ("SLOT_INPUT", 4),
            ("SLOT_OUTPUT", 6),
            ("SLOT_LENGTH", 8),
            ("SLOT_TILE_SPAN", 9),
            ("SLOT_ARGS", 10),
            ("MAX_TILES", slot::MAX_TILES),
        ],
    ),
    (
        "Resource table.",
        &[
            ("ENTRY_WORDS", resource::ENTRY_WORDS),
            ("ENTRY_ADDRESS", 0),
            ("ENTRY_LENGTH", 2),
            ("ENTRY_GENERATION", 3),
            ("ENTRY_OWNER", 4),
            ("ENTRY_ACCESS", 5),
            ("HANDLE_INDEX_BITS", resource::INDEX_BITS),
            ("HANDLE_OBSERVABLES", resource::OBSERVABLES.word()),
            ("OWNER_SHARED", resource::SHARED),
            ("ACCESS_READ", resource::READ),
            ("ACCESS_WRITE", resource::WRITE),
            ("ACCESS_ATOMIC", resource::ATOMIC),
            ("ACCESS_EXECUTE", resource::EXECUTE),
        ],
    ),
    (
        "Stamped records and the status region.",
        &[
            ("RECORD_BYTES", stamped::RECORD_BYTES),
            ("RECORD_WORDS", stamped::RECORD_BYTES / WORD_BYTES),
            ("RECORD_DATA", stamped::DATA_WORDS as u32),
            ("STATUS_COUNTERS", status::COUNTERS),
            ("STATUS_LAUNCH", status::LAUNCH),
            ("STATUS_OBSERVABLES", status::OBSERVABLES),
            ("LAUNCH_STAMP", status::LAUNCH_STAMP),
        ],
    ),
    (
        "Local region.",
        &[
            ("LOCAL_HOT", local::HOT),
            ("HOT_LEASE", local::HOT_LEASE),
            ("HOT_SNAPSHOT_SERVED", local::HOT_SNAPSHOT_SERVED),
            ("LOCAL_MIRROR", local::MIRROR),
            ("LOCAL_COMPLETION_TAIL", local::COMPLETION_TAIL),
            ("LOCAL_SNAPSHOT_STAMP", local::SNAPSHOT_STAMP),
            ("LOCAL_COMPLETED", local::COMPLETED),
            ("LOCAL_RESIDENT", local::RESIDENT),
            ("LOCAL_LEFT", local::LEFT),
            ("LEFT_WORDS", local::LEFT_WORDS),
            ("LOCAL_LAUNCH_REPORTED", local::LAUNCH_REPORTED),
            ("LOCAL_COUNTERS", local::COUNTERS),
            ("COUNTER_CLAIMED", 0),
            ("COUNTER_COMPLETED", 1),
            ("COUNTER_FAULTED", 2),
            ("COUNTER_TILES", 3),
            ("COUNTER_TURNS", 4),
            ("COUNTER_IDLE_TURNS", 5),
            ("COUNTER_QUANTA", 6),
            ("COUNTER_RESIDENT_PEAK", 7),
            ("LOCAL_LOG_TAIL", local::LOG_TAIL),
            ("LOCAL_WAKE", local::WAKE),
            ("WAKE_GROUPS", local::WAKE_GROUPS),
            ("WAKE_STRIDE", local::WAKE_STRIDE),
            ("LOCAL_SLOT_STATES", local::SLOT_STATES),
            ("SLOT_STATE_WORDS", local::SLOT_STATE_WORDS),
            ("STATE_PHASE", local::STATE_PHASE),
            ("STATE_DONE", local::STATE_DONE),
            ("STATE_FAULT", local::STATE_FAULT),
            ("STATE_FAULT_WORD", local::STATE_FAULT_WORD),
            ("STATE_COUNTER", local::STATE_COUNTER),
            ("PHASE_FREE", local::PHASE_FREE),
            ("PHASE_TAKEN", local::PHASE_TAKEN),
            ("PHASE_OPEN", local::PHASE_OPEN),
            ("TILE_COUNT_BITS", local::TILE_COUNT_BITS),
            ("NO_TILES_LEFT", local::NO_TILES_LEFT),
        ],
    ),
    (
        "VIR0.",
        &[
            ("VIR_GROUP", vir0::GROUP),
            ("VIR_VECTORS", vir0::VECTORS as u32),
            ("VIR_SCALARS", vir0::SCALARS as u32),
            ("VIR_IMMEDIATE", vir0::IMMEDIATE as u32),
            ("VIR_RESOURCES", vir0::RESOURCES as u32),
            ("VIR_CONSTANTS", vir0::Place::Constants.code() as u32),
            ("VIR_SCRATCH", vir0::Place::Scratch.code() as u32),
            ("VIR_MAX_INSTRUCTIONS", vir0::MAX_INSTRUCTIONS as u32),
            ("VIR_MAX_SCRATCH", vir0::MAX_SCRATCH),
            ("VIR_HEADER_WORDS", vir0::HEADER_BYTES / WORD_BYTES),
            ("VIR_HEADER_INSTRUCTIONS", 4),
            ("VIR_HEADER_CONSTANTS", 5),
            ("VIR_HEADER_SCRATCH", 6),
            ("VIR_HEADER_FUEL", 7),
            ("VIR_HEADER_RESOURCES", 9),
            ("VIR_HEADER_ACCESS", 10),
            ("VIR_HEADER_TAG", vir0::TAG),
            ("VIR_SWEEP", vir0::SWEEP),
            ("VIR_STEP", vir0::STEP),
            ("VIR_REDUCE_FUEL", vir0::REDUCE_FUEL),
            ("VIR_SCAN_FUEL", vir0::SCAN_FUEL),
            ("VIR_PRINT_FUEL", vir0::PRINT_FUEL),
            ("VIR_SETUP_FUEL", launch::MAX_TILE_FUEL - vir0::MAX_FUEL),
        ],
    ),
    (
        "Limits of operations.",
        &[
            ("MAX_TILE_BYTES", operation::MAX_TILE_BYTES),
            ("MAX_TILE_CHUNKS", operation::MAX_TILE_CHUNKS),
            ("CHUNK_BYTES", operation::CHUNK_BYTES),
            ("ACCUMULATORS", operation::ACCUMULATORS),
            ("MAX_BINS", operation::MAX_BINS),
            ("SCALAR_OPERATIONS", operation::SCALAR_OPERATIONS),
            ("RUN_SLOTS", operation::RUN_SLOTS),
            ("USER_OPERATIONS", operation::USER_OPERATIONS),
            ("CUSTOM_BIT", operation::CUSTOM_BIT),
            ("LOG_ARGS", debuglog::LOG_ARGS as u32),
            ("LOG_TILE", debuglog::LOG_TILE),
            ("PACKED_WORDS", packed::PACKED_WORDS as u32),
            ("PACKED_CODE_BITS", packed::CODE_BITS),
            ("MAX_TILE_FUEL", launch::MAX_TILE_FUEL),
            ("MAX_BUILT_IN_TILE_FUEL", launch::MAX_BUILT_IN_TILE_FUEL),
            ("TURN_FUEL", launch::TURN_FUEL),
        ],
    ),
];

/// The text of `shaders/abi.glsl`.
#[must_use]
pub fn render() -> String {
    let mut out =
        String::from("// Generated by `cargo xtask build-shaders` from the crate vyre-protocol. Do not edit.\n");
    for (comment, constants) in OFFSETS {
        section(&mut out, comment, constants.iter().map(|&(name, value)| (name, value)));
    }
    section(&mut out, "Regions.", []);
    for kind in RegionKind::ALL {
        let mut name = String::from("REGION_");
        name.extend(kind.name().chars().map(|c| c.to_ascii_uppercase()));
        constant(&mut out, &name, kind as u32);
    }
    let shapes = RegionKind::ALL.map(RegionKind::shape);
    array(&mut out, "REGION_FIXED_BYTES", &shapes.map(|shape| HEADER_BYTES + shape.fixed_bytes));
    array(&mut out, "REGION_ELEMENT_BYTES", &shapes.map(|shape| shape.element_bytes));
    array(&mut out, "REGION_ELEMENT_COUNT", &shapes.map(|shape| HEADER_COUNTS + shape.count as u32));
    array(&mut out, "REGION_ROUNDED", &shapes.map(|shape| u32::from(shape.rounded)));
    section(&mut out, "Operations.", Operation::ALL.iter().map(|(op, name)| (*name, op.code())));
    constant(&mut out, "OP_LAST", OP_LAST);
    array(&mut out, "PACKED_INNER_WORDS", &(0..=OP_LAST).map(packed::inner_words).collect::<Vec<_>>());
    let identity = Reduction::ALL.iter().map(|(reduction, _)| reduction.identity());
    section(&mut out, "Reductions.", Reduction::ALL.iter().map(|(reduction, name)| (*name, reduction.code())));
    array(&mut out, "REDUCE_IDENTITY", &core::iter::once(0).chain(identity).collect::<Vec<_>>());
    programs(&mut out);
    section(&mut out, "Status of a completion.", Status::ALL.iter().map(|(status, name)| (*name, status.code())));
    section(&mut out, "Faults of a slot.", Fault::ALL.iter().map(|(fault, name)| (*name, fault.code())));
    section(&mut out, "Faults of a launch.", LaunchFault::ALL.iter().map(|(fault, name)| (*name, fault.code())));
    section(&mut out, "Commands.", Command::ALL.iter().map(|(command, name)| (*name, command.code())));
    section(&mut out, "States of a tenant.", TenantState::ALL.iter().map(|(state, name)| (*name, state.code())));
    out
}

/// Instructions of VIR0 and what they read, by their names in the text.
fn programs(out: &mut String) {
    let upper = |name: &str| name.to_ascii_uppercase();
    section(out, "Instructions of VIR0.", []);
    for opcode in Opcode::ALL {
        constant(out, &format!("VIR_{}", upper(opcode.name())), opcode.code().into());
    }
    section(out, "What GET reads.", []);
    for special in Special::ALL {
        constant(out, &format!("VIR_GET_{}", upper(special.name())), special.code().into());
    }
    section(out, "Groups of instructions: X(name, opcode) for each.", []);
    let computes = |form| matches!(form, Form::Unary | Form::Binary | Form::Ternary);
    each(out, "VIR_COMPUTED", |opcode| computes(opcode.form()));
    each(out, "VIR_ATOMICS", |opcode| matches!(opcode.form(), Form::Atomic | Form::Swap));
    each(out, "VIR_REDUCTIONS", |opcode| opcode.form() == Form::Reduce);
}

/// A macro that calls another for each of these instructions.
fn each(out: &mut String, name: &str, belongs: impl Fn(Opcode) -> bool) {
    let _ = write!(out, "#define {name}(X)");
    for opcode in Opcode::ALL.iter().copied().filter(|opcode| belongs(*opcode)) {
        let _ = write!(out, " X({}, VIR_{})", opcode.name(), opcode.name().to_ascii_uppercase());
    }
    out.push('\n');
}

fn section<'a>(out: &mut String, comment: &str, constants: impl IntoIterator<Item = (&'a str, u32)>) {
    // Writing to a String cannot fail.
    let _ = write!(out, "\n// {comment}\n");
    for (name, value) in constants {
        constant(out, name, value);
    }
}

fn constant(out: &mut String, name: &str, value: u32) {
    let _ = writeln!(out, "const uint {name} = {value}u;");
}

fn array(out: &mut String, name: &str, values: &[u32]) {
    let _ = write!(out, "const uint {name}[{}] = uint[](", values.len());
    for (i, value) in values.iter().enumerate() {
        let _ = write!(out, "{}{value}u", if i == 0 { "" } else { ", " });
    }
    out.push_str(");\n");
}
