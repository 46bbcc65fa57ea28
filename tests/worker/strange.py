"""A module that no worker of the tests is told to import; that somebody imported it shows in the ledger."""

from tests.worker.pipelines import Noted, note

note("strange imported")


class Strange(Noted):
    pass
