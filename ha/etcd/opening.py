"""An elector on etcd, put together and checked."""

from typing import Literal

from luigi_ha.ha.elector import Candidate
from luigi_ha.ha.errors import Fatal
from luigi_ha.ha.etcd.config import EtcdConfig
from luigi_ha.ha.etcd.elector import EtcdElector
from luigi_ha.ha.etcd.transport import Transport
from luigi_ha.ha.lease import Timing

TransportName = Literal["gateway", "grpc"]


def etcd_elector(
    config: EtcdConfig, candidate: Candidate, timing: Timing, prefix: str, transport: TransportName = "gateway"
) -> EtcdElector:
    """The elector over the JSON gateway or over gRPC. Fatal if the configuration or the times cannot work; connects to
    nobody yet.

    Every cluster of ours in the same etcd has a `prefix` of its own, ending in a slash.
    """
    if not (prefix.startswith("/") and prefix.endswith("/") and len(prefix) > 1):
        raise ValueError(f"prefix {prefix!r}: expected /.../")
    config.check(timing)
    opened = etcd_transport(config, transport)
    return EtcdElector(opened, candidate, timing, prefix, probe_every=config.probe_every)


def etcd_transport(config: EtcdConfig, name: str) -> Transport:
    """The transport of this name. Fatal if there is no such one, or what it needs is not installed."""
    if name == "gateway":
        from luigi_ha.ha.etcd.gateway import Gateway  # noqa: PLC0415 - aiohttp is slow to load; a pair does without

        return Gateway(config)
    if name != "grpc":
        raise Fatal(f"etcd_transport: {name!r}; expected gateway or grpc")
    from luigi_ha.ha.etcd.grpc import Grpc  # noqa: PLC0415 - its library is optional, and slow to load

    return Grpc(config)
