"""Three members of one Patroni cluster by Patroni's own code, in a process of their own: its threads never end.

    python -m tests.primary.held_up HOST:PORT,... NAMESPACE API-OF-N2

n1 leads and n2 is synchronous to it. Says "read" when n1 has read the keys; then waits for a line, goes on with n1's
turn, and says as one JSON object what came of it.
"""

import json
import sys
from typing import Any

from patroni.dcs import get_dcs

from tests.primary.keys import member

SYSTEM = 4711


def main(hosts: str, namespace: str, api: str) -> None:
    common = {"namespace": namespace, "scope": "luigi", "ttl": 60, "loop_wait": 10, "retry_timeout": 10}
    members: dict[str, Any] = {
        name: get_dcs({**common, "name": name, "etcd3": {"hosts": hosts.split(",")}}) for name in ("n1", "n2", "n3")
    }
    first, second, third = members.values()
    assert first.initialize(sysid=str(SYSTEM))
    assert first.set_config_value('{"synchronous_mode": true}')
    for name, dcs in members.items():
        assert dcs.touch_member(member(name, api if name == "n2" else ""))
    assert first.attempt_to_acquire_leader()
    assert first.write_sync_state("n1", ["n2"], 0)

    before = first.get_cluster()
    print("read", flush=True)
    sys.stdin.readline()
    written = first.write_sync_state("n1", ["n3"], 0, version=before.sync.version)
    first.delete_leader(before.leader)
    now = third.get_cluster()
    said = {
        "named_another_standby": written is not None,
        "leader": now.leader.name if now.leader else None,
        "sync_standby": now.sync.sync_standby,
        "second_keeps_it": bool(second.update_leader(second.get_cluster(), None)),
        "first_takes_it_back": bool(first.attempt_to_acquire_leader()),
    }
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
