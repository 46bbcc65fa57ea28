"""Errors of luigi's own client."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import HTTPError

import pytest
from luigi.rpc import RPCError


@contextmanager
def rpc_error() -> Iterator[None]:
    """One is raised in here. Luigi leaves the reply of an HTTP error open, in a cycle of its retries: whatever test ran
    when that is collected would be charged with a socket. Closed here."""
    with pytest.raises(RPCError) as raised:
        yield
    if isinstance(raised.value.sub_exception, HTTPError):
        raised.value.sub_exception.close()
