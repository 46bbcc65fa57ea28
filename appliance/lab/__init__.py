"""A whole cluster on one machine: hosts in namespaces, with etcd, PostgreSQL under Patroni and luigi-ha on each, and
faults to inject. For drills, and for anybody who wants to see it work before buying three machines.

`Lab` is the door. Nothing here is imported by the product itself; the command `luigi-ha lab` is a thin layer above it.
Everything happens in namespaces of the lab's own: the machine's network is never touched. Needs root.
"""
