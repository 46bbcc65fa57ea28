"""Being let in: users and tokens, certificates. Over each transport."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import pytest

from luigi_ha.ha.errors import Fatal
from luigi_ha.ha.etcd.config import EtcdConfig
from luigi_ha.ha.etcd.failures import TokenRefused
from luigi_ha.ha.etcd.gateway import Gateway
from luigi_ha.ha.etcd.grpc_library import library
from luigi_ha.ha.etcd.opening import etcd_transport
from luigi_ha.ha.etcd.transport import Put, Transport
from luigi_ha.ha.etcd.watch import follow
from tests.ha.visits import refusal, used
from tests.support.etcd import Member, etcd_cluster
from tests.support.patience import allowed

TRANSPORTS = ("gateway", "grpc")

# ---------------------------------------------------------------------------------------------------- user and password


@pytest.fixture(scope="module")
def guarded() -> Iterator[Member]:
    """One member with users, whose tokens expire after a second without use."""
    with etcd_cluster(1, options=["--auth-token-ttl=1"]) as cluster:
        member = cluster.members[0]
        for via in TRANSPORTS:
            asyncio.run(
                used(EtcdConfig((member.endpoint,), user="early", password="bird"), via)
            )  # before users are enabled
        member.ask("/v3/auth/role/add", name="ours")
        permission = {"permType": "READWRITE", "key": "L291cnMv", "range_end": "L291cnMw"}  # /ours/ to /ours0
        member.ask("/v3/auth/role/grant", name="ours", perm=permission)
        for user in ("root", "node"):
            member.ask("/v3/auth/user/add", name=user, password="secret")
        member.ask("/v3/auth/user/grant", user="root", role="root")
        member.ask("/v3/auth/user/grant", user="node", role="ours")
        member.ask("/v3/auth/enable", x=0)
        yield member


def test_an_expired_token_is_renewed_and_nobody_notices(guarded: Member) -> None:
    """patroni#2552, patroni#2457: token expiry became an outage."""

    async def play(via: str) -> None:
        config = EtcdConfig((guarded.endpoint,), user="node", password="secret", attempt_timeout=2.0)
        transport: Any = etcd_transport(config, via)
        await transport.read("/ours/", 2.0)
        before = transport.tokens.token
        await asyncio.sleep(2.2)
        with pytest.raises(TokenRefused):  # the fault bites
            await with_token(transport, guarded.endpoint, before)
        stream = await transport.stream("/ours/", 1, 2.0)
        await stream.close()
        await transport.read("/ours/", 2.0)
        assert transport.tokens.token != before
        transport.tokens.token = "long.gone"
        async with aclosing(follow(transport, "/ours/", 1.0, 1.0)) as steps:
            await anext(steps)
            later = asyncio.ensure_future(anext(steps))
            await asyncio.sleep(0.1)
            await transport.txn([], [Put("/ours/w", str(time.monotonic()))], 2.0)
            await later
        await transport.close()

    async def main() -> None:
        await asyncio.gather(*(play(via) for via in TRANSPORTS))

    asyncio.run(main())


async def with_token(transport: Any, endpoint: str, token: str) -> None:
    """A read with this token, whatever becomes of it."""
    if isinstance(transport, Gateway):
        await transport.post(endpoint, "/v3/kv/range", {"key": "L291cnMv"}, token)
    else:
        call = transport._unary("KVStub", "Range", library().rpc.RangeRequest(key=b"/ours/"))
        await transport.execute(endpoint, transport.channels.to(endpoint), call, token, 1.0)


async def watched(transport: Transport, prefix: str) -> None:
    stream = await transport.stream(prefix, 1, 5.0)
    try:  # confirmed first, refused next
        await stream.next(2.0)
    finally:
        await stream.close()


@pytest.mark.parametrize(
    ("user", "password", "prefix", "said"),
    [
        ("node", "wrong", "/ours/", "authentication failed"),
        ("nobody", "secret", "/ours/", "authentication failed"),
        (None, None, "/ours/", "user name is empty"),
        ("node", "secret", "/theirs/", "permission denied"),
    ],
)
def test_who_may_not_is_told_so_at_once(
    guarded: Member, user: str | None, password: str | None, prefix: str, said: str, via: str
) -> None:
    async def play() -> None:
        transport = etcd_transport(EtcdConfig((guarded.endpoint,), user=user, password=password), via)
        began = time.monotonic()
        with pytest.raises(Fatal, match=said) as refused:
            await transport.read(prefix, 5.0)
        assert time.monotonic() - began < allowed(2.0, began)
        assert "secret" not in str(refused.value)
        with pytest.raises(Fatal, match=said):
            await anext(follow(transport, prefix, 5.0, 1.0))
        with pytest.raises(Fatal, match=said):
            await watched(transport, prefix)
        await transport.close()

    asyncio.run(play())


def test_an_etcd_without_its_gateway_is_fatal_to_the_one_and_served_by_the_other() -> None:
    with etcd_cluster(1, options=["--enable-grpc-gateway=false"]) as cluster:
        config = EtcdConfig(tuple(cluster.endpoints))
        error = asyncio.run(refusal(config, "gateway"))
        asyncio.run(used(config, "grpc"))
    assert isinstance(error, Fatal)
    assert "no JSON gateway" in str(error)
