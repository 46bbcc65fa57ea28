"""Whether a database is older than what was seen of it: deleted, replaced, restored from a backup.

Who led on it would lead a past, and everything acknowledged since would be gone without a word. So nobody does, until
a person has said that this is what is wanted (`luigi-ha db accept`).
"""

from typing import TYPE_CHECKING

from luigi_ha.appliance import log
from luigi_ha.appliance.engine.changes import Epoch
from luigi_ha.appliance.store.errors import DatabaseAway, SchemaMissing, Unusable
from luigi_ha.appliance.store.position import Position
from luigi_ha.appliance.store.target import Kind

if TYPE_CHECKING:
    from luigi_ha.appliance.store.store import Store

ACCEPT = "put the newer database back; or, to go on with this one and do without what it lacks: luigi-ha db accept"
_log = log.get("store")


def behind(store: "Store", served: int = 0) -> str | None:
    """Why nobody may lead on this database; None: it is at least as new as what was seen of it. `served`: the greatest
    epoch under which anybody is known to have led on it. Raises DatabaseAway if that cannot be found out now."""
    memory = store.memory
    seen = memory.read() if memory is not None else None
    if memory is None or seen is None:
        return _older(store, Position(Epoch(served), 0, "")) if served else None
    mixed = memory.mixed(seen)
    if mixed is not None:
        return f"{mixed}; {ACCEPT}"
    newest = max(seen.position, Position(Epoch(served), 0, ""), key=lambda position: position[:2])
    return _older(store, newest)


def _older(store: "Store", seen: Position) -> str | None:
    found = position_of(store)
    if found is None:
        shows = "has no state of luigi-ha"
    elif found[:2] < seen[:2]:
        shows = f"is at epoch {found.epoch}, seq {found.seq}"
    elif found[:2] == seen[:2] and seen.hash and found.hash != seen.hash:
        shows = f"has another history at epoch {found.epoch}, seq {found.seq}"
    else:
        return None
    had = f"epoch {seen.epoch}" + (f", seq {seen.seq}" if seen.seq else "")
    return f"{store.target.shown} {shows}, and it has been at {had} before: deleted, replaced or restored; {ACCEPT}"


def position_of(store: "Store") -> Position | None:
    """Where the database stands; None: there is nothing of ours in it, or no file."""
    try:
        return store.position()
    except SchemaMissing:
        return None
    except Unusable as error:
        if store.target.kind is Kind.SQLITE:
            return None  # no SQLite file at all
        raise DatabaseAway(str(error)) from error


def accept(store: "Store") -> tuple[Position | None, list[str]]:
    """Forget what was seen; where the database stands, and what was put aside: a log that belongs to another file."""
    memory, file = store.memory, store.file
    aside = []
    seen = memory.read() if memory is not None else None
    if memory is not None and file is not None:
        if seen is not None and memory.mixed(seen) is not None:
            for path in (file.log_path, file.index_path):
                if path.exists():
                    target = path.with_name(f"{path.name}.put-aside")
                    path.replace(target)
                    aside.append(str(target))
        memory.forget()
    found = position_of(store)
    _log.info("past_accepted", database=store.target.shown, position=found, before=seen.position if seen else None)
    return found, aside
