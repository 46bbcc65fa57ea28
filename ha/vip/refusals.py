"""While an address outlives its listener: silence instead of a refusal.

A process that is killed leaves the address on its host for some milliseconds, or until the stop hook has run. Who calls
then is refused by the kernel, and a stock Luigi client waits 30 s after a refusal. A SYN that nobody answers, on the
other hand, is repeated by the caller's own kernel after one second, and reaches whoever has the address by then.

So one rule of nftables drops what refuses: a reset that answers a SYN, from our addresses and our port. Resets of
connections pass: who takes the address resets those it does not know, and their callers must learn that at once.

The rule lives in the kernel, survives every death of ours, and does nothing where the addresses are not. It is put in
place before they are ever added here, and taken away in order when they are gone. Without nftables, or without its
program `nft`, everything works but this.
"""

import os
import re
import shutil
import socket
import subprocess
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress

from luigi_ha.ha.errors import HaError
from luigi_ha.ha.log import Events
from luigi_ha.ha.vip.configured import Vip

LIMIT = 1.0  # s for one call of nft; it takes about 0.02
ALSO = ("/usr/sbin", "/sbin")  # where it is, if it is not in the PATH

_log = Events("vip")


class RefusalsError(HaError):
    """nft is missing, refused, or took too long; the message says which."""


class Refusals:
    """One table of nftables, named after the cluster and the port. Every call takes LIMIT at most."""

    def __init__(self, vips: Sequence[Vip], cluster: str, port: int, program: str = "nft") -> None:
        self.table = _name(cluster, port)
        self._vips = vips
        self._port = port
        self._called = program
        self._mark: socket.socket | None = None  # of a process that wants the rule; ends with it
        self._in_vain = False

    def suppress(self) -> bool:
        """Put the rule in place, or replace it. Whether that succeeded; if not, one event says why."""
        if self._mark is None:
            with suppress(OSError):  # another process of ours has it, whatever that may be good for
                self._mark = _marked(self.table)
        try:
            self._run(_anew(self.table) + _table(self.table, self._vips, self._port))
        except RefusalsError as error:
            self._in_vain = True
            self._unmark()
            _log.warning("refusals_not_suppressed", error=str(error))
            return False
        self._in_vain = False
        _log.info("refusals_suppressed", table=self.table, port=self._port)
        return True

    def allow(self) -> None:
        """Take the rule away, there or not. RefusalsError. If another process wants it, it stays: a keeper that lives
        would not notice. Nothing is tried that has failed before, or cannot be needed: without nft there is no rule."""
        if self._in_vain or self.program is None:
            return
        if self._mark is None:
            try:
                self._mark = _marked(self.table)
            except OSError:
                return
        try:
            self._run(_anew(self.table))
        finally:
            self._unmark()

    def _unmark(self) -> None:
        if self._mark is not None:
            self._mark.close()
            self._mark = None

    @property
    def program(self) -> str | None:
        """Where nft is; None: nowhere, so no refusal will be suppressed."""
        return shutil.which(self._called) or shutil.which(self._called, path=os.pathsep.join(ALSO))

    def _run(self, commands: str) -> None:
        program = self.program
        if program is None:
            raise RefusalsError(f"{self._called} is not installed (package nftables)")
        try:
            running = subprocess.Popen(  # noqa: S603 - by its whole path, and what it reads is ours
                [program, "-f", "-"],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
        except OSError as error:
            raise RefusalsError(f"{program}: {error.strerror}") from error
        try:
            _, said = running.communicate(commands, LIMIT)
        except subprocess.TimeoutExpired:
            running.kill()
            with suppress(subprocess.TimeoutExpired):
                running.communicate(timeout=LIMIT / 10)
            raise RefusalsError(f"{program} has not ended within {LIMIT:g} s") from None
        if running.returncode:
            raise RefusalsError(f"{program}: {_first(said) or f'exit code {running.returncode}'}")


def _anew(table: str) -> str:
    """Without the table, there before or not: the first of the two lines is for the second."""
    return f"add table inet {table}\ndelete table inet {table}\n"


def _table(table: str, vips: Iterable[Vip], port: int) -> str:
    """Whatever is read in one go takes effect as a whole or not at all. Sequence number 0 and ACK: nothing had been
    heard from us on that connection, so it answers a SYN."""
    rules = "\n".join(
        f"    {'ip' if vip.ip.version == 4 else 'ip6'} saddr {vip.ip} tcp sport {port} "
        f"tcp flags & (syn | rst | ack) == (rst | ack) tcp sequence 0 counter drop"
        for vip in vips
    )
    return f"table inet {table} {{\n  chain refusals {{\n    type filter hook output priority 0\n{rules}\n  }}\n}}\n"


def _name(cluster: str, port: int) -> str:
    """What nft reads as a name, another one for each cluster and port."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", cluster)[:60]
    number = "" if plain == cluster else f"_{zlib.crc32(cluster.encode()):08x}"
    return f"luigi_ha_{port}_{plain}{number}"


def _marked(table: str) -> socket.socket:
    """A name in this network's namespace that ends with the process. OSError if another process has it."""
    mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        mark.bind(f"\0{table}")
    except OSError:
        mark.close()
        raise
    return mark


def _first(text: str) -> str:
    return text.strip().partition("\n")[0]
