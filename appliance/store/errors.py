"""What the store refuses or cannot do, as types.

Three kinds, never mixed: *definitive* (FencedError, NotAPrefix, Poisoned, the schema's, BadUrl, Unusable: waiting does
not help), *unknown* (DatabaseAway: the call may or may not have happened; asking again settles it), and *closed*.
"""
# ruff: noqa: N818 - each name says what happened, at every call site


class StoreError(Exception):
    """Root of the store's errors. Messages never contain a password."""


class BadUrl(StoreError):
    """The database URL cannot be understood. The message says what would be."""


class Unusable(StoreError):
    """The database is there and will not serve us: unwritable directory, wrong version, no such database, no
    permission."""


class DatabaseAway(StoreError):
    """The database did not answer, answered too late, or said it cannot right now. The outcome of the call is
    unknown."""


class OlderDatabase(StoreError):
    """The database is older than what was seen of it: deleted, replaced, restored. `luigi-ha db accept` goes on with
    it all the same."""


class SchemaMissing(StoreError):
    """The database has no tables of ours, or older ones than this program needs. `luigi-ha db upgrade` makes them."""


class SchemaTooNew(StoreError):
    """A newer luigi-ha upgraded the database; this one does not know its tables and leaves them alone."""


class Corrupt(StoreError):
    """The tables hold what no journal writes. Somebody changed them by hand, or a disk did."""


class FencedError(StoreError):
    """Somebody else leads, or the log is not the one we wrote: nothing more can be committed. Stop, or load anew."""


class NotAPrefix(StoreError):
    """What was read before is not the beginning of the log in the database, or retention dropped what follows it. Load
    anew."""


class Poisoned(StoreError):
    """The database will never take one of the records. Discard the state in memory and load anew."""


class JournalClosed(StoreError):
    """The journal was closed before the change was committed."""


class NameTaken(StoreError):
    """A token's name was given before. Names are given once."""


class FenceRefused(StoreError):
    """One transaction's compare-and-set on `leadership` found another position. Not yet a verdict: see `journal`."""
