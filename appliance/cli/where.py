"""Which schedulers a command asks: those it was told, or else those of the node's configuration on this machine.

    --scheduler-url, LUIGI_HA_SCHEDULER_URL      one or more, separated by commas or spaces
    --config, LUIGI_HA_CONFIG, /etc/luigi-ha     that node, by the URL it advertises, by its port, by the moving address
    none of these                                http://127.0.0.1:8082
"""

import os
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, urlsplit

from luigi_ha.appliance.cli.client import DEFAULT_URL, At
from luigi_ha.appliance.cli.errors import CommandError
from luigi_ha.appliance.cli.transport import UNIX
from luigi_ha.appliance.config import ConfigError, load
from luigi_ha.appliance.config.access import own_url
from luigi_ha.appliance.config.sources import chosen_toml
from luigi_ha.appliance.exit_codes import ExitCode


def located(given: At, named: list[str], config: Path | None) -> At:
    """Return whom to ask, and how to know them. CommandError for what is no URL, or no configuration."""
    urls = [word for text in named for word in text.replace(",", " ").split()]
    if named and not urls:
        raise CommandError("--scheduler-url is empty; expected something like " + DEFAULT_URL, ExitCode.CONFIG)
    if urls:
        return replace(given, urls=tuple(dict.fromkeys(checked(url) for url in urls)))
    toml = chosen_toml(config, os.environ)
    return given if toml is None else _configured(given, toml)


def checked(url: str) -> str:
    """CommandError for what is no URL of a scheduler. A password in it is not repeated."""
    if "@" in url:
        what = "--scheduler-url, or LUIGI_HA_SCHEDULER_URL, holds a user or a password"
        raise CommandError(f"{what}; expected the token in --token-file or LUIGI_HA_TOKEN", ExitCode.CONFIG)
    try:
        parts = urlsplit(url)
        sound = bool(parts.hostname) and parts.scheme in ("http", "https") and parts.port != 0
    except ValueError:  # a port that is no number, a bracket that is not closed
        sound = False
    sound = sound or (url.startswith(UNIX) and len(url) > len(UNIX))
    if not sound or any(not c.isprintable() or c.isspace() for c in url):
        raise CommandError(f"--scheduler-url {url!r}: expected something like {DEFAULT_URL}", ExitCode.CONFIG)
    return url


def _configured(given: At, config: Path) -> At:
    try:
        serve = load({}, config, os.environ).options.serve
    except ConfigError as error:
        raise CommandError(f"{error} (or give --scheduler-url)", ExitCode.CONFIG) from error
    if serve.unix_socket:
        found = [UNIX + quote(serve.unix_socket, safe="")]
    else:
        found = [serve.advertise, own_url(serve, serve.host or "127.0.0.1")]
        found += [own_url(serve, address.partition("/")[0]) for address in serve.vip]
    urls = tuple(dict.fromkeys(url.rstrip("/") for url in found if url))
    return replace(given, urls=urls, tls_ca=given.tls_ca or serve.tls_ca)
