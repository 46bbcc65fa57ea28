"""What a call changed, as plain records: the engine's only output besides its replies.

The records are at once the journal's entries, the rows of the snapshot tables and what a cold load or a
mirror feeds back through `Scheduler.restore`: replaying every record in order, from nothing, yields the
engine that produced them. A record carries whole column groups, never differences, so applying it twice
is the same as applying it once. Fields are only ever added, at the end and with a default: the log of an
earlier version is read as it is.

A task has three column groups, written only when something in them changed:
definition (who it is), state (where it stands), detail (what it says about itself: may be long).

`JsonText` is JSON in ASCII as Python writes it: `Infinity`, `NaN`, escaped NULs and lone surrogates included.
Plain `str` fields may hold any Python string; a store escapes what its database refuses.
"""

from typing import NamedTuple, NewType

JsonText = NewType("JsonText", str)
Epoch = NewType("Epoch", int)


class TaskDefinition(NamedTuple):
    """What a task is. Rewritten only when a client describes it anew."""

    family: str
    namespace: str  # the family's prefix: "marketing" of "marketing.Extract", "" without one
    module: str | None
    params: JsonText  # object
    param_visibilities: JsonText  # object: name -> 0 public, 1 hidden, 2 private
    deps: tuple[str, ...]  # task ids
    resources: JsonText  # object: name -> amount
    retry_policy: JsonText  # [retry_count, disable_hard_timeout (s), disable_window (s)]
    runnable: bool
    batchable: bool
    accepts_messages: JsonText
    added_at: float  # scheduler time, s since the epoch
    capabilities: tuple[str, ...] = ()  # what its worker must offer


class TaskState(NamedTuple):
    """Where a task stands. Rewritten with every transition."""

    status: str
    priority: float
    updated_at: float  # when the status last changed
    workers: tuple[int, ...]  # numbers (wid) of the workers that can run it, in order of their claim
    stakeholders: tuple[int, ...]  # numbers (wid) of the workers that want it
    worker_id: str | None  # who runs it now, or ran it last
    run_time: float | None  # when its last run was handed out
    resources_running: JsonText | None
    run_id: str | None  # the last run's random id
    attempt: int  # how many runs were handed out
    run_reported: bool  # the last run's end was reported
    retry_at: float | None
    remove_at: float | None
    disabled_at: float | None  # set only if the scheduler disabled it
    failures: tuple[float, ...]  # times of the failures inside disable_window
    first_failure_at: float | None
    failed_in_row: int  # failures since the last success, for the back-off
    batch_id: str | None
    cancelled: str | None = None  # why it is not to run (again)


class TaskDetail(NamedTuple):
    """What a task says about itself."""

    expl: JsonText  # the error of the last failure; any JSON value
    tracking_url: str | None
    status_message: JsonText
    progress_percentage: JsonText
    message_responses: JsonText  # object: message id -> response, not yet fetched


class TaskPut(NamedTuple):
    """A task was created or changed. Groups that did not change are None; a creation has all three."""

    num: int  # creation number: unique for ever, never reused, orders equals
    task_id: str
    definition: TaskDefinition | None
    state: TaskState | None
    detail: TaskDetail | None


class TaskRemoved(NamedTuple):
    num: int
    task_id: str
    reason: str = ""  # for people
    status: str = ""  # that it had


class WorkerPut(NamedTuple):
    """A worker was created or changed. When it was last heard of is memory, not state."""

    wid: int  # unique for ever: a worker that was pruned and returns has a new one
    worker_id: str
    started_at: float
    disabled: bool
    info: JsonText  # object
    messages: JsonText  # list of {"name", "kwargs"}: not yet delivered
    draining: bool = False  # gets no new work


class WorkerRemoved(NamedTuple):
    wid: int
    worker_id: str


class ResourcePut(NamedTuple):
    """A resource's total, set at run time; it outlives restarts and overrides the configuration."""

    name: str
    total: JsonText  # a number


class BatcherPut(NamedTuple):
    worker_id: str
    family: str
    batched_args: JsonText  # list of parameter names
    max_batch_size: JsonText  # a number; Infinity is the default


class BatcherRemoved(NamedTuple):
    worker_id: str
    family: str


class SettingPut(NamedTuple):
    """One named piece of scheduler-wide state: "paused", or "mailbox" (pending batch e-mails)."""

    name: str
    value: JsonText


class AnswerPut(NamedTuple):
    """The first answer to the call that a caller gave this key."""

    num: int  # as of tasks: unique for ever, and in order
    key: str
    method: str
    fingerprint: str  # of the call's arguments
    status: int  # HTTP's
    reply: str  # the body
    at: float


class AnswersForgotten(NamedTuple):
    """All answers up to this number are forgotten."""

    up_to: int


Change = (
    TaskPut | TaskRemoved | WorkerPut | WorkerRemoved | ResourcePut | BatcherPut | BatcherRemoved | SettingPut
    | AnswerPut | AnswersForgotten
)  # fmt: skip


class Mail(NamedTuple):
    """An e-mail to send after the commit. `owner` None: whoever the configuration names as receiver."""

    owner: str | None
    subject: str
    body: str


class Transition(NamedTuple):
    """A task's status changed (`before` "" for a new one). Feeds counters; not stored as such."""

    family: str
    namespace: str
    before: str
    after: str


class Changes(NamedTuple):
    """All that one or more calls changed since the last `take_changes`."""

    records: list[Change]
    mails: list[Mail]
    transitions: list[Transition]
