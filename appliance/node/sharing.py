"""One port for the two processes of a pair, and for nobody else.

The kernel lets any process of this user join in listening on a shared port, and would deal connections to all of them:
two pairs on one port would mix their callers. So who comes second asks who is there.
"""

import json
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import urlopen

from appliance import log

PATIENCE = 2.0  # s
_log = log.get("node")


def check_port(host: str, port: int, pair: str) -> None:
    """OSError if somebody else than our pair listens there. Blocks for at most a few seconds."""
    if port == 0:
        return
    at = f"[{host}]" if ":" in host else host or "127.0.0.1"
    try:
        with urlopen(f"http://{at}:{port}/health", timeout=PATIENCE) as reply:
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
