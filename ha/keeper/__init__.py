"""The keeper: the process that holds lease and address, and starts, watches and restarts the scheduler.

* `cells`: the shared memory with the deadline
* `messages`, `channel`: what the two processes say to each other, and how
* `link`: the scheduler's side of both
* `child`, `nurse`: one scheduler process; starting it again
* `holder`: the address follows the lease
* `seat`, `reign`, `handing`: one leadership: what it consists of, its life, and its planned end
* `board`: what is known now; `news`: what is heard and passed on; `why`: in words
* `lines`: log lines that delay nothing
* `keeper`: all of it, in one process
"""
