//! The one-shot mode: mirrors, dispatched.

use std::time::Duration;

use vyre_runtime::protocol::completion::Status;
use vyre_runtime::protocol::fault::Fault;
use vyre_runtime::protocol::geometry::{Counts, Geometry, Priority};
use vyre_runtime::protocol::mirror::{Mirror, Readback, SlotState, WorkItem};
use vyre_runtime::protocol::operation::Operation;
use vyre_runtime::protocol::slot::{Operand, Slot};
use vyre_runtime::protocol::tenants::TenantConfig;
use vyre_runtime::vk::MemoryUse;
use vyre_runtime::{DispatchError, EngineKind, Options, Runtime};

use crate::Open;
use crate::cases::{LONG, NOP, end};

/// A runtime and a mirror of one geometry.
fn pair(open: Open, slots: u32) -> (Runtime, Mirror) {
    let counts = Counts { slots, ..Counts::default() };
    (open(&Options::new(counts).unwrap()), Mirror::of(&Geometry::new(counts).unwrap()))
}

pub(crate) fn a8_a11_a_mirror_is_run_and_its_results_are_swapped_in(open: Open) {
    let (mut runtime, mut mirror) = pair(open, 100);
    let memory = runtime.allocate(64, MemoryUse::Local).unwrap();
    let tenant = runtime.register_tenant(TenantConfig::default()).unwrap();
    let handle = memory.handle().word();
    let format = runtime.register_format("{u}").unwrap();
    let item = |operation: Operation, parameter| WorkItem {
        operation: operation.code(),
        input: handle,
        output: handle,
        parameter,
    };
    for round in 0..5_u32 {
        mirror.reset();
        // With gaps, in several partitions; the fence makes the order certain.
        mirror.publish_items(42, &[item(Operation::StoreU32, 10 * round)]).unwrap();
        mirror.publish_batch(45, &[]).unwrap();
        mirror.publish_items(47, &[item(Operation::AtomicAdd, 1)]).unwrap();
        mirror.publish_batch(50, &[]).unwrap();
        mirror.publish_items(53, &[item(Operation::LoadU32, 0)]).unwrap();
        let observable = Slot { output: Operand::observable(3), ..item(Operation::StoreU32, round + 5).slot() };
        mirror.publish(90, &[Slot { tenant, ..observable }, Slot::with_code(0x3000)]).unwrap();
        mirror.publish(7, &[Slot::printf(format, &[round]).unwrap()]).unwrap();
        let dispatch = runtime.dispatch(&mut mirror, LONG).unwrap();
        assert_eq!((dispatch.slots, dispatch.bytes_in, dispatch.relaunched), (8, 8 * 64, false));
        assert_eq!(dispatch.bytes_out, mirror.readback().bytes());
        assert_eq!(dispatch.allocations, if round < 2 { 4 * u32::from(round == 0) } else { 0 });
        if runtime.engine().kind == EngineKind::Reference {
            assert_eq!(dispatch.device_ticks, None, "host threads have no device clock");
        }
        let results = |index| mirror.completion(index).unwrap().results[0];
        assert_eq!((results(47), results(53)), (10 * round, 10 * round + 1), "round {round}");
        let fault = mirror.completion(91).unwrap();
        assert_eq!((fault.fault, fault.fault_word), (Fault::UnknownOperation, 0x3000));
        assert_eq!((mirror.state(91), mirror.state(90)), (Some(SlotState::Faulted), Some(SlotState::Done)));
        assert_eq!((mirror.completion(90).unwrap().tenant, mirror.observable(3)), (tenant, Ok(round + 5)));
        assert_eq!(mirror.log().last().unwrap().args[0], round);
        assert_eq!((mirror.completion(43), mirror.state(43)), (None, Some(SlotState::Free)));
    }
    // Beside a live ring: what others publish comes to them.
    let ticket = runtime.publish(Priority::Normal, &NOP).unwrap();
    mirror.reset();
    mirror.publish(41, &[NOP; 10]).unwrap();
    runtime.dispatch(&mut mirror, LONG).unwrap();
    assert_eq!(runtime.wait(ticket, LONG).unwrap().status, Status::Done);
    end(runtime);
}

pub(crate) fn a12_after_a_shutdown_the_same_mirror_is_dispatched_again(open: Open) {
    let (mut runtime, mut mirror) = pair(open, 50);
    for round in 0..3 {
        mirror.publish(20, &[NOP; 5]).unwrap();
        let dispatch = runtime.dispatch(&mut mirror, LONG).unwrap();
        assert_eq!((dispatch.slots, dispatch.relaunched), (5, round > 0));
        if round == 0 {
            runtime.exit(LONG).unwrap();
        } else {
            runtime.abort();
        }
    }
    assert_eq!(runtime.validation_messages(), 0);
}

pub(crate) fn a7_another_geometry_is_refused_before_anything_reaches_the_device(open: Open) {
    let (mut runtime, _) = pair(open, 50);
    let counts = Counts { slots: 50, ..Counts::default() };
    let narrow = Geometry::with_offsets(counts, [0, 0, 0, 50, 50, 50]).unwrap();
    for geometry in [Geometry::new(Counts { observables: 65, ..counts }).unwrap(), narrow] {
        let mut mirror = Mirror::of(&geometry);
        mirror.publish(0, &[NOP]).unwrap();
        let before = mirror.clone();
        let refused = runtime.dispatch(&mut mirror, LONG).unwrap_err();
        assert!(matches!(refused, DispatchError::Geometry { .. }), "{refused}");
        assert_eq!((mirror, runtime.tally().published), (before, 0));
    }
    end(runtime);
}

pub(crate) fn a8_the_second_dispatch_allocates_nothing(open: Open) {
    let (mut runtime, mut mirror) = pair(open, 320);
    let mut own = Readback::default();
    let round = |runtime: &mut Runtime, mirror: &mut Mirror, own: Option<&mut Readback>| {
        mirror.publish(130, &[NOP; 40]).unwrap();
        match own {
            Some(scratch) => runtime.dispatch_with(mirror, scratch, LONG).unwrap(),
            None => runtime.dispatch(mirror, LONG).unwrap(),
        }
    };
    // The first makes the storage; a readback of its own, the second.
    round(&mut runtime, &mut mirror, None);
    round(&mut runtime, &mut mirror, Some(&mut own));
    let mut snapshot = mirror.readback().clone();
    let allocations = allocation_counter::measure(|| {
        for _ in 0..3 {
            assert_eq!(round(&mut runtime, &mut mirror, None).allocations, 0);
            assert_eq!(round(&mut runtime, &mut mirror, Some(&mut own)).allocations, 0);
            mirror.snapshot(&mut snapshot);
            // Until workers sleep, so that the next dispatch has to wake one.
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    assert_eq!(allocations.count_total, 0, "{allocations:?}");
    end(runtime);
}

pub(crate) fn a_dispatch_that_cannot_end_changes_nothing(open: Open) {
    let (mut runtime, mut mirror) = pair(open, 50);
    mirror.publish(20, &[Slot { tiles: 2000, ..NOP }; 10]).unwrap();
    let before = mirror.clone();
    let refused = runtime.dispatch(&mut mirror, Duration::ZERO).unwrap_err();
    assert!(matches!(refused, DispatchError::Wait(_)), "{refused}");
    assert_eq!(mirror, before);
    let full = runtime.dispatch(&mut mirror, LONG).unwrap_err();
    assert!(matches!(full, DispatchError::Full { needed: 10, .. }), "{full}");
    assert_eq!(mirror, before);
    runtime.abort();
    assert!(runtime.dispatch(&mut mirror, LONG).unwrap().relaunched);
    assert_eq!(mirror.state(29), Some(SlotState::Done));
    end(runtime);
}
