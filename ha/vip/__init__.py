"""The address by which clients find the leader. It lives exactly as long as the lease.

* `port`: what the keeper asks for; and the address of who has none
* `configured`: addresses as given by the operator, parsed and compared as numbers
* `netlink`: the port on Linux's netlink, in a thread of its own
* `holder`: the rule: should it be here, and what does the kernel show?
* `kernel`: addresses and interfaces as the kernel has them, by the messages of `rtnetlink`
* `wire`: announcing, asking and hearing on the segment, with the messages of `frames`
* `refusals`: silence, while an address outlives its listener
* `sweep`: removing what is left, for the start and for a supervisor's stop hook
"""

from luigi_ha.ha.vip.port import Address, NoAddress

__all__ = ["Address", "NoAddress"]
