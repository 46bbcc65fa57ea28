"""Connections to etcd over gRPC: one for the calls to each endpoint, and one for each watch.

A connection on which a call timed out is not used again: it may be black-holed, and gRPC would keep it for minutes.
"""

import asyncio
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from luigi_ha.ha.etcd.config import EtcdConfig
from luigi_ha.ha.etcd.grpc_library import library

GRACE = 5.0  # s for the calls still on a connection that is replaced; more than the budget of any
SYSTEM_AUTHORITIES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")

OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # a new channel is a new connection
    ("grpc.enable_http_proxy", 0),
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 500),  # its own default: up to two minutes
)


class Channels:
    """Belongs to one event loop. Fatal at once if the certificates cannot be used."""

    def __init__(self, config: EtcdConfig) -> None:
        self.tls = config.tls()  # refuses what cannot be read, and names the option
        self._credentials = _credentials(config) if self.tls is not None else None
        self._open: dict[str, Any] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def new(self, endpoint: str) -> Any:
        """A channel of the caller's own, who closes it."""
        target, aio = urlsplit(endpoint).netloc, library().aio
        if self._credentials is None:
            return aio.insecure_channel(target, options=OPTIONS)
        return aio.secure_channel(target, self._credentials, options=OPTIONS)

    def to(self, endpoint: str) -> Any:
        """The channel for calls to this endpoint."""
        if endpoint not in self._open:
            self._open[endpoint] = self.new(endpoint)
        return self._open[endpoint]

    def replace(self, endpoint: str, channel: Any) -> None:
        """The next call gets a new connection; those on this one may end by themselves, as they have deadlines."""
        if self._open.get(endpoint) is channel and channel is not None:
            del self._open[endpoint]
            task = asyncio.ensure_future(channel.close(GRACE))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        for task in list(self._closing):
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        channels, self._open = list(self._open.values()), {}
        for channel in channels:
            await channel.close()


def _credentials(config: EtcdConfig) -> Any:
    def read(path: Path | None) -> bytes | None:
        return path.read_bytes() if path is not None else None

    authorities = config.ca_file or _system_authorities()
    return library().grpc.ssl_channel_credentials(read(authorities), read(config.key_file), read(config.cert_file))


def _system_authorities() -> Path | None:
    """The system's file of authorities, as the gateway uses; None: those that gRPC brings along."""
    found = (ssl.get_default_verify_paths().cafile, *SYSTEM_AUTHORITIES)
    return next((Path(each) for each in found if each and Path(each).is_file()), None)
