"""Batch e-mails: failures are counted per owner and kind of task, and sent together once in a while.

What waits to be sent is part of the scheduler's state and survives it. Formatting follows Luigi's options
`[batch-notifier]`; explanations are cut to their last lines when they arrive, so what is kept stays small.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from luigi_ha.appliance.engine import checks
from luigi_ha.appliance.engine.changes import JsonText, Mail, SettingPut
from luigi_ha.appliance.engine.model import DISABLED, NULL, Task, to_json
from luigi_ha.appliance.engine.settings import Settings, after
from luigi_ha.appliance.engine.state import State

ENTRY = "mailbox/"  # name of one kept entry: this and a digest
NEXT_SEND = "mailbox"


class Mailbox(Protocol):
    """Where the scheduler puts what is to be mailed in batches. Names and arguments are Luigi's BatchNotifier's."""

    def add_failure(self, name: str, family: str, args: dict[str, Any], expl: Any, owners: Any) -> None:
        """A task failed."""

    def add_disable(self, name: str, family: str, args: dict[str, Any], owners: Any) -> None:
        """A task was disabled."""

    def add_scheduling_fail(self, name: str, family: str, args: dict[str, Any], expl: Any, owners: Any) -> None:
        """A task could not be scheduled."""

    def update(self) -> None:
        """Send what is due."""

    def send_email(self) -> None:
        """Send now."""


@dataclass(slots=True)
class _Entry:
    owner: str
    key: str
    failures: int = 0
    disables: int = 0
    scheduling_failures: int = 0
    expls: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        text = f"{self.owner}\n{self.key}".encode("utf-8", "surrogatepass")
        return ENTRY + hashlib.blake2b(text, digest_size=16).hexdigest()


class BatchMailbox:
    """The scheduler's own mailbox. `send` takes finished mails; `changed` is told the names of what to store."""

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float],
        send: Callable[[Mail], None],
        changed: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._send = send
        self._changed = changed
        self._entries: dict[str, _Entry] = {}
        self._next_send = after(clock(), 60 * settings.email_interval_minutes)

    def add_failure(self, name: str, family: str, args: dict[str, Any], expl: Any, owners: Any) -> None:
        """A task failed."""
        for entry in self._entries_of(name, family, args, owners):
            entry.failures += 1
            self._explain(entry, expl)

    def add_disable(self, name: str, family: str, args: dict[str, Any], owners: Any) -> None:
        """A task was disabled."""
        for entry in self._entries_of(name, family, args, owners):
            entry.disables += 1

    def add_scheduling_fail(self, name: str, family: str, args: dict[str, Any], expl: Any, owners: Any) -> None:
        """A task could not be scheduled."""
        for entry in self._entries_of(name, family, args, owners):
            entry.scheduling_failures += 1
            self._explain(entry, expl)

    def update(self) -> None:
        """Send what is due."""
        if self._clock() >= self._next_send:
            self.send_email()

    def send_email(self) -> None:
        """Send everything now."""
        for owner in dict.fromkeys(entry.owner for entry in self._entries.values()):
            self._send_to(owner, [entry for entry in self._entries.values() if entry.owner == owner])
        for name in self._entries:
            self._changed(name)
        self._entries.clear()
        self._next_send = after(self._clock(), 60 * self._settings.email_interval_minutes)
        self._changed(NEXT_SEND)

    # -- storing ------------------------------------------------------------------------------------

    def dump(self, name: str) -> JsonText:
        """The stored form of one name given to `changed`; null when it is gone."""
        if name == NEXT_SEND:
            return to_json(self._next_send)
        entry = self._entries.get(name)
        if entry is None:
            return NULL
        counts = [entry.failures, entry.disables, entry.scheduling_failures]
        return to_json([entry.owner, entry.key, *counts, entry.expls])

    def load(self, name: str, value: JsonText) -> None:
        """Take back what `dump` gave."""
        found = json.loads(value)
        if name == NEXT_SEND:
            self._next_send = float(found)
        elif found is None:
            self._entries.pop(name, None)
        else:
            self._entries[name] = _Entry(*found)

    # -- formatting -----------------------------------------------------------------------------------

    def _entries_of(self, name: str, family: str, args: dict[str, Any], owners: Any) -> Iterable[_Entry]:
        mode = self._settings.email_batch_mode
        key = name if mode == "all" else family
        if mode == "unbatched_params":
            key = f"{family}({', '.join(f'{k}={v}' for k, v in args.items())})"
        for owner in dict.fromkeys((*self._settings.email_receivers, *(owners or ()))):
            entry = _Entry(owner, key)
            entry = self._entries.setdefault(entry.name, entry)
            self._changed(entry.name)
            yield entry

    def _explain(self, entry: _Entry, expl: Any) -> None:
        lines = str(expl).rstrip().split("\n")
        text = "\n".join(lines[-self._settings.email_error_lines :] if self._settings.email_error_lines else lines)
        entry.expls = [*(known for known in entry.expls if known != text), text]
        entry.expls = entry.expls[-self._settings.email_error_messages :] if self._settings.email_error_messages else []

    def _send_to(self, owner: str, entries: list[_Entry]) -> None:
        subject = _counts(
            sum(e.failures for e in entries),
            sum(e.disables for e in entries),
            sum(e.scheduling_failures for e in entries),
        )
        if not subject:
            return
        prefix = "" if owner in self._settings.email_receivers else "Your tasks have "
        minutes = f"{self._settings.email_interval_minutes:g}"
        self._send(Mail(owner, f"Luigi: {prefix}{subject} in the last {minutes} minutes", self._body(entries)))

    def _body(self, entries: list[_Entry]) -> str:
        entries = sorted(entries, key=lambda e: (-e.failures - e.scheduling_failures, -e.disables, e.key))
        groups: dict[tuple[str, ...] | str, list[_Entry]] = {}
        for entry in entries:
            by = tuple(entry.expls) if self._settings.email_group_by_error_messages else entry.name
            groups.setdefault(by, []).append(entry)
        html = self._settings.email_format == "html"
        parts = []
        for members in groups.values():
            titles = [f"{e.key} ({_counts(e.failures, e.disables, e.scheduling_failures)})" for e in members]
            parts.append("<li>" + "\n<br>".join(titles) if html else "- " + "\n  ".join(titles))
            parts += [_shown(expl, html=html) for expl in members[0].expls]
        body = "\n".join(parts)
        return f"<ul>\n{body}\n</ul>" if html else body


class MailboxCalls(State):
    """The engine's side of the mailbox: what is put in, and when it is emptied."""

    mailbox: Mailbox | None = None

    def announce_scheduling_failure(
        self, task_name: str, family: str, params: Any, expl: Any, owners: Any, **kwargs: Any
    ) -> None:
        """A worker could not schedule a task."""
        family = checks.text("family", family)
        params = checks.mapping("params", params)
        checks.ids("owners", owners, what="e-mail addresses", most=checks.MAX_NAMES)
        if self.mailbox is None:
            return
        worker_id = checks.worker(kwargs.get("worker"))
        self.mailbox.add_scheduling_fail(task_name, family, self._unbatched(worker_id, family, params), expl, owners)

    def _mail_failure(self, task: Task, worker_id: str, family: str, expl: Any, owners: Any) -> None:
        if self.mailbox is None:
            return
        args = self._unbatched(worker_id, family, task.all_params())
        with contextlib.suppress(
            TypeError, ValueError
        ):  # workers send JSON in a string; whatever else is sent is shown as it is
            expl = json.loads(expl)
        self.mailbox.add_failure(task.pretty_id, task.family, args, expl, owners)
        if task.status == DISABLED:
            self.mailbox.add_disable(task.pretty_id, task.family, args, owners)

    def _unbatched(self, worker_id: str, family: str, params: dict[str, Any]) -> dict[str, Any]:
        batched, _size = self.batchers.get(worker_id, {}).get(family, ((), 1))
        return {name: value for name, value in params.items() if name not in batched}

    def _mail_setting(self, name: str) -> SettingPut | None:
        if isinstance(self.mailbox, BatchMailbox) and name.startswith(NEXT_SEND):
            return SettingPut(name, self.mailbox.dump(name))
        return None


def _counts(failures: int, disables: int, scheduling: int) -> str:
    named = ((failures, "failure"), (disables, "disable"), (scheduling, "scheduling failure"))
    return ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in named if count)


def _shown(expl: str, *, html: bool) -> str:
    return f"<pre>{expl}</pre>" if html else "\n" + "\n".join(f"      {line}" for line in expl.split("\n"))
