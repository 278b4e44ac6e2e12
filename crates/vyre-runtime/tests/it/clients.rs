//! Many producers on one runtime.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use vyre_runtime::protocol::completion::Status;
use vyre_runtime::protocol::geometry::{Counts, Priority};
use vyre_runtime::protocol::operation::Operation;
use vyre_runtime::protocol::ring::{PublishError, Ticket};
use vyre_runtime::protocol::slot::Slot;
use vyre_runtime::protocol::tenants::TenantConfig;
use vyre_runtime::vk::MemoryUse;
use vyre_runtime::{Client, Options, WaitError};

use crate::Open;
use crate::cases::{LONG, NOP, options};

/// Ends the runtime behind a client and checks what must hold of every one.
fn end(client: &Client) {
    client.with(|runtime| {
        runtime.exit(LONG).unwrap();
        let tally = runtime.tally();
        assert_eq!(tally.published, tally.done + tally.faulted + tally.cancelled);
        assert_eq!(runtime.validation_messages(), 0);
    });
}

/// Publishes when there is room.
fn publish(client: &Client, priority: Priority, slots: &[Slot]) -> Vec<Ticket> {
    let start = Instant::now();
    loop {
        match client.publish_all(priority, slots) {
            Ok(tickets) => return tickets.map(|number| Ticket { priority, number }).collect(),
            Err(PublishError::Occupied { .. }) => assert!(start.elapsed() < LONG, "no room for a minute"),
            Err(other) => panic!("{other}"),
        }
        std::thread::yield_now();
    }
}

pub(crate) fn threads_publish_and_wait_for_what_is_theirs(open: Open) {
    let runtime = open(&options(320, None));
    let client = Client::new(runtime);
    let counter = client.with(|runtime| runtime.allocate(4, MemoryUse::Local)).unwrap();
    let word = |operation| Slot { input: counter.at(0), output: counter.at(0), ..Slot::new(operation) }.tiled(4, 4, 1);
    let store = publish(&client, Priority::Normal, &[word(Operation::StoreU32)]);
    client.wait_all(&store, LONG).unwrap();
    let (mut total, mut seen) = (0, HashSet::new());
    for threads in [1, 4, 32] {
        let rounds = 96 / threads;
        std::thread::scope(|scope| {
            let producer = |thread: u64| {
                let client = client.clone();
                let add = word(Operation::AtomicAdd).with_args(&[1]).unwrap();
                move || {
                    let mut seen = Vec::new();
                    for round in 0..rounds {
                        let priority = Priority::ALL[((thread + round) % 5) as usize];
                        let tickets = publish(&client, priority, &[add, NOP, add]);
                        // The other way round: each wait finds what was reaped for it meanwhile.
                        for ticket in tickets.iter().rev() {
                            let completion = client.wait(*ticket, LONG).unwrap();
                            assert_eq!((completion.ticket, completion.status), (*ticket, Status::Done));
                            if completion.operation == Operation::AtomicAdd.code() {
                                seen.push(completion.results[0]);
                            }
                        }
                    }
                    seen
                }
            };
            let handles: Vec<_> = (0..threads).map(|thread| scope.spawn(producer(thread))).collect();
            for handle in handles {
                seen.extend(handle.join().unwrap());
            }
        });
        total += 2 * 96;
        assert_eq!(seen.len(), total, "each addition saw another value, {threads} threads");
    }
    end(&client);
}

pub(crate) fn a_stalled_producer_delays_only_its_partition(open: Open) {
    let client = Client::new(open(&options(320, None)));
    let stalled = client.reserve(Priority::Normal, &[NOP, NOP]).unwrap();
    let tickets: Vec<_> = stalled.tickets().collect();
    let behind = publish(&client, Priority::Normal, &[NOP; 3]);
    for round in 0..50 {
        let others = publish(&client, Priority::ALL[[0, 1, 3, 4][round % 4]], &[NOP; 4]);
        client.wait_all(&others, LONG).unwrap();
    }
    let short = Duration::from_millis(30);
    for ticket in [tickets[0], behind[0]] {
        let waited = client.wait(ticket, short);
        assert!(matches!(waited, Err(WaitError::Timeout { outstanding: 5, .. })), "{waited:?}");
    }
    // Publishing from another thread, while this one waits for what is behind it.
    let publisher = std::thread::spawn(move || {
        std::thread::sleep(short);
        stalled.publish();
    });
    assert_eq!(client.wait_all(&behind, LONG).unwrap().len(), 3);
    assert_eq!(client.wait_all(&tickets, LONG).unwrap().len(), 2);
    publisher.join().unwrap();
    end(&client);
}

pub(crate) fn somebody_goes_on_looking_when_who_looked_has_left(open: Open) {
    let client = Client::new(open(&options(320, None)));
    let never = client.reserve(Priority::Low, &[NOP]).unwrap();
    let late = client.reserve(Priority::Normal, &[NOP, NOP]).unwrap();
    let (lost, tickets) = (never.tickets().next().unwrap(), late.tickets().collect::<Vec<_>>());
    let short = Duration::from_millis(30);
    std::thread::scope(|scope| {
        // The first one looks, the others sleep, and each ticket has one who waits for it.
        let first = scope.spawn(|| client.wait(lost, short));
        let others: Vec<_> = tickets.iter().map(|ticket| scope.spawn(|| client.wait(*ticket, LONG))).collect();
        assert!(matches!(first.join().unwrap(), Err(WaitError::Timeout { .. })));
        std::thread::sleep(short);
        let start = Instant::now();
        late.publish();
        for (other, ticket) in others.into_iter().zip(&tickets) {
            assert_eq!(other.join().unwrap().unwrap().ticket, *ticket);
        }
        assert!(start.elapsed() < LONG / 2, "nobody looked until the time was up");
    });
    never.publish();
    end(&client);
}

pub(crate) fn a_producer_that_dies_is_cleaned_up(open: Open) {
    let client = Client::new(open(&options(320, None)));
    let memory = client.with(|runtime| runtime.allocate(4, MemoryUse::Local)).unwrap();
    let word = |operation| Slot { input: memory.at(0), output: memory.at(0), ..Slot::new(operation) }.tiled(4, 4, 1);
    let store = publish(&client, Priority::Low, &[word(Operation::StoreU32)]);
    client.wait_all(&store, LONG).unwrap();
    let dying = client.clone();
    let add = word(Operation::AtomicAdd).with_args(&[1]).unwrap();
    let death = std::thread::spawn(move || {
        let _reserved = dying.reserve(Priority::Low, &[add; 20]).unwrap();
        // Quiet, since it is meant to happen.
        std::panic::resume_unwind(Box::new("dies with a reservation"));
    });
    assert!(death.join().is_err());
    let load = publish(&client, Priority::Low, &[word(Operation::LoadU32)]);
    assert_eq!(client.wait_all(&load, LONG).unwrap()[0].results[0], 0, "none of the dead producer's slots ran");
    client.with(|runtime| {
        // The other worker may still have some of them.
        runtime.drain(LONG).unwrap();
        assert_eq!(runtime.tally().cancelled, 20);
        // What an abort reports, its producer no longer publishes, nor does it disturb the next launch.
    });
    let late = client.reserve(Priority::High, &[add; 2]).unwrap();
    let report = client.with(|runtime| runtime.abort());
    assert_eq!(report.cancelled, late.tickets().collect::<Vec<_>>());
    client.with(|runtime| runtime.relaunch()).unwrap();
    let next = publish(&client, Priority::High, &[NOP; 3]);
    late.publish();
    assert_eq!(client.wait_all(&next, LONG).unwrap().len(), 3);
    assert_eq!(client.with(|runtime| runtime.tally().published), 3);
    end(&client);
}

pub(crate) fn a_thousand_tickets_cost_one_wait(open: Open) {
    let counts = Counts { slots: 5000, ..Counts::default() };
    let client = Client::new(open(&Options::new(counts).unwrap()));
    let mut tickets = Vec::new();
    for priority in Priority::ALL {
        tickets.extend(publish(&client, priority, &[NOP; 200]));
    }
    // In no order of the ring's.
    tickets.reverse();
    let completions = client.wait_all(&tickets, LONG).unwrap();
    assert!(completions.iter().map(|completion| completion.ticket).eq(tickets.iter().copied()));
    // A group that times out loses nothing.
    let mut group = publish(&client, Priority::High, &[NOP; 10]);
    let never = Ticket { priority: Priority::Idle, number: 1 << 40 };
    group.push(never);
    let timed_out = client.wait_all(&group, Duration::from_millis(300));
    assert!(
        matches!(timed_out, Err(WaitError::Timeout { ticket: Some(ticket), .. }) if ticket == never),
        "{timed_out:?}"
    );
    group.pop();
    assert_eq!(client.wait_all(&group, LONG).unwrap().len(), 10);
    end(&client);
}

pub(crate) fn s10_f34_threads_register_distinct_tenants(open: Open) {
    let counts = Counts { tenants: 33, ..Counts::default() };
    let client = Client::new(open(&Options::new(counts).unwrap()));
    let mut tenants = Vec::new();
    std::thread::scope(|scope| {
        let register = || {
            let tenant = client.with(|runtime| runtime.register_tenant(TenantConfig::default())).unwrap();
            let tickets = publish(&client, Priority::Normal, &[Slot { tenant, ..NOP }; 4]);
            let completions = client.wait_all(&tickets, LONG).unwrap();
            assert!(completions.iter().all(|completion| completion.status == Status::Done));
            tenant
        };
        let handles: Vec<_> = (0..32).map(|_| scope.spawn(register)).collect();
        tenants.extend(handles.into_iter().map(|handle| handle.join().unwrap()));
    });
    tenants.sort_unstable();
    assert!(tenants.iter().copied().eq(1..33), "{tenants:?}");
    assert!(client.with(|runtime| runtime.register_tenant(TenantConfig::default())).is_err(), "one more is refused");
    end(&client);
}
