"""Tokens in the database: a name is given once, and what is revoked stays to be seen."""

import hashlib
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from luigi_ha.appliance.store import NameTaken, Store, open_store
from luigi_ha.appliance.store.tokens import TokenRecord
from tests.support.patience import patient

FIRST = TokenRecord("0a1b2c3d", "ci", "worker", "d" * 64, 1_800_000_000.25, "root")
SECOND = TokenRecord("ffffffff", "Ci", "operator", "e" * 64, 1_800_000_001.0, "me\0\ud800", 1_800_000_002.5)


def test_tokens_are_read_back_as_they_were_added(store: Store) -> None:
    assert store.tokens() == []
    store.add_token(SECOND)
    store.add_token(FIRST)  # another name: case counts
    assert store.tokens() == [FIRST, SECOND]


def test_a_revoked_token_says_since_when_and_keeps_its_name(store: Store) -> None:
    store.add_token(FIRST)
    assert store.revoke_token("00000000", 5.0) is None
    revoked = store.revoke_token(FIRST.token_id, 1_800_000_009.0)
    assert revoked is not None
    assert revoked.revoked_at == 1_800_000_009.0
    assert store.revoke_token(FIRST.token_id, 1_900_000_000.0) == revoked
    assert store.tokens() == [revoked]
    with pytest.raises(NameTaken, match="a token named ci"):
        store.add_token(TokenRecord("11111111", "ci", "viewer", "f" * 64, 1.0, "root"))
    assert store.tokens() == [revoked]


def test_of_two_who_take_a_name_at_once_one_gets_it(store: Store) -> None:
    taken: list[NameTaken] = []

    def take(number: int) -> None:
        try:
            store.add_token(TokenRecord(f"{number:08x}", "same", "viewer", "f" * 64, float(number), "root"))
        except NameTaken as error:
            taken.append(error)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patient(30))
    assert (len(taken), len(store.tokens())) == (3, 1)


@pytest.mark.postgresql
def test_whoever_comes_first_to_an_empty_database_makes_its_tables(postgres_url: str, tmp_path: Path) -> None:
    """`token create` beside nodes that start: each is there before the others have made the tables, in some run."""
    program = [sys.executable, "-m", "luigi_ha.appliance.cli"]
    at = ["--database", postgres_url]
    create = [*program, "token", "create", "--role", "worker", *at]
    commands = [[*create, f"t{n}", "--output", str(tmp_path / f"t{n}")] for n in range(3)]
    commands.append([*program, "db", "upgrade", *at])
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path) for command in commands]
    said = [each.communicate(timeout=patient(60))[1] for each in running]
    assert [each.returncode for each in running] == [0] * 4, said
    kept = {record.digest for record in open_store(postgres_url).tokens()}
    shown = {hashlib.sha256((tmp_path / f"t{n}").read_text().strip().encode()).hexdigest() for n in range(3)}
    assert kept == shown
