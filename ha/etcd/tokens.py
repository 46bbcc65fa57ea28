"""The auth token: got when it is needed, forgotten when it is refused, got again (patroni#2552, patroni#2457)."""

import asyncio
from collections.abc import Awaitable, Callable

from luigi_ha.ha.etcd.config import EtcdConfig
from luigi_ha.ha.etcd.failures import AuthNotEnabled
from luigi_ha.ha.log import Events

_log = Events("etcd")


class Tokens:
    """One token for all endpoints. `authenticate(endpoint, user, password)` gets one, or raises."""

    def __init__(self, config: EtcdConfig, authenticate: Callable[[str, str, str], Awaitable[str]]) -> None:
        self._user = config.user
        self._password = config.password or ""
        self._authenticate = authenticate
        self._authenticating = asyncio.Lock()
        self.token: str | None = None  # empty: the cluster has no users

    async def get(self, endpoint: str) -> str | None:
        """The auth token; None without users. One authentication at a time."""
        if self._user is None or self.token is not None:
            return self.token or None
        async with self._authenticating:
            if self.token is None:
                try:
                    self.token = await self._authenticate(endpoint, self._user, self._password)
                except AuthNotEnabled:
                    _log.warning("auth_not_enabled", user=self._user)
                    self.token = ""
            return self.token or None

    def forget(self, token: str | None) -> None:
        """This token was refused; the next use authenticates."""
        if (self.token or None) == token:
            self.token = None
