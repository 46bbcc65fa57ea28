"""Somebody who uses etcd over a transport, and somebody who is not let in."""

import time
from typing import Any

import pytest

from luigi_ha.ha.errors import HaError
from luigi_ha.ha.etcd.config import EtcdConfig
from luigi_ha.ha.etcd.opening import etcd_transport
from luigi_ha.ha.etcd.transport import Put
from tests.support.patience import allowed


async def used(config: EtcdConfig, via: str, prefix: str = "/ours/") -> None:
    """Everything an elector does, twice."""
    transport = etcd_transport(config, via)
    try:
        for number in range(2):
            await transport.grant(100 + number, 5, 2.0)
            outcome = await transport.txn([], [Put(f"{prefix}{number}", "v", 100 + number)], 2.0)
            assert await transport.keep_alive(100 + number, 2.0) == 5
            assert f"{prefix}{number}" in (await transport.read(prefix, 2.0)).items
            stream = await transport.stream(prefix, outcome.header.revision, 2.0)
            assert await stream.next(2.0) is not None
            await stream.close()
        for number in range(2):
            await transport.revoke(100 + number, 2.0)
    finally:
        await transport.close()


async def refusal(config: EtcdConfig, via: str) -> HaError:
    transport: Any = etcd_transport(config, via)
    began = time.monotonic()
    try:
        with pytest.raises(HaError) as refused:
            await transport.read("/", 3.0)
        with pytest.raises(type(refused.value)):
            await transport.stream("/", 1, 3.0)
    finally:
        await transport.close()
    assert time.monotonic() - began < allowed(3.0, began)
    return refused.value
