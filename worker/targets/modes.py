"""From `open(mode)` and luigi's formats to the file object that the caller gets.

Without a format: UTF-8 text, whatever the machine's locale, or with `b` the bytes. A format that was given decides for
`r` and `w`, as in luigi; with `b` it must be one of bytes (Gzip, ...), or plain text, which is then left out.
"""

import io
from typing import Any, Literal, NamedTuple

from luigi.format import UTF8, Format, TextFormat

from luigi_ha.worker.targets.writing import AsideFile, TextFile


class Mode(NamedTuple):
    """What was asked for."""

    action: Literal["r", "w"]
    binary: bool


def parse(mode: str) -> Mode:
    """`r`, `w`, and both with `b` or `t`."""
    if mode not in ("r", "w", "rt", "wt", "rb", "wb"):
        raise ValueError(f"mode {mode!r}: a target opens in r, w, rb and wb")
    return Mode("r" if mode[0] == "r" else "w", "b" in mode)


def reading(given: Format | None, mode: Mode, file: io.BufferedReader) -> Any:
    """`file`, of bytes, as the caller wants to read it."""
    form = _form(given, mode)
    if form is None:
        return file
    if type(form) is TextFormat:
        return io.TextIOWrapper(file, *form.args, **form.kwargs)
    return form.pipe_reader(file)


def writing(given: Format | None, mode: Mode, file: AsideFile) -> Any:
    """`file`, of bytes, as the caller wants to write it."""
    form = _form(given, mode)
    if form is None:
        return file
    if type(form) is TextFormat:
        return TextFile(file, *form.args, **form.kwargs)
    return form.pipe_writer(file)


def check(given: Format | None, mode: Mode) -> None:
    """Refuse what cannot be opened, before anything is."""
    _form(given, mode)


def _form(given: Format | None, mode: Mode) -> Format | None:
    """What stands between the caller and the bytes; None: nothing."""
    if not mode.binary:
        return UTF8 if given is None else given
    if given is None or type(given) is TextFormat:
        return None
    if getattr(given, "input", "bytes") != "bytes":
        raise ValueError(f"a {type(given).__name__} that begins with text cannot be opened in binary mode")
    return given
