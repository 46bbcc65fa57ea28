"""Options that say who may call, and over what: whether tokens are asked for, and TLS."""

import ipaddress
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from luigi_ha.appliance.config.errors import ConfigError

if TYPE_CHECKING:
    from luigi_ha.appliance.config.options import Serve


def auth_is_on(serve: "Serve") -> bool:
    """Whether callers must show a token. By default they must where another machine could reach us."""
    return serve.auth == "on" or (serve.auth == "auto" and not reached_from_here_only(serve))


def speaks_tls(serve: "Serve") -> bool:
    """Whether the port is HTTPS."""
    return bool(serve.tls_certificate)


def own_url(serve: "Serve", host: str) -> str:
    """The URL of this node's port at a host."""
    return f"http{'s' if speaks_tls(serve) else ''}://{f'[{host}]' if ':' in host else host}:{serve.port}"


def check_access(serve: "Serve", where: Callable[[str], str]) -> None:
    """ConfigError if the options contradict each other."""
    for option_name, what, expected in _contradictions(serve):
        raise ConfigError(where(option_name), what, expected)


def reached_from_here_only(serve: "Serve") -> bool:
    """Whether no other machine can connect."""
    return bool(serve.unix_socket) or is_loopback(serve.host)


def is_loopback(host: str) -> bool:
    """Whether a host, as it stands in an option or a URL, is this machine and no other."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _contradictions(serve: "Serve") -> Iterator[tuple[str, str, str]]:
    """(the option to change, what is wrong, what would be right)"""
    wrong = (
        (
            bool(serve.tls_certificate) != bool(serve.tls_key),
            (
                "tls_key" if serve.tls_certificate else "tls_certificate",
                "tls_certificate and tls_key",
                "both or neither",
            ),
        ),
        (
            bool(serve.tls_client_ca) and not serve.tls_certificate,
            ("tls_client_ca", "tls_client_ca without tls_certificate", "clients show certificates over TLS only"),
        ),
        (
            serve.tls_client_required and not serve.tls_client_ca,
            ("tls_client_required", "tls_client_required = true", "needs tls_client_ca: who may have signed theirs"),
        ),
        (
            bool(serve.tls_certificate) and bool(serve.unix_socket),
            ("tls_certificate", "tls_certificate with unix_socket", "TLS is for host and port"),
        ),
        (
            bool(serve.advertise) and not serve.advertise.startswith(("http://", "https://")),
            ("advertise", f"advertise = {serve.advertise!r}", f"expected a URL, such as {own_url(serve, 'n1')}"),
        ),
        (
            bool(serve.advertise) and serve.advertise.startswith("https:") != bool(serve.tls_certificate),
            (
                "advertise",
                f"advertise = {serve.advertise} with{'' if serve.tls_certificate else 'out'} tls_certificate",
                f"the other nodes would not understand this one: expected http{'s' if serve.tls_certificate else ''}://",
            ),
        ),
    )
    yield from (explained for found, explained in wrong if found)
