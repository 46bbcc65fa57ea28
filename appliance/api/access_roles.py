"""Who may call what: roles, and the one each call and each path needs.

Invariant: what is not listed is not open. A call or a path that nobody thought of needs an operator to change anything
and a viewer to read; only what is listed as such needs less.

Luigi's calls change state by GET as well as by POST, so a call needs the same role either way.
"""

import enum
from collections.abc import Mapping
from urllib.parse import unquote


class Role(enum.IntEnum):
    """Each may do everything that the ones before may."""

    NOBODY = 0  # no token is needed
    VIEWER = 1  # looks
    WORKER = 2  # submits tasks, runs them, reports
    OPERATOR = 3  # steers

    @property
    def shown(self) -> str:
        return self.name.lower()


GIVEN = (Role.VIEWER, Role.WORKER, Role.OPERATOR)  # what a token can be for

_VIEWER = """
    dep_graph fetch_error get_running_task_resources get_task_progress_percentage get_task_status_message graph
    has_task_history inverse_dep_graph is_pause_enabled is_paused resource_list task_list task_search worker_list
    rest_drained rest_log rest_namespaces rest_queue rest_resources rest_scheduler rest_task rest_tasks rest_worker
    rest_workers
"""
_WORKER = """
    add_scheduler_message_response add_task add_task_batcher add_worker announce_scheduling_failure count_pending
    decrease_running_task_resources get_work ping report_task_statistics set_task_progress_percentage
    set_task_status_message update_metrics_task_started
    rest_drain rest_heartbeat rest_put_log rest_put_task rest_put_tasks rest_take
    rest_undrain
"""
# get_scheduler_message_response takes the answer out of the box: it is for who sent the message.
_OPERATOR = """
    disable_worker forgive_failures get_scheduler_message_response mark_as_done pause prune re_enable_task
    send_scheduler_message set_worker_processes unpause update_resource update_resources
    rest_cancel rest_done rest_priority rest_put_resource rest_put_scheduler rest_retry
"""

METHOD_ROLES: Mapping[str, Role] = {
    name: role
    for role, listed in ((Role.VIEWER, _VIEWER), (Role.WORKER, _WORKER), (Role.OPERATOR, _OPERATOR))
    for name in listed.split()
}
_READS = frozenset({"GET", "HEAD"})


def needed_by_method(name: str) -> Role:
    """The role that a call of the scheduler needs."""
    return METHOD_ROLES.get(name, Role.OPERATOR)


def needed(method: str, raw_path: str) -> Role:
    """The role that a request needs; `raw_path` as it came, percent-encoded, without the query."""
    parts = [unquote(part) for part in raw_path.removeprefix("/").split("/")]
    role = Role.VIEWER if method in _READS else Role.OPERATOR
    match (method, *parts):
        case ["GET" | "HEAD", "health" | "ready" | "leader" | "standby"]:
            role = Role.NOBODY
        case ["GET" | "HEAD", "api", "openapi.json" | "docs"]:
            role = Role.NOBODY
        case ["HEAD", ""]:  # how load balancers ask luigid
            role = Role.NOBODY
        case ["OPTIONS", "api", *_]:  # a browser asks before it sends what it has
            role = Role.NOBODY
        case [_, "api", name] if name in METHOD_ROLES:
            role = METHOD_ROLES[name]
        case ["POST", "api", "task" | "tasks" | "heartbeat"]:
            role = Role.WORKER
        case ["POST", "api", "worker", "drain" | "undrain"]:
            role = Role.WORKER
        case ["PUT", "api", "task", _] | ["PUT", "api", "task", _, "log"]:
            role = Role.WORKER
    return role
