//! Fences and batches, on every engine.

use std::time::Instant;

use vyre_runtime::protocol::completion::Status;
use vyre_runtime::protocol::fault::Fault;
use vyre_runtime::protocol::geometry::Priority;
use vyre_runtime::protocol::operation::Operation;
use vyre_runtime::protocol::ring::Ticket;
use vyre_runtime::protocol::slot::Slot;
use vyre_runtime::vk::MemoryUse;

use crate::Open;
use crate::cases::{LONG, NOP, end, options, run};

/// Everything before a fence is reaped before it, and what is behind it does not begin earlier.
pub(crate) fn s10_f39_a_fence_completes_after_what_is_before_it_and_not_earlier(open: Open) {
    let mut runtime = open(&options(320, None));
    let memory = runtime.allocate(4, MemoryUse::Local).unwrap();
    let place = memory.at(0);
    let word = |operation| Slot { input: place, output: place, ..Slot::new(operation) }.tiled(4, 4, 1);
    let add = word(Operation::AtomicAdd).with_args(&[1]).unwrap();
    let store = word(Operation::StoreU32).with_args(&[0]).unwrap();
    for round in 0..30 {
        // Slots of many tiles are still running when those behind them are claimed.
        let tiles = 1 + 37 * (round % 4);
        let slow = Slot { tiles, ..NOP };
        let mut batch = vec![slow; 8];
        batch.extend([add; 12]);
        let first = runtime.publish_batch(Priority::Normal, &batch).unwrap();
        let behind = runtime.publish_batch(Priority::Normal, &[word(Operation::LoadU32)]).unwrap();
        let last = runtime.publish_batch(Priority::Normal, &[store]).unwrap();
        let start = Instant::now();
        let mut order = Vec::new();
        while (order.len() as u64) < last.end - first.start {
            assert!(start.elapsed() < LONG, "round {round}: {order:?}");
            order.extend(runtime.reap().unwrap());
        }
        let at = |number| order.iter().position(|completion| completion.ticket.number == number).unwrap();
        let fence = first.end - 1;
        let in_order = (first.start..fence).all(|number| at(number) < at(fence));
        let in_order = in_order && (behind.start..last.end).all(|number| at(number) > at(fence));
        assert!(in_order, "round {round}: {order:?}");
        let load = order[at(behind.start)];
        assert_eq!(load.results[0], 12, "all additions were done before the fence let the load pass");
        assert!(order.iter().all(|completion| completion.status == Status::Done));
    }
    end(runtime);
}

pub(crate) fn a_fence_holds_up_its_own_partition_only(open: Open) {
    let mut runtime = open(&options(320, None));
    let slow = Slot { tiles: 30_000, ..NOP };
    runtime.publish(Priority::High, &slow).unwrap();
    let held = runtime.publish_batch(Priority::High, &[]).unwrap();
    runtime.publish(Priority::High, &NOP).unwrap();
    let mut others = Vec::new();
    let start = Instant::now();
    let fence = Ticket { priority: Priority::High, number: held.start };
    let mut passed = false;
    while !passed {
        assert!(start.elapsed() < LONG);
        if runtime.free(Priority::Critical) > 0 && others.len() < 1000 {
            runtime.publish(Priority::Critical, &NOP).unwrap();
        }
        if let Some(completion) = runtime.reap().unwrap() {
            passed = completion.ticket == fence;
            others.push(completion.ticket.priority);
        }
    }
    assert!(others.iter().filter(|priority| **priority == Priority::Critical).count() > 0);
    runtime.drain(LONG).unwrap();
    while runtime.reap().unwrap().is_some() {}
    end(runtime);
}

/// Waiting for the fence is one wait for the whole group, and an empty batch is a fence.
pub(crate) fn d26_batches_follow_each_other_and_empty_ones_are_fences(open: Open) {
    let mut runtime = open(&options(320, None));
    for _ in 0..20 {
        let fence = |tickets: std::ops::Range<u64>| Ticket { priority: Priority::Low, number: tickets.end - 1 };
        runtime.publish_batch(Priority::Low, &[NOP; 20]).unwrap();
        let second = fence(runtime.publish_batch(Priority::Low, &[NOP; 20]).unwrap());
        assert_eq!(runtime.wait(second, LONG).unwrap().status, Status::Done);
        let mut group = 0;
        while runtime.reap().unwrap().is_some() {
            group += 1;
        }
        assert_eq!((group, runtime.tally().outstanding()), (41, 0), "all of both batches are there at once");
        let empty = fence(runtime.publish_batch(Priority::Low, &[]).unwrap());
        assert_eq!(runtime.wait(empty, LONG).unwrap().status, Status::Done);
    }
    let bad = run(&mut runtime, &Slot { tiles: 2, ..Slot::new(Operation::Fence) });
    assert_eq!((bad.fault, bad.fault_word), (Fault::BadArgument, 2));
    end(runtime);
}
