//! One suite for all engines: the modules `reference` run the cases on host threads, the modules `device` on the Vulkan device
//! that `VYRE_TEST_DEVICE` names. A name that starts with a letter and a number is that line of the contract; `s10`: a defect of
//! the predecessor.

mod cases;
mod clients;
mod dispatch;
mod fences;
mod generate;
mod hot;
mod library;
mod operations;
mod packed;
mod printf;
mod programs;
mod tenants;
mod trace;

use vyre_runtime::{DeviceChoice, EngineKind, Options, Runtime};

/// Opens the engine under test.
type Open<'a> = &'a dyn Fn(&Options) -> Runtime;

/// How a case is run, where it does not say so itself.
struct Variant {
    workers: Option<u32>,
    quantum_fuel: Option<u32>,
    start_small: bool,
}

impl Variant {
    const DEFAULT: Variant = Variant { workers: None, quantum_fuel: None, start_small: false };
    const ONE_WORKER: Variant = Variant { workers: Some(1), ..Variant::DEFAULT };
    const TWO_WORKERS: Variant = Variant { workers: Some(2), ..Variant::DEFAULT };
    const SEVEN_WORKERS: Variant = Variant { workers: Some(7), ..Variant::DEFAULT };
    const SMALL_START: Variant = Variant { start_small: true, ..Variant::DEFAULT };
    const SMALLEST_FUEL: Variant = Variant { quantum_fuel: Some(0), ..Variant::TWO_WORKERS };

    fn apply(&self, options: &Options) -> Options {
        let workers = options.workers.or(self.workers);
        let quantum_fuel = options.quantum_fuel.or(self.quantum_fuel);
        Options { workers, quantum_fuel, start_small: self.start_small, ..options.clone() }
    }
}

fn reference(options: &Options) -> Runtime {
    Runtime::open(&DeviceChoice::Reference, options).unwrap()
}

fn device(options: &Options) -> Runtime {
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

macro_rules! on_every_engine {
    ($variant:ident, $name:ident: $($module:ident::$case:ident,)+) => {
        mod $name {
            mod reference {
                $(#[test] fn $case() {
                    crate::$module::$case(&|options| crate::reference(&crate::Variant::$variant.apply(options)));
                })+
            }
            mod device {
                $(#[test]
                #[ignore = "needs a Vulkan device; run by cargo xtask test"]
                fn $case() {
                    crate::$module::$case(&|options| crate::device(&crate::Variant::$variant.apply(options)));
                })+
            }
        }
    };
}

/// Runs cases with 1, 2 and 7 workers, and with quanta that end after one action.
macro_rules! conformance {
    ($($module:ident::$case:ident,)+) => {
        on_every_engine!(ONE_WORKER, one_worker: $($module::$case,)+);
        on_every_engine!(TWO_WORKERS, two_workers: $($module::$case,)+);
        on_every_engine!(SEVEN_WORKERS, seven_workers: $($module::$case,)+);
        on_every_engine!(SMALLEST_FUEL, smallest_fuel: $($module::$case,)+);
    };
}

conformance! {
    cases::operations_match_a_model,
    cases::s10_bad_slots_fault_and_good_ones_run_after_them,
    cases::s10_f33_one_partition_is_a_fifo,
    cases::s10_f32_every_partition_alone_is_served,
    cases::s10_drain_exit_abort_and_relaunch_keep_the_tally,
    operations::words_are_stored_loaded_added_and_swapped,
    operations::s10_equal_additions_all_count,
    operations::runs_of_scalar_slots_match_a_model,
    operations::bad_word_slots_fault,
    operations::reductions_match_a_model,
    operations::histograms_match_a_model,
    operations::tiles_of_slots_that_follow_each_other_run_once,
    operations::a_dropped_resource_stays_where_slots_find_it,
    operations::s10_b18_observables_are_set_by_operations_and_seen_by_the_host,
    packed::s10_e30_whatever_the_encoder_accepts_runs_in_full_and_in_order,
    packed::e31_what_cannot_be_packed_is_refused_when_published,
    packed::a_packed_slot_runs_in_whole_or_not_at_all,
    fences::s10_f39_a_fence_completes_after_what_is_before_it_and_not_earlier,
    fences::a_fence_holds_up_its_own_partition_only,
    fences::d26_batches_follow_each_other_and_empty_ones_are_fences,
    tenants::f38_a_tenant_reaches_no_other_tenants_resources,
    tenants::f35_revoked_slots_end_cancelled_or_complete_by_choice,
    tenants::f36_caps_and_rates_hold_while_the_kernel_runs,
    tenants::f33_partitions_of_length_zero_are_legal,
    tenants::f32_critical_work_overtakes_a_long_slot,
    clients::threads_publish_and_wait_for_what_is_theirs,
    clients::a_stalled_producer_delays_only_its_partition,
    clients::a_producer_that_dies_is_cleaned_up,
    clients::a_thousand_tickets_cost_one_wait,
    clients::somebody_goes_on_looking_when_who_looked_has_left,
    clients::s10_f34_threads_register_distinct_tenants,
    dispatch::a8_a11_a_mirror_is_run_and_its_results_are_swapped_in,
    dispatch::a12_after_a_shutdown_the_same_mirror_is_dispatched_again,
    printf::g41_lines_carry_ticket_tenant_worker_and_arguments,
    printf::g41_programs_print_what_scalars_hold,
    printf::s10_g40_the_newest_lines_stay_and_the_others_are_counted,
    trace::a_trace_has_every_slot_tile_and_quantum,
    programs::a_program_runs_over_its_items_and_no_further,
    programs::lanes_diverge_and_come_together,
    programs::lanes_exchange_what_they_hold,
    programs::hostile_programs_fault_and_touch_nothing_else,
    programs::slots_of_programs_are_checked,
    programs::long_programs_share_the_kernel,
}

// Small kernels that are followed by whole ones, where an engine has them.
on_every_engine! { SMALL_START, small_start:
    operations::a_small_start_runs_scalar_slots_and_leaves_the_others_to_the_whole_kernel,
    cases::operations_match_a_model,
    cases::s10_bad_slots_fault_and_good_ones_run_after_them,
    cases::s10_drain_exit_abort_and_relaunch_keep_the_tally,
    packed::a_packed_slot_runs_in_whole_or_not_at_all,
    fences::s10_f39_a_fence_completes_after_what_is_before_it_and_not_earlier,
    hot::a_program_becomes_hot_while_work_runs,
}

on_every_engine! { DEFAULT, once:
    cases::f32_higher_priorities_come_first_but_lower_ones_come,
    cases::every_wait_policy_waits_and_sleepers_leave_the_processor,
    cases::s10_waits_last_as_long_as_they_say,
    cases::resources_come_and_go_while_the_kernel_runs,
    cases::a_lost_device_is_opened_again_and_the_file_hashed_once_more,
    cases::a_rebuild_reports_every_ticket,
    cases::the_litmus_test_finds_nothing,
    cases::bulk_results_wait_for_no_quantum_that_has_nothing_to_do,
    cases::files_of_all_sizes_have_their_hash,
    cases::a_bad_file_does_not_disturb_the_next,
    cases::hashers_follow_each_other_on_one_runtime,
    cases::recycled_blocks_are_never_stale,
    cases::staging_tiers_count_what_they_copy,
    dispatch::a7_another_geometry_is_refused_before_anything_reaches_the_device,
    dispatch::a8_the_second_dispatch_allocates_nothing,
    dispatch::a_dispatch_that_cannot_end_changes_nothing,
    tenants::f37_quiesce_waits_as_long_as_it_says,
    trace::what_a_trace_lacks_is_counted,
    trace::a_cancelled_slot_ends_with_the_kernel,
    trace::reserved_slots_are_traced_from_their_publication_on,
    trace::a_rebuild_counts_what_it_takes_along,
    trace::a_traced_hash_is_that_of_an_untraced_one,
    programs::a_kernel_without_exec_says_so,
    generate::generated_programs_leave_the_same_bytes_everywhere,
    generate::inexact_instructions_keep_their_bounds,
    generate::mutated_programs_are_refused_or_safe,
    programs::programs_come_and_go_while_work_runs,
    programs::programs_that_use_all_their_fuel_follow_each_other,
    hot::hot_programs_of_the_library_leave_the_same_bytes,
    hot::lanes_that_leave_by_themselves_run_out_of_fuel_together,
    hot::lanes_that_wait_keep_what_they_read,
    hot::hot_programs_fault_where_the_interpreter_does,
    hot::hot_programs_print_what_the_interpreter_does,
    hot::hot_generated_programs_leave_the_same_bytes,
    hot::a_program_becomes_hot_while_work_runs,
    hot::what_is_not_hot_says_why,
    library::saxpy,
    library::dot,
    library::prefix_sum,
    library::histogram,
    library::crc32,
    library::xxhash32,
    library::mandelbrot,
    library::sort,
    library::filter,
    library::base64,
    library::distances,
    library::utf8,
}
