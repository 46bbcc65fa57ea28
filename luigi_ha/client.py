"""Luigi's connection to a scheduler, with several addresses and patience: public, and stable within a major version.

    import luigi
    from luigi_ha.client import PatientScheduler, parse_addresses

    scheduler = PatientScheduler(parse_addresses(["http://n1:8082,http://n2:8082"]))
    worker = luigi.worker.Worker(scheduler=scheduler)

`PatientScheduler` takes the place of `luigi.rpc.RemoteScheduler`; `luigi-ha exec` gives it to a pipeline that is not
to be changed. Needs luigi (the extra `worker`).
"""

try:
    import luigi as _luigi  # noqa: F401
except ModuleNotFoundError:
    raise ImportError("luigi_ha.client needs luigi; expected: pip install 'luigi-ha[worker]'") from None

from luigi_ha.worker.client import (
    Address,
    BadAddress,
    CallError,
    Credentials,
    GaveUp,
    Patience,
    PatientScheduler,
    Refused,
    Stale,
    Tls,
    parse_addresses,
)

__all__ = [
    "Address",
    "BadAddress",
    "CallError",
    "Credentials",
    "GaveUp",
    "Patience",
    "PatientScheduler",
    "Refused",
    "Stale",
    "Tls",
    "parse_addresses",
]
