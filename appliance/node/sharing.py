"""One port for the two processes of a pair, and for nobody else.

The kernel lets any process of this user join in listening on a shared port, and would deal connections to all of them:
two pairs on one port would mix their callers. So who comes second asks who is there.
"""

import json
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import urlopen

from luigi_ha.appliance import log
from luigi_ha.appliance.config import Serve
from luigi_ha.appliance.config.access import own_url, speaks_tls
from luigi_ha.appliance.tls import blind_context

PATIENCE = 2.0  # s
_log = log.get("node")


def check_port(serve: Serve, pair: str) -> None:
    """OSError if somebody else than our pair listens there. Blocks for at most a few seconds."""
    port = serve.port
    if port == 0:
        return
    context = blind_context() if speaks_tls(serve) else None
    try:
        url = own_url(serve, serve.host or "127.0.0.1") + "/health"
        with urlopen(url, timeout=PATIENCE, context=context) as reply:  # noqa: S310 - http or https, of ours
            found = json.loads(reply.read(100_000))
    except TimeoutError:
        _log.warning("port_does_not_answer", port=port)  # the other process of our pair may be stopped
        return
    except HTTPError as error:
        error.close()
        found = None
    except (OSError, HTTPException):
        return  # free, or whoever has it does not share: binding will tell
    except ValueError:
        found = None
    theirs = found.get("pair") if isinstance(found, dict) else None
    if theirs != pair:
        who = f"the schedulers of {theirs}" if theirs else "another program"
        raise OSError(f"cannot listen on port {port}: {who} listen there; expected a free port (--port)")
