"""Which PostgreSQL server is the primary, and making its synchronous standby the primary at once.

A database's own manager takes its time to believe that a primary is dead (Patroni: 20 s at least). A cluster whose
nodes watch each other knows sooner. `PrimaryMover` is the port; `luigi_ha.ha.primary.patroni` does it for Patroni, and
`LeftAlone` is for every other stack: it moves nothing, and says why.
"""

from luigi_ha.ha.primary.port import LeftAlone, NotMoved, Outlook, PrimaryMover, Server

__all__ = ["LeftAlone", "NotMoved", "Outlook", "PrimaryMover", "Server"]
