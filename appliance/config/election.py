"""Options that say who may lead, and at which address.

With SQLite and nothing else given, two processes on one machine form a pair: the file lock beside the database decides
who leads, and both listen on the port. With `etcd_endpoints`, etcd decides. Otherwise the process leads by itself.
"""

import ipaddress
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from luigi_ha.appliance.config.errors import ConfigError
from luigi_ha.appliance.config.option import option


@dataclass(frozen=True, slots=True)
class Election:
    """Who may lead, until when, and what of the outside world moves with the leader."""

    election: str = option(
        "auto",
        "who decides who leads: a file lock beside the SQLite file, etcd, or nobody (this process leads, and deposes "
        "whoever led before); auto: file with SQLite, etcd if etcd_endpoints are given, else none",
        choices=("auto", "none", "file", "etcd"),
    )
    name: str = option("", "this node's name, one of its kind; empty: the host's name (file: with the process id)")
    cluster: str = option("default", "name of the cluster; clusters of different names share an etcd without meeting")
    advertise: str = option(
        "", "URL at which the other nodes reach this one; empty: http(s)://<host or its name>:<port>"
    )
    etcd_endpoints: tuple[str, ...] = option((), "URLs of etcd's members, the one on this host first")
    etcd_transport: str = option(
        "gateway", "how to talk to etcd: its JSON gateway, or gRPC", choices=("gateway", "grpc")
    )
    etcd_ca_file: str = option("", "certificates that may have signed the members' certificates; empty: the system's")
    etcd_cert_file: str = option("", "our client certificate for etcd")
    etcd_key_file: str = option("", "the key of etcd_cert_file")
    etcd_user: str = option("", "user in etcd; empty: none")
    etcd_password: str = option("", "its password; not accepted as a flag, so that no `ps` shows it")
    etcd_password_file: str = option("", "file whose first line is etcd_password")
    lease_ttl: float = option(3.0, "how long a leader that says nothing stays leader", least=0.5)
    renew_every: float = option(0.75, "how often the lease is renewed", least=0.05)
    request_timeout: float = option(1.5, "the longest a renewal may take, all endpoints together", least=0.05)
    lease_margin: float = option(0.5, "how long before the lease's end the leader stops by itself", least=0.05)
    stall_after: float = option(3.0, "a scheduler that makes no progress for so long loses the leadership", least=0.5)
    unix_socket: str = option("", "listen on this Unix socket instead of host and port")
    vip: tuple[str, ...] = option((), "addresses that move with the leader, with their prefix: 10.0.0.100/24")
    vip_interface: str = option("", "the network interface that carries them")
    prefer: str = option(
        "primary",
        "who leads if several can: the node beside the database's primary, or any",
        choices=("primary", "any"),
    )
    durability: str = option(
        "available",
        "strict: nothing is acknowledged that is not on a synchronous standby of PostgreSQL too; available: go on "
        "without one, and say so",
        choices=("strict", "available"),
    )
    database_failover: str = option(
        "auto",
        "auto: when the host of PostgreSQL's primary is lost, make the synchronous standby the primary at once, by "
        "Patroni's leader key (with durability = strict and etcd); off: leave it to Patroni's own time",
        choices=("auto", "off"),
    )
    patroni_namespace: str = option("/service/", "where Patroni keeps its clusters in our etcd")


def kind(options: Election, database: str) -> str:
    """none, file or etcd."""
    if options.election != "auto":
        return options.election
    if options.etcd_endpoints:
        return "etcd"
    # A Unix socket is one process's, so there is no pair.
    return "file" if database.startswith("sqlite") and not options.unix_socket else "none"


def node_name(options: Election, database: str, pid: int) -> str:
    """The node's name among the nodes."""
    host = socket.gethostname()
    if options.name:
        return options.name
    return f"{host}:{pid}" if kind(options, database) != "etcd" else host


def check_election(options: Election, database: str, where: Callable[[str], str]) -> None:
    """ConfigError with the numbers if the options contradict each other."""
    for option_name, what, expected in _contradictions(options, database):
        raise ConfigError(where(option_name), what, expected)


def _contradictions(options: Election, database: str) -> Iterator[tuple[str, str, str]]:
    """(the option to change, what is wrong, what would be right)"""
    chosen, sqlite = kind(options, database), database.startswith("sqlite")
    wrong = (
        (
            chosen == "file" and not sqlite,
            ("election", "election = file", "works with a sqlite:/// database only: give etcd_endpoints"),
        ),
        (
            chosen == "file" and bool(options.unix_socket),
            ("unix_socket", "with election = file", "two processes cannot share a Unix socket: expected host and port"),
        ),
        (
            chosen == "etcd" and not options.etcd_endpoints,
            ("election", "election = etcd", "needs etcd_endpoints, such as http://10.0.0.1:2379"),
        ),
        (
            chosen == "etcd" and sqlite,
            ("database", "a SQLite file is on one machine", "with etcd, expected postgresql:// or mysql://"),
        ),
        (
            bool(options.vip) and chosen != "etcd",
            ("vip", f"vip with election = {chosen}", "an address moves only between nodes that share an etcd"),
        ),
        (
            bool(options.vip) and not options.vip_interface,
            ("vip_interface", "not set", "expected the interface that carries the vip, such as eth0"),
        ),
        (
            bool(options.etcd_cert_file) != bool(options.etcd_key_file),
            ("etcd_cert_file", "etcd_cert_file and etcd_key_file", "expected both or neither"),
        ),
        (
            bool(options.etcd_password and options.etcd_password_file),
            ("etcd_password_file", "etcd_password is set too", "give one of them"),
        ),
        (
            options.durability == "strict" and not database.startswith("postgresql"),
            ("durability", "durability = strict", "needs PostgreSQL with a synchronous standby; expected available"),
        ),
    )
    yield from (explained for found, explained in wrong if found)
    for address in options.vip:
        try:
            ipaddress.ip_interface(address)
        except ValueError as error:
            yield "vip", f"{address!r}: {error}", "expected address/prefix, such as 10.0.0.100/24"
    renewal, usable = options.renew_every + options.request_timeout, options.lease_ttl - options.lease_margin
    if not renewal < usable:
        numbers = f"{options.renew_every:g} + {options.request_timeout:g} = {renewal:g}, "
        numbers += f"{options.lease_ttl:g} - {options.lease_margin:g} = {usable:g}"
        yield (
            "lease_ttl",
            f"renew_every + request_timeout < lease_ttl - lease_margin does not hold: {numbers}",
            "one late renewal would lose the lease",
        )
