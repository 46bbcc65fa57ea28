"""Where etcd is and how to be let in, checked before the first connection."""

import socket
import ssl
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from luigi_ha.ha.errors import Fatal, Incoherent
from luigi_ha.ha.lease import Timing


@dataclass(frozen=True, slots=True)
class EtcdConfig:
    """Endpoints and credentials. Fatal, with the option's name and what was expected, if it cannot work."""

    endpoints: tuple[str, ...]
    """URLs of the members, e.g. https://10.0.0.1:2379; the first is preferred until it fails. It is the member on our
    own host, if there is one."""

    own_member: bool | None = None
    """Whether the first endpoint is on our own host, so that etcd's leader is better elsewhere while we lead. None: it
    is if its host is `localhost`, an address that this machine has, or the name of this machine."""

    ca_file: Path | None = None
    """Certificates that may have signed the members' certificates; None: the system's."""

    cert_file: Path | None = None
    """Our client certificate. With users enabled, the gateway refuses one that has a common name."""

    key_file: Path | None = None

    user: str | None = None
    password: str | None = field(default=None, repr=False)

    attempt_timeout: float = 0.5
    """Seconds one endpoint has for an answer before the next is asked."""

    probe_every: float = 0.5
    """Seconds of silence after which the endpoint of a watch is asked whether it is alive."""

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise Fatal("endpoints: none given; expected URLs like https://10.0.0.1:2379")
        schemes = {_checked(endpoint) for endpoint in self.endpoints}
        if len(schemes) > 1:
            raise Fatal("endpoints: http and https mixed; expected one of them")
        if "http" in schemes and (self.ca_file or self.cert_file):
            raise Fatal("endpoints: http, but there is a ca_file or cert_file; expected https")
        if (self.cert_file is None) != (self.key_file is None):
            raise Fatal("cert_file and key_file: expected both or neither")
        if (self.user is None) != (self.password is None):
            raise Fatal("user and password: expected both or neither")

    @property
    def own_endpoint(self) -> str | None:
        """The member on our own host. Asks no name server."""
        first = self.endpoints[0]
        if self.own_member is None:
            return first if _is_here(urlsplit(first).hostname or "") else None
        return first if self.own_member else None

    def check(self, timing: Timing) -> None:
        """Incoherent if one dead endpoint would use up the budget of a renewal."""
        if not 2 * self.attempt_timeout < timing.request_timeout:
            raise Incoherent(
                f"2 * attempt_timeout < request_timeout does not hold: 2 * {self.attempt_timeout} = "
                f"{2 * self.attempt_timeout:g}, {timing.request_timeout}; one dead endpoint would use up a renewal"
            )

    def tls(self) -> ssl.SSLContext | None:
        """The context for https endpoints, which always verifies the member and its name; None for http."""
        if self.endpoints[0].startswith("http:"):
            return None
        option, path = "ca_file", self.ca_file
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file is not None:
                option, path = "cert_file, key_file", self.cert_file
                context.load_cert_chain(self.cert_file, self.key_file)
        except (OSError, ssl.SSLError) as error:
            raise Fatal(f"{option}: {path} cannot be used: {error}") from error
        return context


def _checked(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    try:
        fine = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port is not None
    except ValueError:
        fine = False
    if not fine or parts.path.strip("/") or parts.username or parts.query:
        raise Fatal(f"endpoints: {parts.hostname or 'a URL'} is not usable; expected http(s)://host:port")
    return parts.scheme


def _is_here(host: str) -> bool:
    """Whether this machine has the address, or goes by the name."""
    try:
        address = ip_address(host)
    except ValueError:
        ours = socket.gethostname().lower()
        return host.lower() in {"localhost", ours, ours.partition(".")[0]}
    with socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))  # only an address of this machine can be bound; nothing is sent
        except OSError:
            return False
    return True
