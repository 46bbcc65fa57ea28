"""An elector on etcd, put together and checked."""

from ha.elector import Candidate
from ha.etcd.config import EtcdConfig
from ha.etcd.elector import EtcdElector
from ha.etcd.gateway import Gateway
from ha.lease import Timing


def etcd_elector(config: EtcdConfig, candidate: Candidate, timing: Timing, prefix: str) -> EtcdElector:
    """The elector over the JSON gateway. Fatal if the configuration or the times cannot work; connects to nobody yet.

    Every cluster of ours in the same etcd has a `prefix` of its own, ending in a slash.
    """
    if not (prefix.startswith("/") and prefix.endswith("/") and len(prefix) > 1):
        raise ValueError(f"prefix {prefix!r}: expected /.../")
    config.check(timing)
    return EtcdElector(Gateway(config), candidate, timing, prefix, probe_every=config.probe_every)
