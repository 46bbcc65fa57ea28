"""Tokens for tests, and how clients show them."""

import base64
from typing import NamedTuple

from appliance.api.access import Credential
from appliance.api.access_roles import Role
from appliance.api.access_tokens import Token, mint


class Made(NamedTuple):
    """A token and what is kept of it."""

    text: str
    kept: Token

    @property
    def bearer(self) -> Credential:
        return Credential(f"Bearer {self.text}".encode())

    @property
    def basic(self) -> Credential:
        return Credential(b"Basic " + base64.b64encode(f"anybody:{self.text}".encode()))


def made(role: Role, name: str = "", *, expires_at: float | None = None, revoked_at: float | None = None) -> Made:
    new = mint()
    kept = Token(new.token_id, name or role.shown, role, bytes.fromhex(new.digest), expires_at, revoked_at)
    return Made(new.token, kept)
