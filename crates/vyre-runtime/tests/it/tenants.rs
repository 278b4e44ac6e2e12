//! Tenants and partitions as the kernel enforces them, on every engine.

use std::time::{Duration, Instant};

use vyre_runtime::protocol::completion::Status;
use vyre_runtime::protocol::control::operation_bit;
use vyre_runtime::protocol::fault::Fault;
use vyre_runtime::protocol::geometry::{Counts, Geometry, Priority};
use vyre_runtime::protocol::operation::Operation;
use vyre_runtime::protocol::ring::PublishError;
use vyre_runtime::protocol::slot::{MAX_TILES, Operand, Slot};
use vyre_runtime::protocol::tenants::{Rate, Revocation, TenantConfig, TenantError};
use vyre_runtime::protocol::vir0::assemble;
use vyre_runtime::vk::MemoryUse;
use vyre_runtime::{Bindings, Options, WaitError};

use crate::Open;
use crate::cases::{LONG, NOP, end, options, run};

/// Every operation with an operand, on memory of another tenant: each faults, and nothing there has changed.
pub(crate) fn f38_a_tenant_reaches_no_other_tenants_resources(open: Open) {
    let mut runtime = open(&Options { operations: u32::MAX, ..options(320, None) });
    let owner = runtime.register_tenant(TenantConfig::default()).unwrap();
    let other = runtime.register_tenant(TenantConfig::default()).unwrap();
    let theirs = runtime.allocate_for(owner, 4096, MemoryUse::Local).unwrap();
    let ours = runtime.allocate_for(other, 4096, MemoryUse::Local).unwrap();
    let store = |tenant, output: Operand| {
        Slot { tenant, output, ..Slot::new(Operation::StoreU32) }.tiled(4, 4, 1).with_args(&[42]).unwrap()
    };
    assert_eq!(run(&mut runtime, &store(owner, theirs.at(0))).status, Status::Done);
    let program = assemble(".resource read\n.resource write\nend").unwrap();
    let their_program = runtime.load_program_for(owner, &program).unwrap();
    let program = runtime.load_program(&program).unwrap();
    let handle = program.handle().word();
    for (operation, _) in Operation::ALL {
        let word = matches!(operation, Operation::StoreU32 | Operation::LoadU32)
            || matches!(operation, Operation::AtomicAdd | Operation::CompareSwap);
        let slot = Slot { tenant: other, ..Slot::new(*operation) };
        let slot = if word { slot.tiled(4, 4, 1) } else { slot.tiled(64, 64, 1) };
        let args: &[u32] = match operation {
            Operation::Reduce => &[1, 1],
            Operation::Blake3 => &[0, 0, 0, 1],
            Operation::Histogram => &[0],
            Operation::Exec => &[handle],
            _ => &[],
        };
        let slot = slot.with_args(args).unwrap();
        if matches!(operation, Operation::Nop | Operation::Fence | Operation::Printf | Operation::Packed) {
            continue;
        }
        // On each side alone, so that neither check hides behind the other.
        for (input, output) in [(theirs.at(0), ours.at(0)), (ours.at(0), theirs.at(0))] {
            let named = [input, output].map(|operand| operand.handle == theirs.handle().word());
            let reads = !matches!(
                operation,
                Operation::Fill | Operation::StoreU32 | Operation::AtomicAdd | Operation::CompareSwap
            );
            let writes = *operation != Operation::LoadU32;
            let found = run(&mut runtime, &Slot { input, output, tile_span: slot.tile_span.min(64), ..slot });
            if (named[0] && reads) || (named[1] && writes) {
                assert_eq!(
                    (found.fault, found.fault_word),
                    (Fault::AccessDenied, theirs.handle().word()),
                    "{operation:?}"
                );
            } else {
                assert_eq!(found.status, Status::Done, "{operation:?}: {:?}", found.fault);
            }
        }
    }
    let load = Slot { tenant: owner, input: theirs.at(0), ..Slot::new(Operation::LoadU32) }.tiled(4, 4, 1);
    assert_eq!(run(&mut runtime, &load).results[0], 42);
    let bindings = Bindings { input: ours.at(0), output: ours.at(0), ..Bindings::default() };
    let theirs = Slot { tenant: other, ..their_program.slot(&bindings, 1, 1).unwrap() };
    assert_eq!(run(&mut runtime, &theirs).fault, Fault::AccessDenied, "a program may be one tenant's alone");
    end(runtime);
}

pub(crate) fn f35_revoked_slots_end_cancelled_or_complete_by_choice(open: Open) {
    for how in [Revocation::Cancel, Revocation::Complete] {
        let mut runtime = open(&options(320, None));
        let tenant = runtime.register_tenant(TenantConfig::default()).unwrap();
        // A long slot of another tenant holds the one worker meanwhile.
        runtime.publish(Priority::Normal, &Slot { tiles: 20_000, ..NOP }).unwrap();
        runtime.publish_all(Priority::Normal, &[Slot { tenant, ..NOP }; 30]).unwrap();
        runtime.publish_all(Priority::Normal, &[NOP; 10]).unwrap();
        runtime.revoke_tenant(tenant, how).unwrap();
        let refused = runtime.publish(Priority::Low, &Slot { tenant, ..NOP }).unwrap_err();
        assert_eq!(refused, PublishError::Tenant { index: 0, source: TenantError::Revoked { tenant } });
        runtime.quiesce(tenant, LONG).unwrap();
        runtime.drain(LONG).unwrap();
        while let Some(completion) = runtime.reap().unwrap() {
            let faulted = completion.status == Status::Faulted;
            let theirs = (1..31).contains(&completion.ticket.number);
            assert!(theirs || !faulted, "{completion:?}");
            assert!(!faulted || (completion.fault, completion.fault_word) == (Fault::UnknownTenant, tenant));
        }
        let usage = runtime.tenant_usage(tenant).unwrap();
        assert_eq!((usage.outstanding, usage.published, usage.done + usage.faulted), (0, 30, 30), "{how:?}");
        match how {
            // The one worker was held when the tenant was revoked; had this thread been too slow, some would be done.
            Revocation::Cancel => assert!(usage.faulted > 0 || runtime.tally().done == 41, "{usage:?}"),
            Revocation::Complete => assert_eq!(usage.faulted, 0),
        }
        end(runtime);
    }
}

pub(crate) fn f36_caps_and_rates_hold_while_the_kernel_runs(open: Open) {
    let mut runtime = open(&options(320, None));
    let rate = Some(Rate { per_second: 200, burst: 2 });
    let capped = runtime.register_tenant(TenantConfig { cap: Some(2), ..TenantConfig::default() }).unwrap();
    let rated = runtime.register_tenant(TenantConfig { rate, ..TenantConfig::default() }).unwrap();
    let operations = operation_bit(Operation::Nop.code());
    let narrow = runtime.register_tenant(TenantConfig { operations, ..TenantConfig::default() }).unwrap();
    let fill = Slot { tenant: narrow, ..Slot::new(Operation::Fill) };
    let denied = TenantError::Denied { tenant: narrow, operation: fill.operation };
    assert_eq!(runtime.publish(Priority::Low, &fill), Err(PublishError::Tenant { index: 0, source: denied }));
    for _ in 0..200 {
        let slot = Slot { tenant: capped, ..NOP };
        runtime.publish_all(Priority::Low, &[slot; 2]).unwrap();
        let refused = runtime.publish(Priority::Low, &slot).unwrap_err();
        let source = TenantError::OverCap { tenant: capped, outstanding: 2, cap: 2 };
        assert_eq!(refused, PublishError::Tenant { index: 0, source });
        runtime.quiesce(capped, LONG).unwrap();
        while runtime.reap().unwrap().is_some() {}
    }
    let start = Instant::now();
    let mut published = 0;
    while published < 42 {
        match runtime.publish(Priority::High, &Slot { tenant: rated, ..NOP }) {
            Ok(_) => published += 1,
            Err(PublishError::Tenant { source: TenantError::OverRate { .. }, .. }) => std::thread::yield_now(),
            Err(other) => panic!("{other}"),
        }
        while runtime.reap().unwrap().is_some() {}
    }
    // Two tokens at once, then one each 5 ms.
    assert!(start.elapsed() >= Duration::from_millis(199), "{:?}", start.elapsed());
    runtime.drain(LONG).unwrap();
    end(runtime);
}

pub(crate) fn f37_quiesce_waits_as_long_as_it_says(open: Open) {
    let mut runtime = open(&options(320, Some(1)));
    let tenant = runtime.register_tenant(TenantConfig::default()).unwrap();
    runtime.quiesce(tenant, Duration::ZERO).unwrap();
    assert!(matches!(runtime.quiesce(9, LONG), Err(WaitError::Tenant(TenantError::Unknown { tenant: 9 }))));
    let slot = Slot { tenant, tiles: MAX_TILES, ..NOP };
    runtime.publish_all(Priority::Low, &[slot; 40]).unwrap();
    let start = Instant::now();
    // Long enough to measure; the slots take longer on every engine, or else there is nothing to time out.
    if let Err(error) = runtime.quiesce(tenant, Duration::from_millis(50)) {
        let (waited, WaitError::Timeout { outstanding, .. }) = (start.elapsed(), &error) else { panic!("{error}") };
        assert!(*outstanding > 0 && waited >= Duration::from_millis(50), "{waited:?}");
        assert!(waited < Duration::from_millis(500), "a busy machine apart, it ends in time: {waited:?}");
    }
    runtime.abort();
    assert_eq!(runtime.tenant_usage(tenant).unwrap().outstanding, 0);
}

pub(crate) fn f33_partitions_of_length_zero_are_legal(open: Open) {
    let counts = Counts { slots: 7, ..Counts::default() };
    for offsets in [[0, 0, 0, 7, 7, 7], [0, 7, 7, 7, 7, 7], [0, 0, 0, 0, 0, 7], [0, 1, 1, 3, 3, 7]] {
        let geometry = Geometry::with_offsets(counts, offsets).unwrap();
        let mut runtime = open(&Options { geometry, ..Options::new(counts).unwrap() });
        for priority in Priority::ALL {
            let length = geometry.partition(priority).length;
            if length == 0 {
                let refused = runtime.publish(priority, &NOP).unwrap_err();
                assert_eq!(refused, PublishError::TooMany { priority, given: 1, length: 0 });
            }
            // Several laps of each.
            for _ in 0..5 * length {
                let ticket = runtime.publish(priority, &NOP).unwrap();
                assert_eq!(runtime.wait(ticket, LONG).unwrap().status, Status::Done);
            }
        }
        end(runtime);
    }
}

/// A slot of 10,000 tiles and more is left at a tile's end for something more urgent.
pub(crate) fn f32_critical_work_overtakes_a_long_slot(open: Open) {
    let mut runtime = open(&options(320, None));
    let mut overtaken = 0;
    let start = Instant::now();
    while overtaken < 3 {
        let low = runtime.publish(Priority::Low, &Slot { tiles: 10_000, ..NOP }).unwrap();
        let critical = runtime.publish(Priority::Critical, &NOP).unwrap();
        let mut order = Vec::new();
        while order.len() < 2 {
            assert!(start.elapsed() < LONG, "{overtaken} times in a minute: {order:?}");
            order.extend(runtime.reap().unwrap().map(|completion| completion.ticket));
        }
        // Where this thread was held up between the two, the long slot was done before, and it tries again.
        overtaken += u32::from(order == [critical, low]);
    }
    end(runtime);
}
