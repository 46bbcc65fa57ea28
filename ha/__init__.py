"""Leases and election. Knows nothing of tasks; imports nothing of `appliance` or `worker`.

* `lease`: the rule of time: until when a lease is ours
* `elector`: the port: who leads, under which epoch
* `hold`: staying leader, and knowing when it is over
* `handover`: the planned switchover to a named node
* `filelock`: the port on one machine
* `etcd`: the port on several
* `memory`: the port in memory, for rules on virtual time
* `errors`: definitive, unknown, fatal

The node does not use it yet. The keeper process and the virtual IP come next.
"""
