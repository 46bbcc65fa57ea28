"""Whether the nodes have the same options, asked of each other; and what follows where they do not.

A node whose clients would be locked out after a failover does not join: at its start it ends, later it cannot lead. The
leader is right, because its clients are served now. Every other difference is shown as degraded, on each node.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from luigi_ha.appliance import log
from luigi_ha.appliance.clock import monotonic
from luigi_ha.appliance.config.access import speaks_tls
from luigi_ha.appliance.config.shared import LOCKS_OUT, different, digests, shared_options, shown
from luigi_ha.appliance.exit_codes import ExitCode

if TYPE_CHECKING:
    from luigi_ha.appliance.node.node import Node

LOOK_EVERY = 2.0  # s
_log = log.get("node")


class Sameness:
    """Of one node."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._here = shared_options(node.options)
        self.digests = digests(node.options)
        self.locked_out: str | None = None  # why clients would be, if this node took over
        self.differs: dict[str, str] = {}  # by node: in what, for people
        self._able = False
        self._said: dict[str, str] = {}

    def compare(self, answers: dict[str, dict[str, Any] | None]) -> None:
        """With what the others say of themselves now (/health)."""
        node = self._node
        for name, health in answers.items():
            if health is None:
                self._different_protocol(name)
                continue
            names = different(self.digests, health.get("options"))
            self._note(name, f"{shown(names, self._here)}" if names else None)
            if not node.life.acting and node.roles.leader is not None and node.roles.leader.name == name:
                self._judge(name, [each for each in names if each in LOCKS_OUT])
        for name in set(self.differs) - set(answers):
            del self.differs[name]

    def _different_protocol(self, name: str) -> None:
        """Who does not answer may speak TLS where we do not: its address says so."""
        leader = self._node.roles.leader
        leads = leader is not None and leader.name == name
        address = leader.address if leader is not None and leads else self._address(name)
        ours = "https" if speaks_tls(self._node.options.serve) else "http"
        if not address.startswith("http") or address.partition(":")[0] == ours:
            return
        self._note(name, shown(["tls"], self._here))
        if leads and not self._node.life.acting:
            self._judge(name, ["tls"])

    def _address(self, name: str) -> str:
        return self._node.peers.known.get(name, {}).get("address", "")

    def _note(self, name: str, what: str | None) -> None:
        if what is None:
            self.differs.pop(name, None)
            self._said.pop(name, None)
            return
        self.differs[name] = what
        if self._said.get(name) != what:
            self._said[name] = what
            _log.warning("options_differ", node=name, options=what)

    def _judge(self, leader: str, names: list[str]) -> None:
        if not names:
            self.locked_out = None
            return
        what = shown(names, self._here)
        self.locked_out = f"its options would lock out the clients of {leader}, which leads: {what}"
        if not self._able:
            node = self._node
            expected = f"the same options as {leader}; to change one of them, stop all nodes first"
            node.finish(ExitCode.CONFIG, "options_differ_from_leader", reason=self.locked_out, expected=expected)

    def joined(self) -> None:
        """This node has been able to lead."""
        self._able = True

    async def compared_once(self) -> None:
        """Before this node joins: with the leader, if there is one that answers."""
        node = self._node
        leader = node.roles.leader
        if leader is not None:
            asked = monotonic()
            self.heard({leader.name: await node.peers.ask(leader.address)}, monotonic() - asked)

    def heard(self, answers: dict[str, dict[str, Any] | None], took: float) -> None:
        """What the others say of themselves; it took `took` s to ask them."""
        self._node.timekeeping.hear(answers, took)
        self.compare(answers)


async def compare_options(node: "Node") -> None:
    """Every now and then, on each node."""
    while node.link is not None:
        await asyncio.sleep(LOOK_EVERY)
        asked = monotonic()
        node.sameness.heard(await node.peers.health(), monotonic() - asked)
