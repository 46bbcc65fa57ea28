"""The worker daemon and its client. Imports luigi; imports nothing of `appliance` or `ha`.

worker.client   luigi's RemoteScheduler that never gives up
worker.spool    what a worker must not forget: the runs it began and their results
worker.daemon   `luigi-ha worker`: luigi's own Worker around both
worker.targets  outputs that are written once, appear at once, and are verified
"""
