"""HTTP: Luigi's RPC, the operators' REST paths, health, metrics and the visualiser's files.

    socket -> fastlane (Luigi's calls, no framework) or routes (aiohttp: everything else)
           -> dispatch: gate -> executor: engine -> journal -> reply

Invariant: a reply leaves only after everything it reveals is committed.
"""

from luigi_ha.appliance.api.calls import Limits
from luigi_ha.appliance.api.dispatch import Dispatcher
from luigi_ha.appliance.api.gate import Gate
from luigi_ha.appliance.api.metrics import Metrics
from luigi_ha.appliance.api.server import ApiServer, Listen

__all__ = ["ApiServer", "Dispatcher", "Gate", "Limits", "Listen", "Metrics"]
