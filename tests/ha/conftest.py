"""One etcd cluster for the whole run; each test has a prefix of its own in it."""

from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from luigi_ha.ha.etcd.config import EtcdConfig
from luigi_ha.ha.lease import Timing
from tests.support.etcd import Cluster, etcd_cluster

NUMBERS = count(1)

# The least that etcd with 500 ms elections grants is 1 s; 2 s leave room for a busy machine.
TIMING = Timing(ttl=2.0, renew_every=0.3, request_timeout=0.9, margin=0.3, scheduling_delay=0.2)


@pytest.fixture(scope="session")
def _cluster() -> Iterator[Cluster]:
    with etcd_cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(_cluster: Cluster) -> Iterator[Cluster]:
    """Three members, all well at the start."""
    yield _cluster
    _cluster.heal()


@pytest.fixture
def config(cluster: Cluster) -> EtcdConfig:
    return EtcdConfig(tuple(cluster.endpoints), attempt_timeout=0.4, probe_every=0.3)


@pytest.fixture(params=["gateway", "grpc"])
def via(request: pytest.FixtureRequest) -> str:
    """The name of the transport: what follows runs over each."""
    return str(request.param)


@pytest.fixture
def prefix() -> str:
    return f"/test/{next(NUMBERS)}/"


@pytest.fixture(params=["memory", "filelock", "etcd"])
def play(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[[Callable[[Any], Coroutine[Any, Any, None]]], None]:
    """Plays a test in the world of each implementation of the elector port."""
    from tests.ha.worlds import EtcdWorld, FileWorld, play_for_real, play_in_memory

    if request.param == "memory":
        return play_in_memory
    if request.param == "filelock":
        return partial(play_for_real, lambda: FileWorld(tmp_path))
    config, prefix = request.getfixturevalue("config"), request.getfixturevalue("prefix")
    return partial(play_for_real, lambda: EtcdWorld(config, prefix))
