"""The tokens that callers show: what is kept of each. Not part of the log: who may change them writes here directly.

Invariant: a name is given once, and a row never goes: what the log says of a name stays true. A token that is not to be
used any more is marked as revoked.
"""

from dataclasses import astuple, dataclass, fields, replace
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from luigi_ha.appliance.store import tables
from luigi_ha.appliance.store.errors import NameTaken
from luigi_ha.appliance.store.text import escape, unescape


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """One token. Times: wall clock, s since the epoch of 1970."""

    token_id: str
    name: str
    role: str  # viewer, worker or operator
    digest: str  # SHA-256 of the token, hex
    created_at: float
    created_by: str
    expires_at: float | None = None  # None: never
    revoked_at: float | None = None  # None: not


_NAMES = tuple(field.name for field in fields(TokenRecord))


def add(connection: Connection, record: TokenRecord) -> None:
    """Raises NameTaken if there is, or was, one of that name."""
    kept = replace(record, created_by=escape(record.created_by))
    taken = NameTaken(f"there is a token named {record.name}")
    if connection.execute(select(tables.token.c.name).where(tables.token.c.name == record.name)).first() is not None:
        raise taken
    try:
        connection.execute(insert(tables.token).values(dict(zip(_NAMES, astuple(kept), strict=True))))
    except IntegrityError:  # somebody was quicker
        raise taken from None


def read(connection: Connection) -> list[TokenRecord]:
    """All of them, oldest first."""
    t = tables.token.c
    rows = connection.execute(select(*(t[name] for name in _NAMES)).order_by(t.created_at, t.token_id))
    return [_record(row) for row in rows]


def revoke(connection: Connection, token_id: str, at: float) -> TokenRecord | None:
    """Its record, revoked now or earlier; None: no such token."""
    t = tables.token.c
    change = update(tables.token).where(t.token_id == token_id, t.revoked_at.is_(None)).values(revoked_at=at)
    connection.execute(change)
    row = connection.execute(select(*(t[name] for name in _NAMES)).where(t.token_id == token_id)).first()
    return None if row is None else _record(row)


def _record(row: Any) -> TokenRecord:
    return replace(TokenRecord(*row), created_by=unescape(row.created_by))
