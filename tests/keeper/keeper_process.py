"""A keeper as a process, for tests that kill and freeze it.

    python -m tests.keeper.keeper_process NAME JOURNAL BEHAVIOUR DIRECTORY|ENDPOINTS PREFIX

With a directory it leads by a lock in it, with endpoints (separated by commas) by etcd. Its exit code is the keeper's.
"""

import asyncio
import json
import logging
import sys
from pathlib import Path

from luigi_ha.ha.elector import Candidate, Elector
from luigi_ha.ha.etcd.config import EtcdConfig
from luigi_ha.ha.etcd.opening import etcd_elector
from luigi_ha.ha.filelock import FileLockElector
from luigi_ha.ha.keeper.keeper import Keeper
from luigi_ha.ha.vip.port import NoAddress
from tests.keeper.cluster import TIMING, options


async def main(name: str, journal: str, behaviour: str, where: str, prefix: str) -> int:
    candidate = Candidate(name, f"http://{name}")
    if where.startswith("/"):
        elector: Elector = FileLockElector(Path(where), candidate, TIMING)
    else:
        config = EtcdConfig(tuple(where.split(",")), attempt_timeout=0.4, probe_every=0.3)
        elector = etcd_elector(config, candidate, TIMING, prefix)
    mode = "file" if where.startswith("/") else "etcd"
    own = {"on_lost": "exit" if mode == "file" else "deadline", **json.loads(behaviour)}
    more = own.pop("keeper", {})
    return await Keeper(options(name, Path(journal), own, mode=mode, **more), elector, NoAddress()).run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s %(luigi_ha_fields)s")
    sys.exit(asyncio.run(main(*sys.argv[1:])))
