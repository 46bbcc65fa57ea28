"""Who is let in, who is not, and what it costs."""

import base64
import io
import logging
import time

import pytest

from luigi_ha.appliance import log
from luigi_ha.appliance.api.access import Guard
from luigi_ha.appliance.api.access_roles import GIVEN, METHOD_ROLES, Role, needed, needed_by_method
from luigi_ha.appliance.api.access_tokens import LONGEST, Credential, TokenTable, mint, presented, token_from
from luigi_ha.appliance.api.errors import Forbidden, Refusal, Unauthorized, Unavailable
from luigi_ha.appliance.engine import RPC_METHODS
from luigi_ha.appliance.store.tokens import TokenRecord
from tests.access.tokens import Made, made

NOW = 1_800_000_000.0


class Door:
    """A guard with tokens and a clock of its own."""

    def __init__(self, *tokens: Made) -> None:
        self.table = TokenTable()
        self.table.replace(token.kept for token in tokens)
        self.now = NOW
        self.guard = Guard(self.table, lambda: self.now)

    def refusal(self, shown: bytes, needs: Role = Role.VIEWER) -> Refusal:
        with pytest.raises(Refusal) as caught:
            self.guard.admit(Credential(shown), needs)
        return caught.value


# -- roles -------------------------------------------------------------------------------------------------------


def test_every_call_of_the_scheduler_has_a_role() -> None:
    assert set(RPC_METHODS) <= set(METHOD_ROLES)


def test_a_call_that_nobody_thought_of_is_for_operators() -> None:
    assert needed_by_method("drop_everything") is Role.OPERATOR
    assert needed("POST", "/api/drop_everything") is Role.OPERATOR


@pytest.mark.parametrize(
    ("request_line", "role"),
    [
        ("GET /health", Role.NOBODY),
        ("HEAD /leader", Role.NOBODY),
        ("GET /ready", Role.NOBODY),
        ("HEAD /", Role.NOBODY),
        ("GET /", Role.VIEWER),
        ("GET /static/visualiser/index.html", Role.VIEWER),
        ("GET /metrics", Role.VIEWER),
        ("POST /health", Role.OPERATOR),
        ("OPTIONS /api/pause", Role.NOBODY),
        ("GET /api/openapi.json", Role.NOBODY),
        ("GET /api/docs", Role.NOBODY),
        ("PUT /api/docs", Role.OPERATOR),
        ("GET /api/task_list", Role.VIEWER),
        ("POST /api/task_list", Role.VIEWER),
        ("GET /api/add_task", Role.WORKER),
        ("GET /api/pause", Role.OPERATOR),
        ("GET /api/p%61use", Role.OPERATOR),
        ("GET /%61pi/pause", Role.OPERATOR),
        ("POST /api/prune", Role.OPERATOR),
        ("GET /api/cluster", Role.VIEWER),
        ("GET /api/task", Role.VIEWER),
        ("POST /api/task", Role.WORKER),
        ("POST /api/tasks", Role.WORKER),
        ("POST /api/heartbeat", Role.WORKER),
        ("GET /api/task/a%2Fb", Role.VIEWER),
        ("PUT /api/task/a%2Fb", Role.WORKER),
        ("PUT /api/task/a/log", Role.WORKER),
        ("GET /api/task/a/log", Role.VIEWER),
        ("PUT /api/task/a/done", Role.OPERATOR),
        ("POST /api/task/a/cancel", Role.OPERATOR),
        ("POST /api/task/a/retry", Role.OPERATOR),
        ("GET /api/task/a/why", Role.VIEWER),
        ("DELETE /api/task/a", Role.OPERATOR),
        ("POST /api/worker/drain", Role.WORKER),
        ("POST /api/worker/undrain", Role.WORKER),
        ("GET /api/worker/w", Role.VIEWER),
        ("PUT /api/resource/gpu", Role.OPERATOR),
        ("GET /api/resource", Role.VIEWER),
        ("PUT /api/scheduler", Role.OPERATOR),
        ("GET /api/queue", Role.VIEWER),
        ("GET /api/rest_cancel", Role.OPERATOR),
        ("POST /api/rest_take", Role.WORKER),
        ("GET /nothing/here", Role.VIEWER),
        ("TRACE /", Role.OPERATOR),
    ],
)
def test_what_each_request_needs(request_line: str, role: Role) -> None:
    method, path = request_line.split()
    assert needed(method, path) is role


# -- who it is ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", GIVEN)
def test_a_token_opens_what_its_role_and_the_lower_ones_need(role: Role) -> None:
    token = made(role)
    door = Door(token)
    for needs in (Role.NOBODY, *GIVEN):
        for shown in (token.bearer, token.basic):
            if needs <= role:
                grant = door.guard.admit(shown, needs)
                assert needs is Role.NOBODY or (grant is not None and grant.name == role.shown)
            else:
                refusal = door.refusal(shown, needs)
                assert isinstance(refusal, Forbidden)
                assert f"token {role.shown} is a {role.shown}" in refusal.what
                assert needs.shown in refusal.expected


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        (b"", "no token"),
        (b"Bearer", "no token"),
        (b"Bearer  ", "no token"),
        (b"Basic " + base64.b64encode(b"user:"), "no token"),
        (b"Basic " + base64.b64encode(b"user"), "no token"),
        (b"Basic !!!", "not base64"),
        (b"Basic " + base64.b64encode(b"user:hunter2"), "begin with lha_"),
        (b"Bearer lha_00000000_short", "begin with lha_"),
        (b"Bearer lha_0a1b2c3d_" + b"0" * 48, "unknown token"),
        (b"Digest username=x", "neither Bearer nor Basic"),
        (b"\xff\xfe\x00", "neither Bearer nor Basic"),
        (b"Bearer " + b"x" * LONGEST, "longer than"),
    ],
)
def test_who_is_not_known_is_told_why(shown: bytes, said: str) -> None:
    refusal = Door(made(Role.OPERATOR)).refusal(shown)
    assert isinstance(refusal, Unauthorized)
    assert said in refusal.what


def test_the_id_of_a_token_with_another_secret_is_unknown_even_when_that_one_is_revoked() -> None:
    token = made(Role.VIEWER, revoked_at=NOW - 1)
    door = Door(token)
    wrong = Credential(token.bearer[:-1] + (b"0" if token.bearer[-1:] != b"0" else b"1"))
    assert "unknown token" in door.refusal(wrong).what  # its state is for its owner
    assert "revoked" in door.refusal(token.bearer).what


def test_a_remembered_verdict_ends_with_the_revocation() -> None:
    token = made(Role.WORKER)
    door = Door(token)
    assert door.guard.admit(token.bearer, Role.WORKER) is not None
    door.table.replace([made(Role.WORKER, revoked_at=NOW).kept])
    assert "unknown" in door.refusal(token.bearer).what
    door.table.replace([Made(token.text, token.kept).kept])
    assert door.guard.admit(token.bearer, Role.WORKER) is not None


def test_a_remembered_verdict_ends_with_the_tokens_time() -> None:
    token = made(Role.WORKER, "ci", expires_at=NOW + 60)
    door = Door(token)
    assert door.guard.admit(token.bearer, Role.WORKER) is not None
    door.now += 59.9
    assert door.guard.admit(token.bearer, Role.WORKER) is not None
    door.now += 0.1
    assert "ci has expired" in door.refusal(token.bearer).what
    door.now -= 1  # a clock that was set back: the token is good again, and nothing is remembered wrongly
    assert door.guard.admit(token.bearer, Role.WORKER) is not None


def test_before_the_tokens_have_been_read_nobody_is_called_unknown() -> None:
    guard = Guard(TokenTable())
    assert not guard.knows
    with pytest.raises(Unavailable):
        guard.admit(made(Role.VIEWER).bearer, Role.VIEWER)
    assert guard.admit(Credential(), Role.NOBODY) is None


def test_the_same_tokens_read_again_are_no_change() -> None:
    table = TokenTable()
    token = made(Role.VIEWER)
    assert table.replace([])
    assert not table.replace([])
    assert table.replace([token.kept])
    assert not table.replace([token.kept])
    assert table.generation == 2


def test_a_role_of_a_newer_version_opens_nothing() -> None:
    new = mint()
    assert token_from(TokenRecord(new.token_id, "n", "archivist", new.digest, 0.0, "root")) is None
    token = token_from(TokenRecord(new.token_id, "n", "worker", new.digest, 0.0, "root"))
    assert token is not None
    assert token.role is Role.WORKER


def test_what_is_remembered_is_bounded() -> None:
    token = made(Role.VIEWER)
    door = Door(token)
    for number in range(5000):  # any user name: each a header of its own
        pair = f"u{number}:{token.text}".encode()
        assert door.guard.admit(Credential(b"Basic " + base64.b64encode(pair)), Role.VIEWER) is not None
    assert len(door.guard._granted) <= 4096


# -- what it costs, and what it does not say ---------------------------------------------------------------------


def test_a_remembered_verdict_costs_less_than_two_microseconds() -> None:
    token = made(Role.WORKER, expires_at=time.time() + 60)
    table = TokenTable()
    table.replace([token.kept])
    guard = Guard(table)
    shown, asked = token.basic, ("POST", "/api/add_task")

    def once() -> float:
        began = time.process_time()
        for _ in range(10_000):
            guard(*asked, shown)
        return (time.process_time() - began) / 10_000

    assert min(once() for _ in range(20)) < 2e-6


def test_a_secret_does_not_show_in_refusals_logs_and_reprs() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(log.KeyValue())
    logger = logging.getLogger(log.ROOT)
    logger.addHandler(handler)
    try:
        revoked, viewer = made(Role.WORKER, "old", revoked_at=1.0), made(Role.VIEWER, "eyes")
        door = Door(revoked, viewer)
        unknown = Credential(b"Basic " + base64.b64encode(b"me:hunter2"))
        said = [door.refusal(revoked.bearer), door.refusal(unknown), door.refusal(viewer.basic, Role.OPERATOR)]
    finally:
        logger.removeHandler(handler)
    shown = " ".join([stream.getvalue(), *(str(each) + each.reply().body.decode() for each in said)])
    shown += repr((revoked.bearer, viewer.basic, presented(Credential()))) + f"{unknown}"
    assert "why=revoked token=old" in shown
    assert "why=role token=eyes needs=operator" in shown
    for secret in (
        revoked.text,
        viewer.text,
        "hunter2",
        base64.b64encode(b"me:hunter2").decode(),
        viewer.basic[6:].decode(),
    ):
        assert secret not in shown
