//! One suite for all engines: the module `reference` runs each case on host threads, the module `device` on the Vulkan device
//! that `VYRE_TEST_DEVICE` names.

mod cases;
mod fences;
mod operations;
mod printf;
mod tenants;

use vyre_runtime::{DeviceChoice, EngineKind, Options, Runtime};

/// Opens the engine under test.
type Open<'a> = &'a dyn Fn(&Options) -> Runtime;

macro_rules! on_every_engine {
    ($($module:ident::$case:ident => $reference:ident, $device:ident;)+) => {
        mod reference {
            $(#[test] fn $reference() {
                crate::$module::$case(&|options| vyre_runtime::Runtime::open(&vyre_runtime::DeviceChoice::Reference, options).unwrap());
            })+
        }
        mod device {
            $(#[test]
            #[ignore = "needs a Vulkan device; run by cargo xtask test"]
            fn $device() {
                crate::$module::$case(&crate::open_device);
            })+
        }
    };
}

fn open_device(options: &Options) -> Runtime {
    let choice =
        match std::env::var("VYRE_TEST_DEVICE").expect("VYRE_TEST_DEVICE says lavapipe, swiftshader or gpu").as_str() {
            "lavapipe" => DeviceChoice::Name("llvmpipe".into()),
            "swiftshader" => DeviceChoice::Name("swiftshader".into()),
            _ => DeviceChoice::Auto,
        };
    let runtime = Runtime::open(&choice, options).unwrap();
    assert_ne!(runtime.engine().kind, EngineKind::Reference, "a device was asked for: {}", runtime.engine());
    runtime
}

on_every_engine! {
    cases::operations_match_a_model_with_any_number_of_workers => operations, device_operations;
    operations::words_are_stored_loaded_added_and_swapped => words, device_words;
    operations::equal_additions_all_count => additions, device_additions;
    operations::bad_word_slots_fault => word_faults, device_word_faults;
    operations::reductions_match_a_model => reductions, device_reductions;
    operations::b18_observables_are_set_by_operations_and_seen_by_the_host => observables, device_observables;
    operations::histograms_match_a_model => histograms, device_histograms;
    fences::f39_a_fence_completes_after_what_is_before_it_and_not_earlier => fences, device_fences;
    fences::a_fence_holds_up_its_own_partition_only => fence_partition, device_fence_partition;
    fences::d26_batches_follow_each_other_and_empty_ones_are_fences => batches, device_batches;
    tenants::f38_a_tenant_reaches_no_other_tenants_resources => isolation, device_isolation;
    tenants::f35_revoked_slots_end_cancelled_or_complete_by_choice => revocation, device_revocation;
    tenants::f36_caps_and_rates_hold_while_the_kernel_runs => caps, device_caps;
    tenants::f37_quiesce_waits_as_long_as_it_says => quiesce, device_quiesce;
    tenants::f33_partitions_of_length_zero_are_legal => zero_partitions, device_zero_partitions;
    tenants::f32_critical_work_overtakes_a_long_slot => preemption, device_preemption;
    printf::g41_lines_carry_ticket_tenant_worker_and_arguments => printf, device_printf;
    printf::g40_the_newest_lines_stay_and_the_others_are_counted => log_overflow, device_log_overflow;
    cases::bad_slots_fault_and_good_ones_run_after_them => faults, device_faults;
    cases::one_partition_is_a_fifo => fifo, device_fifo;
    cases::higher_priorities_come_first_but_lower_ones_come => priorities, device_priorities;
    cases::every_wait_policy_waits_and_sleepers_leave_the_processor => waits, device_waits;
    cases::every_partition_alone_is_served => partitions, device_partitions;
    cases::drain_exit_abort_and_relaunch_keep_the_tally => life, device_life;
    cases::waits_last_as_long_as_they_say => timeouts, device_timeouts;
    cases::resources_come_and_go_while_the_kernel_runs => resources, device_resources;
    cases::a_lost_device_is_opened_again_and_the_file_hashed_once_more => loss, device_loss;
    cases::a_rebuild_reports_every_ticket => rebuild, device_rebuild;
    cases::the_litmus_test_finds_nothing => litmus, device_litmus;
    cases::files_of_all_sizes_have_their_hash => hashes, device_hashes;
    cases::a_bad_file_does_not_disturb_the_next => bad_files, device_bad_files;
    cases::recycled_blocks_are_never_stale => recycled, device_recycled_blocks_are_never_stale;
    cases::staging_tiers_count_what_they_copy => tiers, device_tiers;
}
