"""Decoding large texts by and by: a generator that pauses every few milliseconds, so that others are served between.

The decoders of the standard library are in C and hold the interpreter until they are done: 64 MB are half a second in
which nothing else happens, on whatever thread. So a large text is decoded in pieces, with the same result, and refused
as soon as it has more elements than any call takes.
"""

import asyncio
import json
import re
from collections.abc import Callable, Generator
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from luigi_ha.appliance.api.errors import BadRequest
from luigi_ha.appliance.api.wire import MAX_DEPTH, check_depth, decode_arguments, escaped, too_deep, unescaped
from luigi_ha.appliance.clock import monotonic

T = TypeVar("T")
LARGE = 1 << 18  # characters, or bytes, from which on a text is decoded in pieces
SLICE = 0.002  # s of work at a time
PIECE = 1 << 16  # bytes unquoted at a time
WINDOW = 2_048  # characters: a value that ends within them is decoded at once
MOST_TEXT = 12 << 20  # characters of one string
MOST_VALUES = 100_000  # elements in one argument
MOST_LISTED = 3_000_000  # elements in one that lists tasks
LISTS_OF_TASKS = frozenset({"deps", "new_deps", "tasks"})
SCAN = json.JSONDecoder().raw_decode
_BLANK = re.compile(r"[ \t\n\r]*")
_NUMBER_END = re.compile(r"[,\]}\s]")
_OBJECT = 'a JSON object of the method\'s arguments, such as {"task_id": "..."}'

AT_ONCE = 2  # large texts that are decoded beside each other
_AT_ONCE: "WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]" = WeakKeyDictionary()
Pieces = Generator[None, None, T]


async def by_and_by(pieces: Pieces[T]) -> T:
    """Run it to its end, with a turn for others every SLICE seconds; few at a time, so that they share those turns."""
    async with _turns():
        while True:
            until = monotonic() + SLICE
            try:
                while monotonic() < until:
                    next(pieces)
            except StopIteration as ended:
                result: T = ended.value
                return result
            await asyncio.sleep(0)


def _turns() -> asyncio.Semaphore:
    """One for each event loop."""
    loop = asyncio.get_running_loop()
    turns = _AT_ONCE.get(loop)
    if turns is None:
        turns = _AT_ONCE[loop] = asyncio.Semaphore(AT_ONCE)
    return turns


async def arguments(text: str) -> dict[str, Any]:
    """The keyword arguments in `data`, decoded at once or by and by; BadRequest."""
    if len(text) <= LARGE:
        return decode_arguments(text)
    return await by_and_by(decoded(text, SCAN))


async def form(text: str) -> bytes:
    """The form that says this; a long one is made in pieces."""
    pieces = [b"data="]
    for start in range(0, len(text), 16 * PIECE):
        pieces.append(escaped(text[start : start + 16 * PIECE]))
        if len(text) > LARGE:
            await asyncio.sleep(0)
    return b"".join(pieces)


def unquoted(value: bytes) -> Pieces[str]:
    """The text of one urlencoded value; BadRequest if it is not UTF-8."""
    parts: list[bytes] = []
    start = 0
    while start < len(value):
        stop = start + PIECE
        cut = value.rfind(b"%", stop - 2, stop)
        if cut >= 0 and stop < len(value):
            stop = cut
        parts.append(unescaped(value[start:stop]))
        start = stop
        yield
    raw = b"".join(parts)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(f"not UTF-8: {error.reason}", where="data", expected="percent-encoded UTF-8") from error


def decoded(text: str, scan: Callable[[str, int], tuple[Any, int]], where: str = "data") -> Pieces[dict[str, Any]]:
    """The JSON object that a text says, as `scan` (a decoder's raw_decode) would read it; BadRequest."""
    reading = _Reading(text, scan, where)
    try:
        value = yield from reading.object()
    except (ValueError, StopIteration, IndexError) as error:
        what = f"not JSON: {error}" if isinstance(error, ValueError) else "not JSON: it ends too early"
        raise BadRequest(what[:300], where=where, expected=_OBJECT) from None
    except RecursionError:
        raise too_deep(where) from None
    return value


class _Reading:
    """One text, being read."""

    def __init__(self, text: str, scan: Callable[[str, int], tuple[Any, int]], where: str) -> None:
        self._text = text
        self._scan = scan
        self._where = where
        self._at = 0
        self._argument = ""
        self._values = 0
        self._steps = 0
        self._most = MOST_VALUES

    def object(self) -> Pieces[dict[str, Any]]:
        self._blank()
        if self._text[self._at : self._at + 1] != "{":
            kind = type(json.loads(self._text[:WINDOW])).__name__ if len(self._text) < WINDOW else "value"
            raise BadRequest(f"JSON, but a {kind}, not an object", where=self._where, expected=_OBJECT)
        value: dict[str, Any] = yield from self._container(1, top=True)
        self._blank()
        if self._at != len(self._text):
            raise ValueError(f"extra data at character {self._at}")
        return value

    def _blank(self) -> None:
        found = _BLANK.match(self._text, self._at)
        assert found is not None  # noqa: S101 - it matches the empty string too
        self._at = found.end()

    def _count(self) -> None:
        self._values += 1
        if self._values > self._most:
            raise BadRequest(
                f"has more than {self._most} elements", where=self._argument or self._where, expected="fewer at once"
            )

    def _container(self, depth: int, *, top: bool = False) -> Pieces[Any]:
        """A list or an object, element by element."""
        if depth > MAX_DEPTH:
            raise too_deep(self._where)
        text = self._text
        mapping = text[self._at] == "{"
        end = "}" if mapping else "]"
        result: Any = {} if mapping else []
        self._at += 1
        self._blank()
        if text[self._at] == end:
            self._at += 1
            return result
        while True:
            key = ""
            if mapping:
                key = self._key()
                if top:
                    self._argument, self._values = key[:80], 0
                    self._most = MOST_LISTED if key in LISTS_OF_TASKS else MOST_VALUES
            self._count()
            self._steps += 1
            if self._steps % 64 == 0:
                yield
            small = self._small(depth)
            value = small[0] if small is not None else (yield from self._container(depth + 1))
            if mapping:
                result[key] = value
            else:
                result.append(value)
            self._blank()
            mark = text[self._at]
            self._at += 1
            if mark == end:
                return result
            if mark != ",":
                raise ValueError(f"expected , or {end} at character {self._at - 1}")
            self._blank()

    def _key(self) -> str:
        if self._text[self._at] != '"':
            raise ValueError(f"expected a name in double quotes at character {self._at}")
        key = self._string()
        self._blank()
        if self._text[self._at] != ":":
            raise ValueError(f"expected : at character {self._at}")
        self._at += 1
        self._blank()
        return key

    def _string(self) -> str:
        close = self._text.find('"', self._at + 1, self._at + 1 + MOST_TEXT)
        if close < 0:
            if self._text.find('"', self._at + 1) < 0:
                raise ValueError("a string that does not end")
            what = f"has a string of more than {MOST_TEXT} characters"
            raise BadRequest(what, where=self._argument or self._where, expected="shorter ones")
        value, end = self._scan(self._text, self._at)
        if end - self._at > MOST_TEXT:
            what = f"has a string of more than {MOST_TEXT} characters"
            raise BadRequest(what, where=self._argument or self._where, expected="shorter ones")
        self._at = end
        return str(value)

    def _small(self, depth: int) -> tuple[Any] | None:
        """A value that is no container, or a short one; None: a container to be read element by element."""
        text, at = self._text, self._at
        first = text[at]
        if first == '"':
            return (self._string(),)
        if first not in "[{":
            found = _NUMBER_END.search(text, at, at + WINDOW)
            if found is None:
                raise ValueError(f"no JSON value at character {at}")
            try:
                value, end = self._scan(text[at : found.start()], 0)
            except StopIteration:
                raise ValueError(f"no JSON value at character {at}") from None
            if at + end != found.start():
                raise ValueError(f"no JSON value at character {at}")
            self._at = found.start()
            return (value,)
        window = text[at : at + WINDOW]
        try:
            value, end = self._scan(window, 0)
        except (ValueError, StopIteration):
            return None  # longer, or wrong: reading it element by element will tell
        if window.count("[", 0, end) + window.count("{", 0, end) > MAX_DEPTH - depth:
            check_depth(window[:end], value, self._where, MAX_DEPTH - depth)
        self._values += 1 + window.count(",", 0, end)
        self._at = at + end
        return (value,)
