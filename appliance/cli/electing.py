"""From the options to access to leadership."""

import socket
from collections.abc import Callable
from pathlib import Path

from luigi_ha.appliance.cli.pairing import lock_directory, peers_socket
from luigi_ha.appliance.config import Serve
from luigi_ha.appliance.config.access import own_url
from luigi_ha.appliance.config.election import kind
from luigi_ha.appliance.config.load import secret
from luigi_ha.ha.elector import Candidate, Elector
from luigi_ha.ha.etcd.config import EtcdConfig
from luigi_ha.ha.etcd.opening import TransportName, etcd_elector, etcd_transport
from luigi_ha.ha.filelock import FileLockElector
from luigi_ha.ha.lease import Timing
from luigi_ha.ha.primary import LeftAlone, PrimaryMover


def etcd_config(serve: Serve) -> EtcdConfig:
    """Where etcd is; Fatal if that cannot work."""
    return EtcdConfig(
        endpoints=serve.etcd_endpoints,
        attempt_timeout=min(0.5, 0.45 * serve.request_timeout),  # one that is dead must not use up a renewal
        ca_file=Path(serve.etcd_ca_file) if serve.etcd_ca_file else None,
        cert_file=Path(serve.etcd_cert_file) if serve.etcd_cert_file else None,
        key_file=Path(serve.etcd_key_file) if serve.etcd_key_file else None,
        user=serve.etcd_user or None,
        password=secret(serve.etcd_password, serve.etcd_password_file, "etcd_password_file") or None,
    )


def mover(serve: Serve, system: Callable[[], int | None]) -> PrimaryMover:
    """What moves the database's primary away from a host that is lost; HaError if it cannot work."""
    if kind(serve, serve.database) != "etcd" or not serve.database.startswith("postgresql"):
        return LeftAlone("there is no etcd, or no PostgreSQL")
    if serve.database_failover == "off":
        return LeftAlone("database_failover = off")
    if serve.durability != "strict":
        return LeftAlone(f"durability = {serve.durability}: what was acknowledged may be on the primary alone")
    from luigi_ha.ha.primary.patroni import PatroniMover  # noqa: PLC0415 - for those who have it

    transport = etcd_transport(etcd_config(serve), serve.etcd_transport)
    return PatroniMover(transport, system, serve.request_timeout, f"/{serve.patroni_namespace.strip('/')}/")


def candidate(serve: Serve, name: str) -> Candidate:
    """This node, as the others see it."""
    from importlib.metadata import version  # noqa: PLC0415 - slow to load, and `release` does without

    if kind(serve, serve.database) == "file":
        address = "unix:" + peers_socket(serve.database, name)
    else:
        address = serve.advertise or own_url(serve, serve.host or socket.gethostname())
    return Candidate(name, address.rstrip("/"), {"version": version("luigi-ha"), "host": socket.gethostname()})


def elector(serve: Serve, name: str, *, seen: bool = True) -> Elector:
    """Access to leadership. Call it on a running event loop; HaError if it cannot work. Who is not `seen` acts for a
    node without being one: it neither leads nor is a member."""
    timing = Timing(serve.lease_ttl, serve.renew_every, serve.request_timeout, serve.lease_margin)
    me = candidate(serve, name) if seen else Candidate(name, "", {})
    if kind(serve, serve.database) == "file":
        return FileLockElector(lock_directory(serve.database), me, timing)
    transport: TransportName = "grpc" if serve.etcd_transport == "grpc" else "gateway"
    return etcd_elector(etcd_config(serve), me, timing, f"/luigi-ha/{serve.cluster}/", transport)
