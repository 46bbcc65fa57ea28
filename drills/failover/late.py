"""What a leader that stood still may not do when it wakes, and calls that tempt it, sent while it stands still."""

import json
import threading
from collections.abc import Mapping
from contextlib import closing
from urllib.parse import quote_plus

from luigi_ha.appliance.lab.lab import Lab
from luigi_ha.appliance.lab.plan import PORT, Host

LATE_CALLS = 20


class LateCalls:
    """Calls sent to the frozen host's own address: they wait in its sockets until it wakes."""

    def __init__(self, lab: Lab, host: Host, prefix: str) -> None:
        self.tasks = [f"{prefix}_late{number}" for number in range(LATE_CALLS)]
        self.replies: dict[str, str] = {}
        self._threads = [threading.Thread(target=self._call, args=(lab, host, task)) for task in self.tasks]
        for thread in self._threads:
            thread.start()

    def _call(self, lab: Lab, host: Host, task: str) -> None:
        body = "data=" + quote_plus(json.dumps({"worker": "late", "task_id": task, "status": "DONE"}))
        head = f"POST /api/add_task HTTP/1.1\r\nHost: {host.address}\r\nConnection: close\r\n"
        head += f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
        try:
            with closing(lab.socket_in("observer")) as asking:
                asking.settimeout(60)
                asking.connect((host.address, PORT))
                asking.sendall((head + body).encode())
                reply = b"".join(iter(lambda: asking.recv(65536), b""))
                self.replies[task] = reply[9:12].decode("latin-1") or "closed"
        except OSError as error:
            self.replies[task] = type(error).__name__

    def finish(self) -> dict[str, str]:
        for thread in self._threads:
            thread.join(90)
        return self.replies


def misplaced(
    old: int,
    before: Mapping[int, Mapping[str, int]],
    after: Mapping[int, Mapping[str, int]],
    replies: Mapping[str, str],
    written: Mapping[str, int],
) -> list[str]:
    """What is wrong with the log: `before` the old leader woke and `after`; late calls' replies, and their epochs."""
    wrong, later = [], [epoch for epoch in after if epoch > old]
    if not later:
        wrong.append("no event of a new epoch")
    if before.get(old) != after.get(old):
        wrong.append("events of the old epoch were added after it woke")
    if later and old in after and after[old]["last"] > min(after[epoch]["first"] for epoch in later):
        wrong.append("events of the old epoch follow the new one's first")
    if by_old := [task for task, epoch in written.items() if epoch <= old]:
        wrong.append(f"{len(by_old)} late calls were written under the old epoch")
    if unwritten := [task for task, reply in replies.items() if reply == "200" and task not in written]:
        wrong.append(f"{len(unwritten)} late calls were acknowledged and are not there")
    return wrong
