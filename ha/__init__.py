"""Leases and election. Knows nothing of tasks; imports nothing of `appliance` or `worker`.

* `lease`: the rule of time: until when a lease is ours
* `elector`: the port: who leads, under which epoch
* `hold`: staying leader, and knowing when it is over
* `filelock`: the port on one machine
* `etcd`: the port on several
* `memory`: the port in memory, for rules on virtual time
* `keeper`: the process that leads on behalf of a scheduler
* `vip`: the address that moves with the leadership
* `supervisor`: what systemd wants to know
* `errors`: definitive, unknown, fatal
"""
