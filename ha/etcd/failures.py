"""Which of etcd's errors is which kind. The table is the rule; the first row that fits decides.

Only "no such lease" is definitive, and even that is an answer about the lease as one member sees it: the election
confirms it by reading its key. Everything that a healthy cluster can say while it elects a leader, loses a member or
is overloaded is unknown: treating it as loss demoted healthy leaders (etcd#21671, etcd#15922, patroni#3407).
"""

import re
import ssl
from typing import NamedTuple

from luigi_ha.ha.errors import Definitive, Fatal, HaError, Unknown


class LeaseNotFound(Definitive):
    """etcd knows no lease with this id."""


class TokenRefused(Unknown):
    """The auth token has expired, or the users changed: authenticate again, then repeat."""


class AuthNotEnabled(Unknown):
    """The cluster has no users: go on without a token."""


# gRPC status codes, https://grpc.github.io/grpc/core/md_doc_statuscodes.html
INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, FAILED_PRECONDITION = 3, 5, 7, 9
UNIMPLEMENTED, DATA_LOSS, UNAUTHENTICATED = 12, 15, 16
NAMES = {
    "InvalidArgument": INVALID_ARGUMENT, "NotFound": NOT_FOUND, "PermissionDenied": PERMISSION_DENIED,
    "FailedPrecondition": FAILED_PRECONDITION, "Unimplemented": UNIMPLEMENTED, "DataLoss": DATA_LOSS,
    "Unauthenticated": UNAUTHENTICATED,
}  # fmt: skip


class Row(NamedTuple):
    code: int | None  # None: any
    words: str  # part of the message; empty: any
    kind: type[HaError]


TABLE = (
    Row(NOT_FOUND, "lease not found", LeaseNotFound),
    Row(UNAUTHENTICATED, "", TokenRefused),
    Row(INVALID_ARGUMENT, "revision of auth store is old", TokenRefused),
    Row(None, "invalid auth token", TokenRefused),
    Row(None, "authentication is not enabled", AuthNotEnabled),
    Row(INVALID_ARGUMENT, "authentication failed", Fatal),
    Row(INVALID_ARGUMENT, "user name is empty", Fatal),
    Row(INVALID_ARGUMENT, "", Fatal),  # a request that etcd cannot read is a defect, or not etcd
    Row(PERMISSION_DENIED, "", Fatal),
    Row(UNIMPLEMENTED, "", Fatal),
    Row(DATA_LOSS, "", Fatal),
    Row(None, "", Unknown),
)


def of_status(code: int, message: str) -> HaError:
    """The error for a gRPC status."""
    for row in TABLE:
        if row.code in (None, code) and row.words in message:
            return row.kind(f"etcd: {message.removeprefix('etcdserver: ')} (code {code})")
    raise AssertionError("the last row fits everything")


def of_text(text: str) -> HaError:
    """The error for a status in words, as in the reason for a cancelled watch."""
    found = re.search(r"code = (\w+) desc = (.*)", text, re.DOTALL)
    return of_status(NAMES.get(found[1], 2), found[2]) if found else of_status(2, text)


def of_exception(error: BaseException) -> HaError:
    """The error for a failure below HTTP: refused, reset, unreachable, TLS."""
    cause: BaseException | None = error
    while cause is not None:
        # A peer that just closes is not a TLS failure: members do that when they stop.
        if isinstance(cause, ssl.SSLError | ssl.CertificateError) and not isinstance(
            cause, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError
        ):
            return Fatal(f"TLS: {cause}")
        cause = cause.__cause__ or cause.__context__ or getattr(cause, "os_error", None)
    return Unknown(f"{type(error).__name__}: {error}")
