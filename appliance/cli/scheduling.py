"""Running the scheduler itself: under a keeper, or alone."""

import asyncio
import importlib
import os
import sys
from functools import partial

from luigi_ha.appliance.cli.electing import elector, mover
from luigi_ha.appliance.cli.explained import explained
from luigi_ha.appliance.cli.pairing import lock_directory, peers_socket
from luigi_ha.appliance.config import Loaded
from luigi_ha.appliance.config.election import kind, node_name
from luigi_ha.appliance.config.load import database_url
from luigi_ha.appliance.node import Node, NodeOptions
from luigi_ha.appliance.node.primary_watch import PrimaryAccess
from luigi_ha.appliance.store.target import parse
from luigi_ha.ha.keeper.link import Link

# s. The journal's writer needs the interpreter for moments only, but several times per commit; at Python's 5 ms it
# waits for a busy event loop that long each time, and the database idles (measured: commits of 2.6 ms instead of 6.1).
THREAD_SWITCH = 0.0001


def schedule(loaded: Loaded, link: Link | None) -> int:
    """Serve until a signal or the keeper's word; the exit code."""
    with explained():
        options, serving = loaded.options, loaded.options.serve
        url = database_url(serving)
        parse(url)  # what cannot be understood is refused now
        name = node_name(serving, serving.database, os.getpid())
        if link is None:
            node = NodeOptions(options, url, f"{name}:{os.getpid()}" if serving.name else name)
        elif kind(serving, serving.database) == "file":
            pair, peers = str(lock_directory(serving.database)), peers_socket(serving.database, name)
            node = NodeOptions(options, url, name, link, pair=pair, for_peers=peers)
        else:
            node = NodeOptions(
                options, url, name, link, outlives_keeper=True,
                primary=PrimaryAccess(partial(mover, serving), partial(elector, serving, name, seen=False)),
            )  # fmt: skip
        return _run(Node(node))


def _run(node: Node) -> int:
    """On uvloop where there is one."""
    sys.setswitchinterval(THREAD_SWITCH)
    try:
        factory = importlib.import_module("uvloop").new_event_loop
    except ImportError:
        factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        return int(runner.run(node.run()))
