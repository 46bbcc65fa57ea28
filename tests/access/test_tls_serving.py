"""A node whose port speaks TLS: Luigi's calls, REST, a standby that passes calls on, commands, renewal."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from luigi_ha.appliance.api import ApiServer, Dispatcher, Gate, Limits, Listen, Metrics
from luigi_ha.appliance.api.access import Guard
from luigi_ha.appliance.api.access_roles import Role
from luigi_ha.appliance.api.access_tokens import TokenTable
from luigi_ha.appliance.api.relay import HttpRelay
from luigi_ha.appliance.clock import SchedulerClock
from luigi_ha.appliance.node.operations import operations
from luigi_ha.appliance.node.peers import Peers
from luigi_ha.appliance.tls import Tls
from tests.access.certificates import HERE, files, replace, trusting
from tests.access.test_tls import logged
from tests.access.tokens import Made, database, made
from tests.api.serving import Reply, Served, eventually, form, read_reply, run, serving, whole
from tests.cli.test_commands import luigi_ha
from tests.ha.authority import Authority
from tests.support.etcd import Tls as Pair

VIEWER, WORKER, OPERATOR = made(Role.VIEWER, "eyes"), made(Role.WORKER, "etl"), made(Role.OPERATOR, "boss")


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "theirs")


def options(pair: Pair, **more: Any) -> dict[str, Any]:
    return {
        "auth": "on",
        "tls_certificate": str(pair.certificate),
        "tls_key": str(pair.key),
        "tls_ca": str(pair.authority),
        **more,
    }


class Client:
    """One connection, kept."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def call(self, method: str, arguments: Any, headers: dict[str, str], times: int = 1) -> Reply:
        self.writer.write(whole("POST", f"/api/{method}", form(arguments), headers) * times)
        return [await read_reply(self.reader) for _ in range(times)][-1]

    async def get(self, path: str, headers: dict[str, str]) -> Reply:
        self.writer.write(whole("GET", path, None, headers))
        return await read_reply(self.reader, "GET")


@asynccontextmanager
async def client(port: int, context: ssl.SSLContext) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


@asynccontextmanager
async def standby(tls: Tls, leader: Served, *tokens: Made) -> AsyncIterator[tuple[int, HttpRelay]]:
    """What of a standby passes calls on: its port, its tokens, its dispatcher and its relay."""
    dispatcher = Dispatcher(Gate("another node leads"), Limits(budget=2.0), Metrics(), SchedulerClock())
    relay = HttpRelay(2.0, dispatcher.take_back, tls)
    table = TokenTable()
    table.replace(token.kept for token in tokens)
    server = ApiServer(
        Listen("127.0.0.1", 0, tls=tls), dispatcher, operations(leader.node), leader.node.options.cors, Guard(table)
    )
    await server.start()
    relay.retarget(f"https://127.0.0.1:{leader.port}")
    dispatcher.pass_on(relay)
    try:
        yield int(server.addresses[0].rpartition(":")[2]), relay
    finally:
        dispatcher.pass_on(None)
        await relay.close()
        await server.stop(0.1)


def test_calls_pages_and_rest_over_tls(ours: Authority, tmp_path: Path) -> None:
    async def scenario() -> None:
        database(tmp_path, VIEWER, WORKER)
        async with serving(tmp_path, **options(ours.issue("server", HERE))) as served:
            assert served.node.api.addresses[0].startswith("https://127.0.0.1:")
            async with client(served.port, trusting(ours)) as here:
                task = {"task_id": "A_1", "worker": "w", "family": "A"}
                assert (await here.call("add_task", task, WORKER.headers)).status == 200
                assert (await here.call("ping", {"worker": "w"}, WORKER.headers, times=50)).status == 200
                large = {**task, "task_id": "A_2", "expl": "x" * 3_000_000}  # moves over to the other lane
                assert (await here.call("add_task", large, WORKER.headers)).status == 200
                assert (await here.get("/api/task/A_1", VIEWER.headers)).json["status"] == "PENDING"
                page = await here.get("/static/visualiser/index.html", VIEWER.basic_headers)
                assert (page.status, b"<html" in page.body) == (200, True)
                assert (await here.get("/api/cluster", {})).status == 401
            async with client(served.port, trusting(ours)) as idle:
                await served.node.api.become_quiet(1.0)
                assert await idle.reader.read() == b""
                served.node.api.resume()

    run(scenario())


def test_a_standby_passes_a_call_on_over_tls_in_its_callers_name(ours: Authority, tmp_path: Path) -> None:
    async def scenario() -> None:
        store = database(tmp_path, VIEWER, WORKER)
        pair = ours.issue("node", HERE)
        demands = {"tls_client_ca": str(ours.certificate), "tls_client_required": True}
        async with (
            serving(tmp_path, **options(pair, **demands)) as leader,
            standby(Tls(files(pair, ours)), leader, VIEWER, WORKER, OPERATOR) as (port, relay),
            client(port, trusting(ours)) as here,
        ):
            task = {"task_id": "A_1", "worker": "w", "family": "A"}
            assert (await here.call("add_task", task, WORKER.headers)).status == 200
            assert relay.relayed == 1
            assert [entry.actor for entry in store.history("A_1")] == ["etl"]
            # The standby's copy of the tokens is older than the leader's: the leader has the last word.
            for headers in (OPERATOR.headers, {**OPERATOR.headers, "Origin": "https://127.0.0.1"}):
                reply = await here.call("pause", {}, headers)
                assert (reply.status, reply.error["what"]) == (401, "unknown token")
                assert reply.headers["www-authenticate"].startswith("Basic")
            assert (await here.call("pause", {}, WORKER.headers)).status == 403

            peers = Peers("me", Tls(files(pair)))
            peers.update({"me": {}, "it": {"address": f"https://127.0.0.1:{leader.port}"}})
            health = (await peers.health())["it"]
            assert health is not None
            assert health["leading"]

    run(scenario())


@pytest.mark.parametrize("wrong", ["authority", "name", "expired"])
def test_a_standby_does_not_talk_to_a_leader_it_cannot_verify(
    ours: Authority, theirs: Authority, tmp_path: Path, wrong: str
) -> None:
    async def scenario() -> None:
        database(tmp_path, WORKER)
        pair = ours.issue("leader", "DNS:elsewhere" if wrong == "name" else HERE, expired=wrong == "expired")
        own = (theirs if wrong == "authority" else ours).issue("standby", HERE)
        with logged() as lines:
            async with (
                serving(tmp_path, **options(pair)) as leader,
                standby(Tls(files(own)), leader, WORKER) as (port, _relay),
                client(port, trusting(theirs if wrong == "authority" else ours)) as here,
            ):
                task = {"task_id": "A_1", "worker": "w", "family": "A"}
                assert (await here.call("add_task", task, WORKER.headers)).status == 503
                assert not leader.node.dispatcher.executor.engine.counts()  # type: ignore[union-attr]
        said = {"authority": "unable to get local issuer", "name": "IP address mismatch", "expired": "has expired"}
        assert lines.getvalue().count("leader_not_trusted") == 1
        assert said[wrong] in lines.getvalue()

    run(scenario())


def test_a_node_uses_renewed_certificates_without_a_restart(
    ours: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luigi_ha.appliance.node.access.READ_EVERY", 0.05)

    async def scenario() -> None:
        database(tmp_path, VIEWER)
        pair = ours.issue("server", HERE)
        async with serving(tmp_path, **options(pair)) as served:
            tls = served.node.access.tls
            assert tls is not None
            async with client(served.port, trusting(ours)) as before:
                first = tls.server
                replace(pair, ours.issue("renewed", HERE))
                await eventually(lambda: tls.server is not first)
                async with client(served.port, trusting(ours)) as after:
                    serials = [each.writer.get_extra_info("peercert")["serialNumber"] for each in (before, after)]
                    assert serials[0] != serials[1]
                    assert (await after.get("/api/is_paused", VIEWER.headers)).status == 200
                assert (await before.get("/api/is_paused", VIEWER.headers)).status == 200

    run(scenario())


def test_commands_verify_the_scheduler_and_show_their_token(ours: Authority, theirs: Authority, tmp_path: Path) -> None:
    async def scenario() -> None:
        database(tmp_path, VIEWER, WORKER)
        server, mine = ours.issue("server", HERE), ours.issue("me")
        token = tmp_path / "token"
        token.write_text(VIEWER.text + "\n")
        demands = {"tls_client_ca": str(ours.certificate), "tls_client_required": True}
        async with serving(tmp_path, **options(server, **demands)) as served:
            url = ["--url", f"https://127.0.0.1:{served.port}"]
            ca, shown = ["--tls-ca", str(ours.certificate)], ["--tls-certificate", str(mine.certificate)]
            shown += ["--tls-key", str(mine.key)]
            with_token = ["--token-file", str(token)]

            async def command(*arguments: str, **environment: str) -> tuple[int, str]:
                done = await asyncio.to_thread(luigi_ha, *arguments, environment=environment)
                assert VIEWER.text not in done.stdout + done.stderr
                return done.returncode, done.stdout + done.stderr

            code, said = await command("status", *url, *ca, *shown, *with_token)
            assert (code, "leader:" in said) == (0, True), said
            code, said = await command("status", *url, *ca, *shown, LUIGI_HA_TOKEN=VIEWER.text)
            assert code == 0, said
            for arguments, environment, number, words in (
                ([*url, *ca, *shown], {}, 1, "no token"),
                ([*url, *ca, *shown], {"LUIGI_HA_TOKEN": "lha_" + "0" * 8}, 1, "not a token of this scheduler"),
                ([*url, *ca, *shown], {"LUIGI_HA_TOKEN": "two words"}, 2, "not a token"),
                ([*url, *shown, *with_token, "--tls-ca", str(theirs.certificate)], {}, 3, "not trusted"),
                ([*url, *shown, *with_token], {}, 3, "--tls-ca"),
                ([*url, *ca, *with_token], {}, 3, "no scheduler answers"),
                ([*url, "--tls-ca", "gone.pem"], {}, 2, "--tls-ca: gone.pem cannot be read"),
                ([*url, *ca, "--token-file", "gone"], {}, 2, "--token-file gone cannot be read"),
                (["--url", f"https://me:{VIEWER.text}@127.0.0.1:1"], {}, 2, "--token-file"),
                (["--url", f"http://127.0.0.1:{served.port}"], {}, 1, "https:// instead of http://"),
            ):
                code, said = await command("status", *arguments, **environment)
                assert code == number, (arguments, said)
                assert words in said
            code, said = await command("prune", *url, *ca, *shown, *with_token)
            assert (code, "token eyes is a viewer" in said) == (1, True)

    run(scenario())


def test_files_that_cannot_be_used_end_the_start_with_one_line(ours: Authority, tmp_path: Path) -> None:
    pair = ours.issue("server", HERE)
    pair.key.write_text("")
    arguments = ["serve", "--check", "--database", f"sqlite:///{tmp_path}/x.db"]
    environment = {"LUIGI_HA_TLS_CERTIFICATE": str(pair.certificate), "LUIGI_HA_TLS_KEY": str(pair.key)}
    done = luigi_ha(*arguments, environment=environment)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "tls_certificate" in done.stderr
