"""What can go wrong in the lab. The message is for people."""


class LabError(Exception):
    """The lab could not do what was asked."""


class NoLab(LabError):  # noqa: N818 - said of a lab, not of a mistake
    """Nothing of a lab runs in this directory, or not the host that was asked for."""


class WrongUse(LabError):  # noqa: N818
    """No such host or fault, not root, a program missing: nothing was changed."""


class NoBite(LabError):  # noqa: N818
    """A fault was injected, and what it should have broken still works."""
