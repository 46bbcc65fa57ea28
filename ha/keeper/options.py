"""What a keeper is told at its start. All times in seconds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from luigi_ha.ha.errors import Incoherent


@dataclass(frozen=True, slots=True)
class KeeperOptions:
    """Refused (Incoherent) if a time is not positive and finite, or the name is not the candidate's."""

    name: str
    """This node, in texts for people; the same as its candidate's."""

    command: Sequence[str]
    """How the scheduler is started: its argv. It gets `LUIGI_HA_KEEPER` besides `environment`."""

    environment: Mapping[str, str]
    """The scheduler's environment. What speaks to a supervisor (NOTIFY_SOCKET, WATCHDOG_*) is the keeper's own."""

    mode: Literal["file", "etcd"] = "file"
    """Where leadership is kept; for texts only."""

    version: str = ""
    """Of this program, as other members see it."""

    stall_after: float = 3.0
    """How long the scheduler may make no progress before its leadership is ended."""

    kill_frozen_after: float = 60.0
    """How long it may make none before it is killed and started anew."""

    promote_within: float = 300.0
    """How long it may take from winning to opening its gate. After that another may try."""

    prefer_delay: float = 0.2
    """How long a node waits before it campaigns, if it is not preferred: the one that is comes first."""

    handed_within: float = 5.0
    """How long the scheduler may take to finish what it executes, for a hand-over."""

    reserve_for: float = 5.0
    """For how long nobody but the successor can win."""

    drain_timeout: float = 30.0
    """How long the scheduler may take to exit after Stop, before it is killed."""

    restart_after: float = 0.2
    """The wait before a scheduler that died is started again. Doubles up to `restart_at_most`; starts again from here
    after one that lived for `restart_reset`."""
    restart_at_most: float = 5.0
    restart_reset: float = 30.0

    spread_every: float = 60.0
    """While leading: between two looks at where the store's own leader is, and before the first. To move it gives every
    lease in the store its full time again, others' too: not while something is being failed over."""

    about: Mapping[str, str] = field(default_factory=dict)
    """What other members should know besides."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if isinstance(value, float) and not (math.isfinite(value) and value > 0):
                raise Incoherent(f"{name} = {value} must be more than 0 and finite")
        if not self.stall_after < self.kill_frozen_after:
            raise Incoherent(
                "stall_after < kill_frozen_after does not hold: "
                f"{self.stall_after}, {self.kill_frozen_after}; a scheduler would be killed before it counts as frozen"
            )
