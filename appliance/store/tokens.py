"""The tokens that callers show: what is kept of each. Not part of the log: who may change them writes here directly.

Invariant: a name is given once, and a row never goes: what the log says of a name stays true. A token that is not to be
used any more is marked as revoked.
"""

from dataclasses import dataclass


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
