"""Tokens for tests, and how clients show them."""

import base64
from pathlib import Path
from typing import NamedTuple

from luigi_ha.appliance.api.access_roles import Role
from luigi_ha.appliance.api.access_tokens import Credential, Token, mint
from luigi_ha.appliance.store import Store, TokenRecord, open_store


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

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.text}"}

    @property
    def basic_headers(self) -> dict[str, str]:
        return {"Authorization": bytes(self.basic).decode()}


def database(directory: Path, *tokens: Made) -> Store:
    """The database that `tests.api.serving.serving` uses, with tokens in it."""
    store = open_store(f"sqlite:///{directory}/luigi.db")
    store.upgrade()
    for token in tokens:
        keep(store, token)
    return store


def keep(store: Store, token: Made) -> None:
    kept = token.kept
    store.add_token(
        TokenRecord(
            kept.token_id, kept.name, kept.role.shown, kept.digest.hex(), 1.0, "test", kept.expires_at, kept.revoked_at
        )
    )


def made(role: Role, name: str = "", *, expires_at: float | None = None, revoked_at: float | None = None) -> Made:
    new = mint()
    kept = Token(new.token_id, name or role.shown, role, bytes.fromhex(new.digest), expires_at, revoked_at)
    return Made(new.token, kept)
