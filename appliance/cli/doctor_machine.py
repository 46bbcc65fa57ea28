"""The machine: versions, the port, the disk of a SQLite database."""

import errno
import importlib.metadata
import json
import os
import re
import shutil
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path

from luigi_ha.appliance.cli.doctor_findings import Examiner, Finding
from luigi_ha.appliance.config import Serve
from luigi_ha.appliance.config.access import speaks_tls
from luigi_ha.appliance.store.target import Kind, Target
from luigi_ha.appliance.tls import blind_context

PYTHON = (3, 11)
PATIENCE = 2.0  # s for an answer from the port
FULL, NEARLY_FULL = 64 << 20, 1 << 30  # bytes
_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*(?:>=\s*([0-9.]+))?")


def versions() -> Iterator[Finding]:
    """Python, and every package that this one needs."""
    examiner = Examiner("versions")
    mine = importlib.metadata.version("luigi-ha")
    python = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < PYTHON:
        yield examiner.fail("Python", python, ".".join(map(str, PYTHON)) + " or newer")
    wrong = False
    for requirement in importlib.metadata.requires("luigi-ha") or []:
        found = _REQUIREMENT.match(requirement)
        if found is None or "extra ==" in requirement:
            continue
        package, least = found[1], found[2]
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            wrong = True
            yield examiner.fail(package, "not installed", requirement)
            continue
        if least and _numbers(version) < _numbers(least):
            wrong = True
            yield examiner.fail(package, version, f"{least} or newer")
    if not wrong:
        yield examiner.ok("packages", f"luigi-ha {mine} and all it needs, on Python {python}")


def port(serve: Serve) -> Iterator[Finding]:
    """Whether the scheduler could listen, or does."""
    examiner = Examiner("port")
    if serve.unix_socket:
        yield from _directory(examiner, Path(serve.unix_socket).absolute().parent, "the socket")
        return
    for host, number, what, tls in (
        (serve.host, serve.port, "port", trusting(serve) if speaks_tls(serve) else None),
        (serve.metrics_host, serve.metrics_port, "metrics_port", None),
    ):
        if number:
            yield _listening(examiner, host, number, what, tls)


def trusting(serve: Serve) -> ssl.SSLContext:
    """To ask whoever listens how it is: whatever certificate it shows (`certificates` judges those), with ours if it
    asks for one."""
    context = blind_context()
    if speaks_tls(serve):
        with suppress(OSError, ssl.SSLError):
            context.load_cert_chain(serve.tls_certificate, serve.tls_key, password=lambda: "")
    return context


def _listening(examiner: Examiner, host: str, number: int, what: str, tls: ssl.SSLContext | None) -> Finding:
    where = f"{what} {host or '*'}:{number}"
    try:
        address = socket.getaddrinfo(host or None, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror as error:
        return examiner.fail(where, f"{host}: {error.strerror}", "an address of this machine")
    with socket.socket(address[0], socket.SOCK_STREAM) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(address[4])
            tried.listen(1)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return examiner.fail(where, str(error.strerror), "an address and port this user may listen on")
            return _taken(examiner, host, number, where, tls)
    return examiner.ok(where, "free")


def _taken(examiner: Examiner, host: str, number: int, where: str, tls: ssl.SSLContext | None) -> Finding:
    asked = host if host not in ("", "0.0.0.0", "::") else "127.0.0.1"  # noqa: S104 - compared, not bound
    state = _state(asked, number, tls)
    if state is not None:
        return examiner.ok(where, f"luigi-ha listens there ({state})")
    if tls is not None and (state := _state(asked, number, None)) is not None:
        return examiner.fail(where, f"luigi-ha listens there ({state}) without TLS", "a restart, with these options")
    if tls is None and (state := _state(asked, number, blind_context())) is not None:
        return examiner.fail(where, f"luigi-ha listens there ({state}) with TLS", "a restart, with these options")
    return examiner.fail(where, "in use by a program that is not luigi-ha", "a free port, or luigi-ha's own")


def _state(host: str, number: int, tls: ssl.SSLContext | None) -> str | None:
    """What luigi-ha says of itself there, to anybody; None: it is something else."""
    if tls is None:
        connection = HTTPConnection(host, number, timeout=PATIENCE)
    else:
        connection = HTTPSConnection(host, number, timeout=PATIENCE, context=tls)
    try:
        connection.request("GET", "/health")
        return str(json.loads(connection.getresponse().read())["state"])
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        connection.close()


def disk(target: Target) -> Iterator[Finding]:
    """Of a SQLite database; other databases have their own machine."""
    examiner = Examiner("disk")
    if target.kind is not Kind.SQLITE:
        return
    directory = target.path.absolute().parent
    writable = list(_directory(examiner, directory, "the database and the lock beside it"))
    yield from writable
    if not directory.is_dir():
        return
    free = shutil.disk_usage(directory).free
    shown = f"{free / (1 << 20):.0f} MiB free"
    if free < FULL:
        yield examiner.fail(str(directory), shown, f"at least {FULL >> 20} MiB: every acknowledged change is written")
    elif free < NEARLY_FULL:
        yield examiner.warn(str(directory), shown, f"at least {NEARLY_FULL >> 20} MiB")
    else:
        yield examiner.ok(str(directory), shown)


def _directory(examiner: Examiner, directory: Path, what: str) -> Iterator[Finding]:
    if not directory.is_dir():
        yield examiner.fail(str(directory), "there is no such directory", f"the directory for {what}")
    elif not os.access(directory, os.W_OK | os.X_OK):
        yield examiner.fail(str(directory), "this user may not write there", f"a directory for {what}, writable")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+", maxsplit=1)[0])[:3])
