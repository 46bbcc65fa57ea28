"""The client that never gives up: luigi's RemoteScheduler with several addresses, back-off and request ids."""

from worker.client.addresses import Address, BadAddress, parse_addresses
from worker.client.credentials import Credentials, Tls
from worker.client.errors import CallError, GaveUp, Refused, Stale
from worker.client.patience import Patience
from worker.client.scheduler import Call, PatientScheduler

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
