"""What the dispatcher passes around: a call, who waits for it, and how much of that one node takes on."""

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from luigi_ha.appliance.api.errors import BadRequest, Reply
from luigi_ha.appliance.api.ports import Caller

# Calls that may name thousands of tasks: with their dependencies they are as large as the graph they describe.
ADDS_TASKS = frozenset({"add_task", "rest_put_task", "rest_put_tasks"})


@dataclass(frozen=True, slots=True)
class Limits:
    """What one node takes on."""

    budget: float = 9.0  # s from arrival to reply; must stay below luigi's rpc timeout (10 s)
    max_waiting: int = 20_000  # calls parked or waiting for their commit
    max_waiting_bytes: int = 256 << 20  # their arguments, as they arrived
    max_body: int = 4 << 20  # bytes of one request's body
    max_task_body: int = 32 << 20  # of one that adds tasks

    def body_of(self, method: str) -> int:
        """Bytes that the body of this call may have."""
        return max(self.max_body, self.max_task_body) if method in ADDS_TASKS else self.max_body


class Terms(NamedTuple):
    """On what terms a call came: what the head of its request says besides the method."""

    key: str | None = None  # its Idempotency-Key
    left: int | None = None  # another node passed it on, with so many seconds left of its budget
    authorization: bytes = b""  # as it arrived: who passes it on sends that along
    actor: str | None = None  # who that proved to be


PLAIN = Terms()
MAX_KEY = 200  # characters of an Idempotency-Key


class Call(NamedTuple):
    """One call. `method` is empty for who only waits for a turn, or for a commit."""

    method: str
    data: str  # the arguments, JSON text
    caller: Caller
    arrived: float  # monotonic
    terms: Terms = PLAIN


class Waiting(NamedTuple):
    """One call that was executed, until the journal has committed `position`."""

    position: int
    call: Call
    reply: Reply


class Admit(Protocol):
    """Says who may call: asked by both lanes, before anything of a request but its head is looked at."""

    def __call__(self, method: str, raw_path: str, authorization: bytes) -> str | None:
        """Who calls, if that is known; a Refusal if they may not. `method` is HTTP's; the path is without the query."""
        ...


def everybody(method: str, raw_path: str, authorization: bytes) -> str | None:  # noqa: ARG001
    """Whoever reaches this node may do anything."""
    return None


class Relay(Protocol):
    """Passes calls on to the node that leads."""

    def carry(self, call: Call) -> None:
        """See to it that the call is answered: by the leader's reply, or by giving it back to the dispatcher."""
        ...


class Mirror(Protocol):
    """How far a node that does not lead has read the leader's log."""

    @property
    def seq(self) -> int:
        """The number of the last change read."""
        ...

    @property
    def age(self) -> float:
        """Seconds since what it shows was certainly the present."""
        ...

    async def catch_up_with(self, moment: float, longest: float) -> bool:
        """Wait until it shows all that was acknowledged before this moment (monotonic); False: not within `longest`
        seconds."""
        ...


class FutureCaller:
    """A caller that waits in a coroutine of its own."""

    __slots__ = ("gone", "reply")

    def __init__(self, gone: Callable[[], bool]) -> None:
        self.gone = gone
        self.reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    def answer(self, reply: Reply) -> None:
        if not self.reply.done():
            self.reply.set_result(reply)


def checked_key(key: str | None) -> str | None:
    """The Idempotency-Key of a request, if it has one; BadRequest."""
    if key is not None and not (0 < len(key) <= MAX_KEY and key.isascii() and key.isprintable()):
        raise BadRequest(
            f"{len(key)} characters, or some that cannot be printed" if key else "is empty",
            where="Idempotency-Key",
            expected=f"1 to {MAX_KEY} printable ASCII characters, the same for each repetition of one call",
        )
    return key


def signature_error(
    method: str, function: Callable[..., Any], arguments: dict[str, Any], error: BaseException
) -> BadRequest | None:
    """What is wrong with the arguments, if `error` is the TypeError of the call itself; else None."""
    if not isinstance(error, TypeError):
        return None
    signature = inspect.signature(function)
    takes = ", ".join(str(parameter) for parameter in signature.parameters.values())
    try:
        signature.bind(**arguments)
    except TypeError as mismatch:
        return BadRequest(str(mismatch), where=f"arguments of {method}", expected=f"({takes})")
    if error.__traceback__ is None or error.__traceback__.tb_next is None:
        # Raised by the call, not inside of it: an argument of a name that calls cannot take, such as "self".
        return BadRequest(str(error), where=f"arguments of {method}", expected=f"({takes})")
    return None
