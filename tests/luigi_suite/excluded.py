"""Which of Luigi's tests cannot pass, or are not run, and why. Everything else must pass.

What `CANNOT_PASS` names is run all the same: the suite fails if one of these passes (then it must leave the list),
and if fewer pass than `PASSED` records.
"""

IN_PROCESS = {
    "scheduler_api_test": 196,
    "scheduler_visualisation_test": 25,
    "scheduler_message_test": 4,
}

# Tests that pass over HTTP, by file, without the slow ones: all that pass so with stock luigi, and more.
OVER_HTTP = {
    "scheduler_api_test": 176,
    "scheduler_visualisation_test": 24,
    "scheduler_message_test": 4,
    "scheduler_test": 9,
    "scheduler_parameter_visibilities_test": 1,
    "worker_test": 87,
    "worker_multiprocess_test": 4,
    "worker_keep_alive_test": 2,
    "worker_external_task_test": 5,
    "worker_task_process_test": 2,
    "worker_parallel_scheduling_test": 7,
    "worker_task_test": 7,
    "task_running_resources_test": 2,
    "task_progress_percentage_test": 1,
    "task_status_message_test": 1,
    "task_forwarded_attributes_test": 2,
    "execution_summary_test": 34,
    "retcodes_test": 12,
    "event_callbacks_test": 10,
    "priority_test": 2,
    "customized_run_test": 2,
    "dynamic_import_test": 1,
    "task_bulk_complete_test": 3,
    "notifications_test": 20,
}

_STATE = "looks into the scheduler's private attributes (_state, _config, ...), which no client can"
_MAIL = "replaces luigi's BatchNotifier, or catches its mails, in the scheduler's own process"
_METRICS = "gives the scheduler a metrics collector, and looks at what it collected, in the scheduler's own process"
_CLIENT_BUG = "luigi's client sends an exception object as `expl`, which is no JSON: fails against luigid too"
_OWN_SERVER = "starts luigid for itself, with its own scheduler"


def _all(reason: str, group: str, *names: str) -> dict[str, str]:
    return {f"{group}::{name}": reason for name in names}


CANNOT_PASS: dict[str, dict[str, str]] = {
    "scheduler_api_test": {
        **_all(
            _MAIL,
            "SchedulerApiTest",
            "test_batch_disable_email_with_owner",
            "test_batch_disable_emails",
            "test_batch_disable_emails_with_task_batcher",
            "test_batch_failure_email_with_owner",
            "test_batch_failure_emails",
            "test_batch_failure_emails_with_task_batcher",
            "test_handle_bad_expl_in_failure_emails",
            "test_scheduling_failure",
            "test_scheduling_failure_with_task_batcher",
            "test_send_batch_email_on_dump",
            "test_send_normal_disable_email",
            "test_update_batcher_on_prune",
        ),
        **_all(
            _METRICS,
            "SchedulerApiTest",
            "test_collector_metrics_on_task_disabled",
            "test_collector_metrics_on_task_done",
            "test_collector_metrics_on_task_failed",
            "test_collector_metrics_on_task_started",
        ),
        **_all(
            _STATE,
            "SchedulerApiTest",
            "test_task_first_failure_time",
            "test_task_first_failure_time_remains_constant",
            "test_task_has_excessive_failures",
        ),
    },
    "scheduler_visualisation_test": _all(_STATE, "SchedulerVisualisationTest", "test_task_list_upstream_status"),
    "scheduler_test": {
        **_all(
            _STATE,
            "SchedulerIoTest",
            "test_add_task_with_non_numeric_priority_does_not_raise_typeerror",
            "test_custom_metrics_collector",
            "test_datadog_metrics_collector",
            "test_default_metrics_collector",
            "test_generate_retry_policy",
            "test_load_recovers_tasks_index",
            "test_local_scheduler_task_history_status",
            "test_per_task_retry_policy",
            "test_pretty_id_unicode",
            "test_prometheus_metrics_collector",
            "test_scheduler_get_retry_policy",
            "test_scheduler_with_config",
            "test_scheduler_with_resources",
            "test_update_priority_cannot_decrease",
            "test_update_priority_with_non_numeric_priority_defaults_to_zero",
        ),
        **_all(_STATE, "SchedulerWorkerTest", "test_get_pending_tasks_with_many_done_tasks"),
    },
    "scheduler_parameter_visibilities_test": {
        **_all(_STATE, "SchedulerParameterVisibilitiesTest", "test_public_and_hidden_params"),
        **_all(_OWN_SERVER, "RemoteSchedulerParameterVisibilitiesTest", "test_public_params"),
    },
    "worker_test": {
        **_all(
            _CLIENT_BUG,
            "WorkerTest",
            "test_gracefully_handle_batch_method_failure",
            "test_post_error_message_for_failed_batch_methods",
        ),
        **_all(
            _CLIENT_BUG,
            "AssistantTest",
            "test_bad_job_type",
            "test_unimported_job_sends_failure_message",
            "test_unimported_job_type",
        ),
        **_all(
            _MAIL,
            "WorkerEmailTest",
            "test_complete_error_email_batch",
            "test_complete_error_email_batch_to_owner",
            "test_complete_return_value_email_batch",
            "test_requires_error_email_batch",
            "test_run_error_batch_email_string",
            "test_run_error_email_batch",
        ),
        **_all(
            _STATE,
            "PerTaskRetryPolicyBehaviorTest",
            "test_per_task_disable_persist_with_single_worker",
            "test_with_all_disabled_with_multiple_worker",
            "test_with_all_disabled_with_single_worker",
            "test_with_dynamic_dependencies_with_multiple_workers",
            "test_with_dynamic_dependencies_with_single_worker",
            "test_with_includes_success_with_multiple_worker",
            "test_with_includes_success_with_single_worker",
        ),
    },
}

# Whole files that have nothing to show over HTTP.
LEFT_OUT_FILES = {
    "worker_scheduler_com_test": _STATE + ": the set-up of all 5 tests",
    "batch_notifier_test, metrics_test, custom_metrics_test, lock_test, ...": "test luigi's library, no scheduler",
    "db_task_history_test, task_history_test": "test luigi's own task history; ours is the log",
    "rpc_test, server_test, remote_scheduler_test": _OWN_SERVER,
}

# Only `make luigi-suite` runs these: they pass, but take long, and what they measure is bench's to say.
_SPEED = _all("200,000 calls, one after the other", "SchedulerApiTest", "test_get_work_speed")
SLOW_IN_PROCESS: dict[str, dict[str, str]] = {"scheduler_api_test": _SPEED}
SLOW_OVER_HTTP: dict[str, dict[str, str]] = {
    "scheduler_api_test": {
        **_SPEED,
        **_all(
            "30,000 calls, one after the other, through luigi's client; in process it is run always",
            "SchedulerApiTest",
            "test_quadratic_behavior",
        ),
    },
}

# Never run: their outcome tells nothing about the scheduler.
NOT_RUN: dict[str, dict[str, str]] = {
    "worker_test": _all(
        "passes or fails with the order of tests, with luigi's own scheduler too (it unloads a module)",
        "DynamicDependenciesWithMultipleWorkersTest",
        "test_dynamic_dependencies_other_module",
    ),
    "worker_task_test": _all(
        "needs a process to disappear within a second of its SIGTERM; no scheduler takes part",
        "TaskProcessTest",
        "test_cleanup_children_on_terminate",
    ),
    "task_running_resources_test": _all(
        "asserts that two workers, each a new process, are done within 4.0 s: the machine's speed",
        "ConcurrentRunningResourcesTest",
        "test_tasks_parallel",
    ),
}
