"""What `exists()` does about checksums, the same for all targets."""

from collections.abc import Callable
from typing import Literal

from luigi_ha.worker.targets import verified
from luigi_ha.worker.targets.digests import Digests
from luigi_ha.worker.targets.errors import ChecksumMismatch, NoChecksum

# verify: compare if there is one. require: there must be one. ignore: what is there is there, as with luigi.
Checksum = Literal["verify", "require", "ignore"]


def check(
    name: str,
    rule: Checksum,
    written: Digests | None,
    version: tuple[object, ...],
    count: Callable[[], Digests],
    *,
    shared: bool = False,
) -> None:
    """Raise unless `name` is what was `written`. `count` reads it: only if this version was not found right before."""
    if rule == "ignore":
        return
    if written is None:
        if rule == "require":
            raise NoChecksum(f"{name} has no checksum")
        return
    identity = (*version, *written)
    if verified.contains(identity, shared=shared):
        return
    counted = count()
    if counted != written:
        raise ChecksumMismatch(f"{name} is not what was written: it has {counted}; written was {written}")
    verified.add(identity, shared=shared)
