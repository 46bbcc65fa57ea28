"""Certificates: our own, files for etcd and PostgreSQL, and what etcd's members show. Readable, and until when."""

import os
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from luigi_ha.appliance.cli.doctor_findings import Examiner, Finding
from luigi_ha.appliance.cli.doctor_tls import own_certificate
from luigi_ha.appliance.clock import wall
from luigi_ha.appliance.config import Serve
from luigi_ha.appliance.store.target import Target

SOON = timedelta(days=14)
PATIENCE = 2.0  # s
_SEQUENCE, _CONTEXT_0, _UTC_TIME = 0x30, 0xA0, 0x17
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"

_examiner = Examiner("certificates")


def certificates(serve: Serve, target: Target) -> Iterator[Finding]:
    """Of the options tls_* and etcd_*_file, of the database URL's sslcert and the like, and of https endpoints."""
    options = dict(target.options)
    files = {"tls_certificate": serve.tls_certificate, "tls_client_ca": serve.tls_client_ca, "tls_ca": serve.tls_ca}
    files |= {"etcd_ca_file": serve.etcd_ca_file, "etcd_cert_file": serve.etcd_cert_file}
    files |= {name: options.get(name, "") for name in ("sslrootcert", "sslcert")}
    for option, path in files.items():
        if path and path != "system":
            yield from _file(option, Path(path))
    keys = {"tls_key": serve.tls_key, "etcd_key_file": serve.etcd_key_file, "sslkey": options.get("sslkey", "")}
    for option, path in keys.items():
        if path:
            yield _key(option, Path(path))
    yield from own_certificate(serve)
    for endpoint in serve.etcd_endpoints:
        if endpoint.startswith("https:"):
            yield _server(endpoint)


def valid_between(certificate: bytes) -> tuple[datetime, datetime]:
    """From and until of a certificate in DER (RFC 5280, 4.1). ValueError if it is none."""
    try:
        body, _ = _content(_content(certificate)[0])  # the certificate, in it what is signed
        for _ in range(5):
            tag = body[0]
            value, rest = _content(body)
            if tag == _SEQUENCE and value[0] in (_UTC_TIME, _UTC_TIME + 1):
                after, later = _content(value)[1], value
                return _moment(later), _moment(after)
            body = rest
    except IndexError:
        pass
    raise ValueError("not a certificate")


def _content(data: bytes) -> tuple[bytes, bytes]:
    """The first value of DER, and what follows it."""
    length, start = data[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start], "big")
    if len(data) < start + length:
        raise ValueError("not a certificate: cut short")
    return data[start : start + length], data[start + length :]


def _moment(data: bytes) -> datetime:
    text = _content(data)[0].decode("ascii")
    if data[0] == _UTC_TIME:  # two digits of the year, until 2049
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _file(option: str, path: Path) -> Iterator[Finding]:
    where = f"{option} {path}"
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        yield _examiner.fail(where, f"cannot be read: {error.strerror}", "a file that the node's user can read")
        return
    found = [_BEGIN + part.split(_END)[0] + _END for part in text.split(_BEGIN)[1:]]
    if not found:
        yield _examiner.fail(where, "holds no certificate", "certificates in PEM")
    for number, pem in enumerate(found, 1):
        yield _judged(where if len(found) == 1 else f"{where} ({number} of {len(found)})", pem)


def _key(option: str, path: Path) -> Finding:
    where = f"{option} {path}"
    if not os.access(path, os.R_OK):
        return _examiner.fail(where, "cannot be read", "a file that the node's user can read")
    if path.stat().st_mode & 0o007:
        return _examiner.warn(where, "everybody on this machine can read it", "mode 0600 or 0640")
    return _examiner.ok(where, "readable")


def _server(endpoint: str) -> Finding:
    parts = urlsplit(endpoint)
    try:
        pem = ssl.get_server_certificate((parts.hostname or "", parts.port or 2379), timeout=PATIENCE)
    except OSError as error:
        return _examiner.warn(endpoint, f"its certificate cannot be seen: {error}", "a member that answers")
    return _judged(endpoint, pem)


def _judged(where: str, pem: str) -> Finding:
    try:
        begins, ends = valid_between(ssl.PEM_cert_to_DER_cert(pem))
    except ValueError as error:
        return _examiner.fail(where, str(error), "a certificate in PEM")
    now = datetime.fromtimestamp(wall(), UTC)
    if now < begins:
        return _examiner.fail(
            where, f"valid from {begins:%Y-%m-%d %H:%MZ} on", "a valid certificate, or the right time"
        )
    if now >= ends:
        return _examiner.fail(where, f"has expired on {ends:%Y-%m-%d %H:%MZ}", "a new certificate")
    if now >= ends - SOON:
        return _examiner.warn(where, f"expires on {ends:%Y-%m-%d %H:%MZ}", "a new one in time")
    return _examiner.ok(where, f"valid until {ends:%Y-%m-%d}")
