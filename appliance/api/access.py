"""Whether a request may do what it asks: 401 for who is not known, 403 for who may not.

    guard("POST", "/api/add_task", authorization)       # -> the token's name, or raises

Invariants
* A verdict is remembered by the header's bytes, and never longer than what it was made from: it goes with the next
  change of the tokens (a revocation), and when its token expires.
* Neither a refusal nor a line of the log repeats what was shown.

A look-up in a dictionary does not compare in constant time, but only bytes with the same keyed 64-bit hash are compared
at all; what is compared with a secret's digest is, in constant time.
"""

from collections.abc import Callable
from functools import lru_cache
from math import inf
from typing import NamedTuple

from luigi_ha.appliance import clock, log
from luigi_ha.appliance.api.access_roles import Role, needed
from luigi_ha.appliance.api.access_tokens import Token, Tokens, is_token, presented
from luigi_ha.appliance.api.errors import Forbidden, NotReady, Unauthorized

REMEMBERED = 4096  # headers; then all are forgotten
HOW = "a token: Authorization: Bearer TOKEN, or the password of Basic (http://any:TOKEN@host); `luigi-ha token create`"
_log = log.get("access")
_needed = lru_cache(maxsize=4096)(needed)


class Grant(NamedTuple):
    """Who calls, as their token says."""

    name: str
    role: Role
    until: float  # wall clock, s; inf: no end


class Guard:
    """Says yes or no, of one node's copy of the tokens."""

    def __init__(self, tokens: Tokens, now: Callable[[], float] = clock.wall) -> None:
        self._tokens = tokens
        self._now = now
        self._generation = 0
        self._granted: dict[bytes, Grant] = {}
        self._log = log.Seldom(_log)

    @property
    def knows(self) -> bool:
        """Whether the tokens have been read at all."""
        return self._tokens.generation > 0

    def __call__(self, method: str, raw_path: str, authorization: bytes) -> str | None:
        """See `luigi_ha.appliance.api.calls.Admit`."""
        grant = self.admit(authorization, _needed(method, raw_path))
        return None if grant is None else grant.name

    def admit(self, authorization: bytes, needs: Role) -> Grant | None:
        """Who it is; None: nobody is needed, and nobody said who they are. Raises Unauthorized, Forbidden, or
        NotReady before the tokens have been read."""
        if self._tokens.generation != self._generation:
            self._generation = self._tokens.generation
            self._granted.clear()
        grant = self._granted.get(authorization)
        if grant is None or grant.until <= self._now():
            if needs is Role.NOBODY:
                return None
            grant = self._recognise(authorization)
        if grant.role < needs:
            refusal = Forbidden(
                f"token {grant.name} is a {grant.role.shown}",
                where="Authorization",
                expected=f"a token with at least the role {needs.shown}",
            )
            self._log.warning("access_refused", "role", token=grant.name, needs=needs.shown)
            raise refusal
        return grant

    def _recognise(self, authorization: bytes) -> Grant:
        self._granted.pop(authorization, None)
        if not self.knows:
            what = "the tokens have not been read from the database yet"
            raise NotReady(what, where="Authorization", expected="to be asked again")
        if not authorization:
            raise Unauthorized("no token", where="Authorization", expected=HOW)
        brought = presented(authorization)
        if isinstance(brought, str):
            raise self._refused("malformed", brought)
        token = self._tokens.find(brought.token_id)
        if not is_token(token, brought) or token is None:
            raise self._refused("unknown", "unknown token")
        now = self._now()
        if token.revoked_at is not None:
            raise self._refused("revoked", f"token {token.name} has been revoked", token)
        if token.expires_at is not None and token.expires_at <= now:
            raise self._refused("expired", f"token {token.name} has expired", token)
        if len(self._granted) >= REMEMBERED:
            self._granted.clear()
        until = inf if token.expires_at is None else token.expires_at
        grant = Grant(token.name, token.role, until)
        self._granted[authorization] = grant
        return grant

    def _refused(self, kind: str, what: str, token: Token | None = None) -> Unauthorized:
        self._log.warning("access_refused", kind, token=None if token is None else token.name)
        return Unauthorized(what, where="Authorization", expected=HOW)
