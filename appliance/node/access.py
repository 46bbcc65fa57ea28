"""Who may call this node, and over what: its copy of the tokens, and its certificates, kept up to date.

Invariant: while the database is away the last copy holds: nobody is locked out by an outage, and what was revoked
before it stays revoked.
"""

import asyncio
from typing import TYPE_CHECKING

from luigi_ha.appliance import log
from luigi_ha.appliance.api.access import Guard
from luigi_ha.appliance.api.access_tokens import TokenTable, token_from
from luigi_ha.appliance.api.calls import Admit, everybody
from luigi_ha.appliance.clock import wall
from luigi_ha.appliance.config import Serve
from luigi_ha.appliance.config.access import auth_is_on, reached_from_here_only, speaks_tls
from luigi_ha.appliance.store import Store, StoreError, TokenRecord
from luigi_ha.appliance.tls import Tls, TlsFiles

if TYPE_CHECKING:
    from luigi_ha.appliance.node.node import Node

READ_EVERY = 2.0  # s
FIRST_EVERY = 0.05  # s until they have been read once: calls wait for it
_log = log.get("access")


def tls_of(serve: Serve) -> Tls | None:
    """What the port speaks; None: plain HTTP. Raises TlsError."""
    if not speaks_tls(serve):
        return None
    files = TlsFiles(serve.tls_certificate, serve.tls_key, serve.tls_client_ca, serve.tls_client_required, serve.tls_ca)
    return Tls(files)


class Access:
    """Of one node."""

    def __init__(self, serve: Serve) -> None:
        """Raises TlsError."""
        self.tls = tls_of(serve)
        self.tokens = TokenTable() if auth_is_on(serve) else None
        self.admit: Admit = everybody if self.tokens is None else Guard(self.tokens)
        self._told_none = False
        if self.tokens is None and not reached_from_here_only(serve):
            _log.warning("auth_off", host=serve.host or "all", meaning="whoever reaches the port may do anything")

    def learn(self, records: list[TokenRecord]) -> None:
        """These are the tokens now."""
        if self.tokens is None:
            return
        found = [token for token in map(token_from, records) if token is not None]
        if self.tokens.replace(found):
            now = wall()
            valid = sum(
                token.revoked_at is None and (token.expires_at is None or token.expires_at > now) for token in found
            )
            _log.info("tokens", valid=valid, all=len(records))
        if not found and not self._told_none:
            self._told_none = True
            _log.warning(
                "no_tokens", meaning="every call is refused", help="luigi-ha token create NAME --role operator"
            )


async def read_tokens(node: "Node") -> None:
    """The database's, again and again."""
    tokens = node.access.tokens
    away = False
    while tokens is not None:
        try:
            node.access.learn(await _read(node.store))
        except StoreError as error:
            if not away and tokens.generation:
                _log.warning("tokens_not_read", error=str(error), goes_on_with="those read last")
            away = tokens.generation > 0
        else:
            away = False
        await asyncio.sleep(READ_EVERY if tokens.generation else FIRST_EVERY)


async def _read(store: Store | None) -> list[TokenRecord]:
    if store is None:
        raise StoreError("the database has not been reached yet")
    return await asyncio.to_thread(store.tokens)


async def renew_certificates(node: "Node") -> None:
    """Notice that the files have been replaced."""
    tls = node.access.tls
    while tls is not None:
        await asyncio.sleep(READ_EVERY)
        await asyncio.to_thread(tls.refresh)
