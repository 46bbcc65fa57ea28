"""TLS: contexts made of files, for who is called and for who calls.

Invariant: nothing older than TLS 1.2, certificates and names always verified by who calls; a context that is in use is
replaced only by one that could be made completely.

Renewed files are noticed by `refresh`. Connections that are open go on with what they began with.
"""

import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from luigi_ha.appliance import log

_log = log.get("tls")
Stamps = tuple[tuple[int, int, int] | None, ...]


class TlsError(Exception):
    """These files cannot be used. `option` names the one to look at."""

    def __init__(self, option: str, what: str, expected: str) -> None:
        super().__init__(f"{option}: {what}; expected {expected}")
        self.option = option
        self.what = what
        self.expected = expected


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths, as the options tls_* give them; "": none."""

    certificate: str = ""
    key: str = ""
    client_ca: str = ""
    client_required: bool = False
    ca: str = ""

    def stamps(self) -> Stamps:
        """What changes when a file is replaced; None: it is not there."""
        return tuple(_stamp(path) for path in (self.certificate, self.key, self.client_ca, self.ca) if path)


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """For a port; TlsError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    context.set_alpn_protocols(["http/1.1"])
    _load_pair(context, files.certificate, files.key)
    if files.client_ca:
        _load_authorities(context, "tls_client_ca", files.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED if files.client_required else ssl.CERT_OPTIONAL
    return context


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """For calls to a node: its certificate and its name are verified; ours is shown if it is asked for. TlsError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    if files.ca:
        _load_authorities(context, "tls_ca", files.ca)
    else:
        context.load_default_certs()
    if files.certificate:
        _load_pair(context, files.certificate, files.key)
    return context


def blind_context() -> ssl.SSLContext:
    """For a question whose answer is not believed, only compared: who listens on our own port?"""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Tls:
    """The contexts of one node, of files that may be renewed."""

    def __init__(self, files: TlsFiles) -> None:
        """TlsError if the files cannot be used now."""
        self._files = files
        self._stamps = files.stamps()
        self.server = server_context(files)
        self.client = client_context(files)

    def refresh(self) -> None:
        """Use what the files hold now, if they have changed and can be used."""
        stamps = self._files.stamps()
        if stamps == self._stamps:
            return
        self._stamps = stamps
        try:
            server, client = server_context(self._files), client_context(self._files)
        except TlsError as error:
            _log.error("certificates_not_renewed", error=str(error), goes_on_with="those before")
            return
        self.server, self.client = server, client
        _log.info("certificates_renewed", certificate=self._files.certificate)


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION


def _load_pair(context: ssl.SSLContext, certificate: str, key: str) -> None:
    _require_readable((("tls_certificate", certificate), ("tls_key", key)))
    try:
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except _PassphraseError:
        raise TlsError(
            "tls_key", f"{key} is encrypted", "a key without a passphrase, in a file only we can read"
        ) from None
    except ssl.SSLError as error:
        if "KEY_VALUES_MISMATCH" in str(error):
            raise TlsError("tls_key", f"{key} does not belong to {certificate}", "the certificate's own key") from None
        what = f"{certificate} and {key} hold no certificate with its key ({_reason(error)})"
        raise TlsError("tls_certificate", what, "both in PEM") from None


def _load_authorities(context: ssl.SSLContext, option: str, path: str) -> None:
    _require_readable(((option, path),))
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise TlsError(option, f"{path} holds no certificate ({_reason(error)})", "certificates in PEM") from None


def _require_readable(files: Iterable[tuple[str, str]]) -> None:
    for option, path in files:
        try:
            with Path(path).open("rb"):
                pass
        except OSError as error:
            raise TlsError(option, f"{path} cannot be read: {error.strerror}", "a file this user can read") from None


class _PassphraseError(Exception):
    """OpenSSL would ask the terminal."""


def _no_passphrase() -> NoReturn:
    raise _PassphraseError


def _reason(error: ssl.SSLError) -> str:
    return str(error.reason or "not PEM").lower().replace("_", " ")


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
