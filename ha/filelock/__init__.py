"""Leadership on one machine: a lock on a file is the lease.

* `elector`: the port of leadership (`luigi_ha.ha.elector`)
* `files`: what is on the disk: the lock, who holds it, and the restrictions
* `presence`: one locked file for each member
* `follow`: who watches, in a thread
"""

from luigi_ha.ha.filelock.elector import FileLockElector

__all__ = ["FileLockElector"]
