"""The address by which clients find the leader. It lives exactly as long as the lease."""

from ha.vip.port import Address, NoAddress

__all__ = ["Address", "NoAddress"]
