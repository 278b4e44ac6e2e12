//! Tenants on the host's side of the ring.

use std::time::Duration;

use vyre_protocol::control::{TENANT_WORDS, TENANTS, operation_bit};
use vyre_protocol::geometry::Priority;
use vyre_protocol::operation::{CUSTOM_MASK, CUSTOM_OPERATIONS, LAST_OPERATION, Operation, USER_OPERATIONS};
use vyre_protocol::ring::PublishError;
use vyre_protocol::slot::Slot;
use vyre_protocol::tenants::{Rate, Revocation, TenantConfig, TenantError};
use vyre_protocol::words::SharedWords;

use crate::ring::{complete, dump, ring_of};

const NOP: Slot = Slot::new(Operation::Nop);

fn refusal(error: PublishError) -> TenantError {
    match error {
        PublishError::Tenant { source, .. } => source,
        other => panic!("{other}"),
    }
}

#[test]
fn f34_numbers_are_distinct_and_one_more_than_there_are_is_refused() {
    let (mut ring, _) = ring_of(25, 5);
    let numbers: Vec<_> = (0..4).map(|_| ring.register_tenant(TenantConfig::default()).unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    assert_eq!(ring.register_tenant(TenantConfig::default()), Err(TenantError::NoneFree { count: 5 }));
    for tenant in numbers {
        ring.publish(Priority::Low, &Slot { tenant, ..NOP }).unwrap();
    }
}

#[test]
fn f34_numbers_are_not_used_again_while_anything_is_outstanding() {
    let (mut ring, memory) = ring_of(25, 2);
    let tenant = ring.register_tenant(TenantConfig::default()).unwrap();
    ring.publish(Priority::Low, &Slot { tenant, ..NOP }).unwrap();
    ring.revoke_tenant(tenant, Revocation::Complete).unwrap();
    assert_eq!(ring.register_tenant(TenantConfig::default()), Err(TenantError::NoneFree { count: 2 }));
    complete(&ring, &memory, 0, Priority::Low, 0);
    ring.reap().unwrap().unwrap();
    let usage = ring.tenant_usage(tenant).unwrap();
    assert_eq!((usage.outstanding, usage.published, usage.done), (0, 1, 1));
    let again = ring.register_tenant(TenantConfig::default()).unwrap();
    let generation = memory.control.load((TENANTS + again * TENANT_WORDS + 2) as usize);
    assert_eq!((again, generation), (tenant, 2), "the same number, another generation");
    assert_eq!(ring.tenant_usage(again).unwrap().published, 0);
}

#[test]
fn f35_a_revoked_tenant_publishes_nothing_more() {
    let (mut ring, memory) = ring_of(25, 3);
    let tenant = ring.register_tenant(TenantConfig::default()).unwrap();
    ring.publish(Priority::Low, &Slot { tenant, ..NOP }).unwrap();
    ring.revoke_tenant(tenant, Revocation::Cancel).unwrap();
    let before = dump(&memory);
    let refused = ring.publish_all(Priority::Low, &[NOP, Slot { tenant, ..NOP }]).unwrap_err();
    assert_eq!(refused, PublishError::Tenant { index: 1, source: TenantError::Revoked { tenant } });
    assert_eq!(dump(&memory), before);
    assert_eq!(ring.revoke_tenant(tenant, Revocation::Cancel), Err(TenantError::Revoked { tenant }));
    assert_eq!(ring.revoke_tenant(2, Revocation::Cancel), Err(TenantError::Unknown { tenant: 2 }));
    assert_eq!(ring.tenant_usage(7), Err(TenantError::Unknown { tenant: 7 }));
    assert_eq!(ring.cancel_outstanding().len(), 1);
    assert_eq!(ring.register_tenant(TenantConfig::default()), Ok(tenant), "cancelled slots free the number");
}

#[test]
fn f36_a_cap_refuses_with_its_figures_and_a_completion_reopens() {
    let (mut ring, memory) = ring_of(25, 3);
    let zero = ring.register_tenant(TenantConfig { cap: Some(0), ..TenantConfig::default() });
    assert_eq!(zero, Err(TenantError::Zero { what: "cap" }));
    let tenant = ring.register_tenant(TenantConfig { cap: Some(2), ..TenantConfig::default() }).unwrap();
    let slot = Slot { tenant, ..NOP };
    let over = TenantError::OverCap { tenant, outstanding: 2, cap: 2 };
    assert_eq!(refusal(ring.publish_all(Priority::Low, &[slot; 3]).unwrap_err()), over, "all or nothing");
    ring.publish_all(Priority::Low, &[slot; 2]).unwrap();
    assert_eq!(refusal(ring.publish(Priority::Low, &slot).unwrap_err()), over);
    ring.publish(Priority::Low, &NOP).unwrap();
    complete(&ring, &memory, 0, Priority::Low, 0);
    ring.reap().unwrap().unwrap();
    ring.publish(Priority::Low, &slot).unwrap();
}

#[test]
fn a_token_bucket_fills_with_time_up_to_its_burst() {
    let (mut ring, _) = ring_of(200, 3);
    let rate = Some(Rate { per_second: 1000, burst: 3 });
    let zero = Some(Rate { per_second: 0, burst: 3 });
    let refused = ring.register_tenant(TenantConfig { rate: zero, ..TenantConfig::default() });
    assert_eq!(refused, Err(TenantError::Zero { what: "rate" }));
    let tenant = ring.register_tenant(TenantConfig { rate, ..TenantConfig::default() }).unwrap();
    let slot = Slot { tenant, ..NOP };
    let over = TenantError::OverRate { tenant, per_second: 1000 };
    assert_eq!(refusal(ring.publish_all(Priority::Low, &[slot; 4]).unwrap_err()), over);
    ring.publish_all(Priority::Low, &[slot; 3]).unwrap();
    assert_eq!(refusal(ring.publish(Priority::Low, &slot).unwrap_err()), over);
    ring.set_time(Duration::from_micros(1500));
    ring.publish(Priority::Low, &slot).unwrap();
    assert_eq!(refusal(ring.publish(Priority::Low, &slot).unwrap_err()), over, "half a token is none");
    ring.set_time(Duration::from_secs(100));
    ring.publish_all(Priority::Low, &[slot; 3]).unwrap();
    assert_eq!(refusal(ring.publish(Priority::Low, &slot).unwrap_err()), over, "no more than the burst waits");
}

#[test]
fn custom_operations_have_bits_of_their_own_and_the_rest_of_the_user_range_shares_one() {
    let codes = USER_OPERATIONS..USER_OPERATIONS + CUSTOM_OPERATIONS;
    assert_eq!(codes.map(operation_bit).sum::<u32>(), CUSTOM_MASK);
    assert_eq!([USER_OPERATIONS + CUSTOM_OPERATIONS, LAST_OPERATION].map(operation_bit), [1, 1]);
    let (mut ring, _) = ring_of(25, 3);
    let operations = operation_bit(USER_OPERATIONS + 1);
    let tenant = ring.register_tenant(TenantConfig { operations, ..TenantConfig::default() }).unwrap();
    ring.publish(Priority::Low, &Slot { tenant, ..Slot::with_code(USER_OPERATIONS + 1) }).unwrap();
    for code in [USER_OPERATIONS, USER_OPERATIONS + 2, LAST_OPERATION] {
        let refused = ring.publish(Priority::Low, &Slot { tenant, ..Slot::with_code(code) }).unwrap_err();
        assert_eq!(refusal(refused), TenantError::Denied { tenant, operation: code });
    }
}

#[test]
fn operations_that_a_tenant_may_not_use_are_refused_when_published() {
    let (mut ring, _) = ring_of(25, 3);
    let operations = operation_bit(Operation::Nop.code());
    let tenant = ring.register_tenant(TenantConfig { operations, ..TenantConfig::default() }).unwrap();
    ring.publish(Priority::Low, &Slot { tenant, ..NOP }).unwrap();
    for code in [Operation::Fill.code(), 0x1000] {
        let refused = ring.publish(Priority::Low, &Slot { tenant, ..Slot::with_code(code) }).unwrap_err();
        assert_eq!(refusal(refused), TenantError::Denied { tenant, operation: code });
    }
}
