"""One server of each kind for the whole run, and a fresh database for each test."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from luigi_ha.appliance.store import Store, open_store
from tests.support.servers import MEMORY, MariadbServer, PostgresServer, mariadb_server, postgres_server

NUMBERS = count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server(parent=MEMORY) as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariadbServer]:
    with mariadb_server(parent=MEMORY) as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> str:
    """A fresh, empty database."""
    name = f"test{next(NUMBERS)}"
    postgres.sql(f"CREATE DATABASE {name}")
    return postgres.url(name)


@pytest.fixture
def mariadb_url(mariadb: MariadbServer) -> str:
    name = f"test{next(NUMBERS)}"
    mariadb.sql(f"CREATE DATABASE {name}")
    return mariadb.url(name)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/luigi.db"


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgres", marks=pytest.mark.postgresql),
        pytest.param("mariadb", marks=pytest.mark.mariadb),
    ]
)
def url(request: pytest.FixtureRequest) -> str:
    """An empty database of each kind in turn."""
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


@pytest.fixture
def make_store() -> Callable[..., Store]:
    """A store with the tables made and short deadlines."""

    def make(url: str, **options: object) -> Store:
        store = open_store(url, **{"call_timeout": 1.0, "connect_timeout": 1.0, **options})  # type: ignore[arg-type]
        store.upgrade()
        return store

    return make


@pytest.fixture
def store(url: str, make_store: Callable[..., Store]) -> Store:
    """A store on an empty database of each kind in turn."""
    return make_store(url)
