"""The keeper: the process that holds lease and address, and starts, watches and restarts the scheduler.

* `cells`: the shared memory with the deadline
* `messages`, `channel`: what the two processes say to each other, and how
* `link`: the scheduler's side of both
"""
