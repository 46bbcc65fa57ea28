"""What of luigid's configuration sets which of our options: a table, in luigi's own spelling.

Of an option's places the first that has a value counts, as in luigi: the section of the class that reads it, then the
older place (`config_path`). What is found in a place that today's luigid does not read (`READ_ONCE`, `DOCUMENTED`) is
taken as well, as it was meant; luigid does not refuse what is wrong there, and neither do we.
"""

from dataclasses import dataclass
from enum import Enum

from luigi_ha.appliance.config.luigi_kinds import ADDRESSES, FINITE, NUMBER, ORIGINS, TEXT, TRUTH, WHOLE, Kind, choice

Place = tuple[str, str]


class Need(Enum):
    """When luigid fails if the value is wrong."""

    ALWAYS = "it does not start, or answers no call"
    BATCH_EMAILS = "it does not start if batch_emails is on"
    NEVER = "it fails at the e-mail, which is lost"


@dataclass(frozen=True, slots=True)
class LuigiOption:
    """An option of luigid, and those of ours that it sets."""

    ours: tuple[Place, ...]
    places: tuple[Place, ...]
    kind: Kind
    need: Need
    unread: tuple[Place, ...] = ()
    """More places, which luigid does not read, or no more."""


READ_ONCE = {  # [scheduler] of earlier versions: the name then -> now
    "disable_failures": "retry_count",
    "disable-num-failures": "retry_count",
    "disable-window-seconds": "disable_window",
    "disable-persist-seconds": "disable_persist",
}
_SCHEDULER = {
    "retry_delay": NUMBER,
    "remove_delay": NUMBER,
    "worker_disconnect_delay": NUMBER,
    "batch_emails": TRUTH,
    "disable_window": WHOLE,
    "retry_count": WHOLE,
    "disable_hard_timeout": WHOLE,
    "disable_persist": WHOLE,
    "max_shown_tasks": WHOLE,
    "max_graph_nodes": WHOLE,
    "record_task_history": TRUTH,
    "prune_on_get_work": TRUTH,
    "pause_enabled": TRUTH,
    "send_messages": TRUTH,
    "stable_done_cooldown_secs": WHOLE,
}
_CORS = {
    "enabled": TRUTH,
    "allowed_origins": ORIGINS,
    "allow_any_origin": TRUTH,
    "allow_null_origin": TRUTH,
    "max_age": WHOLE,
    "allowed_methods": TEXT,
    "allowed_headers": TEXT,
    "exposed_headers": TEXT,
    "allow_credentials": TRUTH,
}
# luigi's class is batch_email, and so is its section; its documentation says batch_notifier, after its module.
DOCUMENTED = ("batch_notifier", "batch-notifier")
_BATCH = {
    "batch_mode": ("email_batch_mode", choice("unbatched_params", "family", "all")),
    "error_lines": ("email_error_lines", WHOLE),
    "error_messages": ("email_error_messages", WHOLE),
    "group_by_error_messages": ("email_group_by_error_messages", TRUTH),
}
_EMAIL = {
    "format": ((("scheduler", "email_format"),), "email-type", choice("plain", "html", "none")),
    "receiver": ((("email", "receivers"), ("scheduler", "email_receivers")), "error-email", ADDRESSES),
    "sender": ((("email", "sender"),), "email-sender", TEXT),
    "prefix": ((("email", "prefix"),), "email-prefix", TEXT),
}
_SMTP = {
    "host": ("smtp_host", TEXT),
    "port": ("smtp_port", WHOLE),
    "username": ("smtp_login", TEXT),
    "password": ("smtp_password", TEXT),
    "ssl": ("smtp_ssl", TRUTH),
    "no_tls": ("smtp_without_tls", TRUTH),
    "timeout": ("smtp_timeout", FINITE),
}

OPTIONS: tuple[LuigiOption, ...] = (
    *(
        LuigiOption(
            (("scheduler", name),),
            (("scheduler", name),),
            kind,
            Need.ALWAYS,
            tuple(("scheduler", before) for before, now in READ_ONCE.items() if now == name),
        )
        for name, kind in _SCHEDULER.items()
    ),
    *(LuigiOption((("cors", name),), (("cors", name),), kind, Need.ALWAYS) for name, kind in _CORS.items()),
    LuigiOption(
        (("scheduler", "email_interval_minutes"),),
        (("batch_email", "email_interval"), ("batch-notifier", "email-interval-minutes")),
        WHOLE,
        Need.BATCH_EMAILS,
        (
            ("batch_notifier", "email_interval"),
            ("batch_notifier", "email_interval_minutes"),
            ("batch-notifier", "email_interval"),
        ),
    ),
    *(
        LuigiOption(
            (("scheduler", ours),),
            (("batch_email", name),),
            kind,
            Need.BATCH_EMAILS,
            tuple((section, name) for section in DOCUMENTED),
        )
        for name, (ours, kind) in _BATCH.items()
    ),
    *(
        LuigiOption(ours, (("email", name), ("core", before)), kind, Need.BATCH_EMAILS)
        for name, (ours, before, kind) in _EMAIL.items()
    ),
    *(
        LuigiOption((("email", name),), (("smtp", name), ("core", before)), kind, Need.NEVER)
        for name, (before, kind) in _SMTP.items()
    ),
)

# Names that luigi knows in the sections above, and that set nothing here.
UNUSED: dict[str, tuple[str, ...]] = {
    "scheduler": ("state_path", "metrics_collector", "metrics_custom_import"),
    "email": ("force_send", "method", "type", "traceback_max_length", "SENGRID_API_KEY"),
    "smtp": ("local_hostname",),
}
# Of those, and of sections that luigid reads besides, why nothing is lost.
NOT_NEEDED = {
    ("scheduler", "state_path"): "the state is in the database",
    ("scheduler", "metrics_collector"): "/metrics is always there",
    ("scheduler", "metrics_custom_import"): "/metrics is always there",
    ("scheduler", "visualization_graph"): "luigi has no such option any more",
    ("scheduler", "prune_done_tasks"): "luigi has no such option any more",
    ("scheduler", "upstream_status_when_all"): "luigi has no such option any more",
    ("core", "logging_conf_file"): "see log_format and log_level",
    ("core", "no_configure_logging"): "see log_format and log_level",
    ("task_history", "db_connection"): "the history is in the database",
}
# Options of workers ([worker], in [core] once with worker- before them), found in the [scheduler] of many a file.
_WORKERS = frozenset(
    {
        "max_reschedules", "keep_alive", "ping_interval", "wait_interval", "wait_jitter", "timeout", "task_limit",
        "count_uniques", "retry_external_tasks", "parallel_scheduling", "send_failure_email", "assistant",
        "max_keep_alive_idle_duration", "no_install_shutdown_handler", "check_unfulfilled_deps",
        "force_multiprocessing", "cache_task_completion", "task_process_context", "check_complete_on_run",
    }
)  # fmt: skip


def is_of_workers(name: str) -> bool:
    """Whether luigi's workers have an option of this name."""
    return name.replace("-", "_").removeprefix("worker_") in _WORKERS


def is_of_scheduler(name: str) -> bool:
    """Whether luigi's scheduler has it, in [scheduler]; luigi's documentation has some of them in [core]."""
    return name.replace("-", "_") in _SCHEDULER or name in READ_ONCE
