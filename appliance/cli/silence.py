"""From the options to the rule that keeps an address without a listener silent."""

from luigi_ha.appliance.config import Serve
from luigi_ha.ha.vip.configured import configured
from luigi_ha.ha.vip.refusals import Refusals


def silence(serve: Serve) -> Refusals | None:
    """None if nothing moves, or nobody is called at a known port there."""
    if not serve.vip or not serve.port or serve.unix_socket:
        return None
    return Refusals(configured(serve.vip), serve.cluster, serve.port)
