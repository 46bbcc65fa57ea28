"""Where a drill happens: schedulers that can be killed, a host for workers, and the database behind it all.

luigi_ha.appliance.drill.pair     two nodes on this machine, on SQLite; needs no root and nothing to install
luigi_ha.appliance.drill.cluster  a real cluster in a lab; clients are on its client host and know the virtual IP alone
luigi_ha.appliance.drill.hosts    the operator's own cluster: nothing is killed there
"""

import enum
import http.client
import json
import shutil
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

LEADS_WITHIN = 180.0  # s; as a rule some seconds, but a busy machine may start programs for a minute
ASKING = 15.0  # s for one question
PATIENCE = 120.0  # s for a question of the drill itself
BIN = Path(sys.executable).parent


if TYPE_CHECKING:
    from luigi_ha.appliance.drill.fleet import Daemon


class DrillError(Exception):
    """The drill could not go on; it says nothing about what is drilled."""


class TooLong(DrillError):  # noqa: N818
    """What is drilled did not do something in time, though nothing kept it from doing so."""


class Strike(NamedTuple):
    """A fault. `over`: when another scheduler led; epochs before and after it."""

    fault: str
    host: str
    at: float  # CLOCK_BOOTTIME, s
    over: float
    before: int
    after: int
    proof: str


@dataclass(frozen=True)
class Answer:
    """Of one HTTP question."""

    status: int
    value: Any


class Part(enum.Enum):
    """Of a node."""

    SCHEDULER = "scheduler"
    KEEPER = "keeper"
    NODE = "node"  # both


class Place(Protocol):
    """See the module."""

    url: str
    nodes: tuple[str, ...]

    def popen(self, argv: Sequence[str], env: Mapping[str, str], directory: Path, log: Path) -> "subprocess.Popen[Any]":
        """A program on the workers' host; it dies with us."""

    def once(self, method: str, path: str, body: Any = None, timeout: float = ASKING) -> Answer:
        """Ask the schedulers, from the workers' host. OSError if nobody answers."""

    def leading(self) -> tuple[str, int] | None:
        """Who leads, and its epoch; None: nobody."""

    def kill_leader(self) -> Strike:
        """SIGKILL; returns when another one leads."""

    def outage(self) -> Strike:
        """SIGKILL to all schedulers; none is started until `restore`. `over`: when all were dead."""

    def restore(self) -> int:
        """End an outage; returns the epoch of who leads then."""

    def wait_until_ready(self) -> None:
        """Until all is well."""

    def rows(self, query: str) -> list[list[str]]:
        """What the database says; empty text for NULL."""


class Breakable(Place, Protocol):
    """A place whose nodes can be broken one by one."""

    kind: str  # what `drill run --on` calls it
    workers: "Sequence[Daemon]"  # of this round; none where stock luigi runs the pipeline

    @property
    def lease(self) -> float | None:
        """s for which a leader that cannot renew may have the cluster's address; None: there is no such address."""

    @property
    def named(self) -> list[str]:
        """The options by which a command on the workers' host finds the database."""

    def health(self, node: str) -> Mapping[str, Any] | None:
        """What the node says of itself, asked directly; None: it does not answer."""

    def log_of(self, node: str) -> Path:
        """The file in which its processes say what they do."""

    def pids(self, node: str, part: Part) -> list[int]:
        """Its processes, as this machine numbers them."""

    def stop(self, node: str) -> str:
        """End it in order; the proof."""

    def keep_down(self, node: str) -> None:
        """Of a node that is gone: let nobody start it before `start`."""

    def start(self, node: str) -> None:
        """Start it again, if it does not run."""

    def switch_to(self, node: str) -> str:
        """By the product's own command; what it says."""

    def degraded(self) -> list[str]:
        """What is less than it should be. OSError if nobody answers."""

    def heal(self) -> None:
        """Mend everything, whatever was broken. DrillError with what could not be."""

    def left(self) -> list[str]:
        """What is still broken, or stands about."""

    def watching(self, directory: Path) -> AbstractContextManager[list[str]]:
        """Look from outside at what this kind of place has besides nodes, and write it to files of the round. What it
        gives says why it could not be looked at any more; it is whole at the end."""

    def url_of(self, node: str) -> str | None:
        """The node's own address; None: it has none that clients reach."""


def over_http(
    url: str,
    method: str,
    body: Any,
    timeout: float,
    headers: Mapping[str, str] | None = None,
    context: ssl.SSLContext | None = None,
) -> Answer:
    """One question, asked directly: no proxy, and nothing is followed elsewhere. OSError if nobody answers."""
    data = None if body is None else json.dumps(body).encode()
    more = {"Content-Type": "application/json", "Connection": "close", **(headers or {})}
    request = urllib.request.Request(url, data, more, method=method)
    secure = [urllib.request.HTTPSHandler(context=context)] if context is not None else []
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Elsewhere, *secure)
    try:
        with opener.open(request, timeout=timeout) as reply:
            return Answer(reply.status, parsed(reply.read()))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, parsed(error.read()))
    except http.client.HTTPException as error:  # a reply that was cut off
        raise ConnectionError(f"{url}: {error!r}") from None


class _Elsewhere(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer."""

    def redirect_request(self, *_words: Any) -> None:
        return None


def parsed(text: bytes) -> Any:
    """JSON, or the text itself if it is none."""
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text.decode(errors="replace")


def led_by(said: Any) -> tuple[str, int] | None:
    """Who leads by what `/api/cluster` says, and its epoch."""
    return (said["leader"], said["epoch"]) if isinstance(said, dict) and said.get("leader") else None


def degraded(place: Place) -> list[str]:
    """What is less than it should be, by the nodes' own words. OSError if nobody answers."""
    said = place.once("GET", "/api/cluster").value
    return [str(each) for each in said["degraded"]] if isinstance(said, dict) and "degraded" in said else [str(said)]


def started(argv: Sequence[str], env: Mapping[str, str], directory: Path, log: Path) -> "subprocess.Popen[Any]":
    """A program on this machine, with this environment; it dies with us, where there is what does that."""
    with log.open("ab") as out:
        return subprocess.Popen(with_us(argv), env=env, cwd=directory, stdin=subprocess.DEVNULL, stdout=out, stderr=out)


def with_us(argv: Sequence[str]) -> list[str]:
    """The command, so that it dies with us, where there is what does that."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig=KILL", "--", *argv] if setpriv else list(argv)


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def ask(place: Place, method: str, path: str, body: Any = None) -> Any:
    """A question that may be repeated, with patience; what a good answer holds."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            answer = place.once(method, path, body)
        except OSError as error:
            said = repr(error)
        else:
            if answer.status < 300:
                return answer.value
            said = f"{answer.status} {answer.value}"
            if answer.status < 500:
                raise DrillError(f"{method} {path}: {said}")
        if time.monotonic() > until:
            raise DrillError(f"{method} {path}: {said}")
        time.sleep(0.2)


def await_leader(place: Place, after: int, seconds: float = LEADS_WITHIN) -> tuple[str, int]:
    """Until somebody leads with a later epoch."""
    until = time.monotonic() + seconds
    while True:
        leader = place.leading()
        if leader is not None and leader[1] > after:
            return leader
        if time.monotonic() > until:
            raise DrillError(f"nobody leads after epoch {after}, for {seconds:g} s")
        time.sleep(0.02)


def silent(place: Place) -> str:
    """Wait until nobody answers; the proof. What has lost its keeper ends a moment later."""
    until = time.monotonic() + 30
    while True:
        try:
            answer = place.once("GET", "/health", timeout=1.5)
        except OSError as error:
            return f"nobody answers: {type(error).__name__}"
        if time.monotonic() > until:
            raise DrillError(f"somebody still answers: {answer}")
        time.sleep(0.05)
