"""Variables that begin like ours and are no options of a node: those of the commands, and of workers.

A test compares them with the commands.
"""

OTHER_VARIABLES = frozenset(
    {
        "LUIGI_HA_CONFIG", "LUIGI_HA_LAB_DIR", "LUIGI_HA_SCHEDULER_URL", "LUIGI_HA_TOKEN", "LUIGI_HA_TOKEN_FILE",
        "LUIGI_HA_URL", "LUIGI_HA_CAPABILITIES", "LUIGI_HA_CA_FILE", "LUIGI_HA_CLIENT_CERTIFICATE",
        "LUIGI_HA_CLIENT_KEY", "LUIGI_HA_FAMILIES", "LUIGI_HA_GIVE_UP_AFTER", "LUIGI_HA_KEEP_LOGS",
        "LUIGI_HA_KILL_GRACE", "LUIGI_HA_LOG_OUTPUT", "LUIGI_HA_LOST_ATTEMPT", "LUIGI_HA_MAX_TASKS",
        "LUIGI_HA_MEMORY_LIMIT", "LUIGI_HA_MODULE", "LUIGI_HA_NAMESPACES", "LUIGI_HA_ONLY_MODULES",
        "LUIGI_HA_OUTPUT_LIMIT", "LUIGI_HA_POLL_INTERVAL", "LUIGI_HA_STATE_DIR", "LUIGI_HA_TASK_TIMEOUT",
        "LUIGI_HA_UNFENCED", "LUIGI_HA_WORKERS", "LUIGI_HA_WORKER_DRAIN_TIMEOUT", "LUIGI_HA_WORKER_ID",
        "LUIGI_HA_WORKER_METRICS_HOST", "LUIGI_HA_WORKER_METRICS_PORT",
        # What a worker tells the programs that its tasks start:
        "LUIGI_HA_ATTEMPT", "LUIGI_HA_RUN_ID", "LUIGI_HA_TASK_ID",
        # What a keeper tells its scheduler, and where targets remember what they have verified:
        "LUIGI_HA_KEEPER", "LUIGI_HA_VERIFIED",
    }
)  # fmt: skip
