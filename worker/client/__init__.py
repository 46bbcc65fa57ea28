"""The client that never gives up: luigi's RemoteScheduler with several addresses, back-off and request ids."""

from luigi_ha.worker.client.addresses import Address, BadAddress, parse_addresses
from luigi_ha.worker.client.credentials import Credentials, Tls
from luigi_ha.worker.client.errors import CallError, GaveUp, Refused, Stale
from luigi_ha.worker.client.patience import Patience
from luigi_ha.worker.client.scheduler import Call, PatientScheduler

__all__ = [
    "Address",
    "BadAddress",
    "Call",
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
