"""Tokens: how they look, what is kept of them, and where they are looked up.

    lha_1f6a90c2_9d0f...       the id, by which it is listed and revoked, and 192 random bits

Kept is the SHA-256 of the whole token: with so many random bits there is nothing to guess, so nothing slow is needed.
It is compared in constant time.

Luigi's clients can only send Basic authentication, so a token may also be the password of any user.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from luigi_ha.appliance.api.access_roles import GIVEN, Role
from luigi_ha.appliance.store.tokens import TokenRecord

LONGEST = 1024  # bytes of an Authorization header; ours have less than 200
_TOKEN = re.compile(rb"lha_([0-9a-f]{8})_([0-9a-f]{48})")
_BY_NAME = {role.shown: role for role in GIVEN}
_NO_DIGEST = bytes(32)


class Credential(bytes):
    """An Authorization header's value, as it came. It does not show itself in logs and tracebacks."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Credential(********)" if self else "Credential(none)"

    __str__ = __repr__


class Minted(NamedTuple):
    """A new token: what its owner gets, once, and what is kept."""

    token: str
    token_id: str
    digest: str


def mint() -> Minted:
    """A token that nobody has had before."""
    token_id = secrets.token_hex(4)
    token = f"lha_{token_id}_{secrets.token_hex(24)}"
    return Minted(token, token_id, digest(token.encode()))


def digest(token: bytes) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token).hexdigest()


@dataclass(frozen=True, slots=True)
class Token:
    """One token, as the database has it. Times: wall clock, s since the epoch of 1970."""

    token_id: str
    name: str
    role: Role
    digest: bytes
    expires_at: float | None
    revoked_at: float | None


def token_from(record: TokenRecord) -> Token | None:
    """None: a role that this version does not know. Such a token opens nothing."""
    role = _BY_NAME.get(record.role)
    if role is None:
        return None
    return Token(record.token_id, record.name, role, bytes.fromhex(record.digest), record.expires_at, record.revoked_at)


class Presented(NamedTuple):
    """A token as a request brought it; not looked up yet."""

    token_id: str
    token: bytes


def presented(authorization: bytes) -> Presented | str:
    """The token in an Authorization header's value; or, for people, why there is none in it."""
    scheme, _, rest = authorization.strip().partition(b" ")
    scheme, rest = scheme.lower(), rest.strip()
    if len(authorization) > LONGEST:
        return f"the Authorization header is longer than {LONGEST} bytes"
    if scheme == b"bearer":
        token = rest
    elif scheme == b"basic":
        try:
            token = base64.b64decode(rest, validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return "Basic authentication that is not base64"
    else:
        return "an Authorization that is neither Bearer nor Basic"
    found = _TOKEN.fullmatch(token)
    if found is None:
        return "no token" if not token else "not a token of this scheduler (they begin with lha_)"
    return Presented(found[1].decode("ascii"), token)


class Tokens(Protocol):
    """Where tokens are looked up."""

    @property
    def generation(self) -> int:
        """0: none have been read yet. It grows whenever `find` may answer differently."""
        ...

    def find(self, token_id: str) -> Token | None: ...


class TokenTable:
    """Tokens in memory, replaced as a whole: what was read last holds until something else is read."""

    def __init__(self) -> None:
        self.generation = 0
        self._tokens: dict[str, Token] = {}

    def __len__(self) -> int:
        return len(self._tokens)

    def find(self, token_id: str) -> Token | None:
        return self._tokens.get(token_id)

    def replace(self, tokens: Iterable[Token]) -> bool:
        """From now on these, and no others; whether that is a change."""
        found = {token.token_id: token for token in tokens}
        if self.generation and found == self._tokens:
            return False
        self._tokens = found
        self.generation += 1
        return True


def is_token(token: Token | None, brought: Presented) -> bool:
    """Whether it is the token looked up. An unknown id costs the same time as a wrong secret."""
    against = token.digest if token is not None else _NO_DIGEST
    return hmac.compare_digest(hashlib.sha256(brought.token).digest(), against) and token is not None
