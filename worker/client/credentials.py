"""What a worker shows of itself: a token, read anew when its file changes, and certificates.

A token in a file replaces whatever the URL holds, and that what the user's netrc has. Nothing here is ever logged.
"""

import contextlib
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from luigi_ha.worker.client.addresses import Address
from luigi_ha.worker.client.surroundings import authorities, netrc_authorization


class Credentials:
    """The Authorization header for an address."""

    def __init__(self, token: str = "", token_file: Path | None = None) -> None:
        self._token = token
        self._file = token_file
        self._changed = -1

    def __repr__(self) -> str:
        return "Credentials(...)"

    def header(self, address: Address) -> str:
        """"" if there is nothing to show. A token file that cannot be read now leaves the last token in force."""
        if self._file is not None:
            with contextlib.suppress(OSError, UnicodeDecodeError):
                changed = self._file.stat().st_mtime_ns
                if changed != self._changed:
                    self._token, self._changed = self._file.read_text().strip().split("\n")[0], changed
        return f"Bearer {self._token}" if self._token else address.authorization or netrc_authorization(address)


@dataclass(frozen=True)
class Tls:
    """How https:// addresses are verified and what certificate they are shown. OSError or ssl.SSLError at first use."""

    ca_file: Path | None = None  # or a directory; None: those the environment names, or the system's
    certificate: Path | None = None
    key: Path | None = None  # None: in the same file as the certificate
    _made: list[ssl.SSLContext] = field(default_factory=list, repr=False, compare=False)

    def context(self) -> ssl.SSLContext:
        if not self._made:
            trusted = self.ca_file or authorities()
            if trusted is not None and not trusted.exists():
                raise FileNotFoundError(f"no file or directory {trusted}; expected authorities in PEM form")
            directory = trusted is not None and trusted.is_dir()
            context = ssl.create_default_context(
                cafile=None if trusted is None or directory else str(trusted),
                capath=str(trusted) if trusted is not None and directory else None,
            )
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
            self._made.append(context)
        return self._made[0]
