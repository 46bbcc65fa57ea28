"""The optional library behind the transport over gRPC, and what it must be told before it is loaded.

The stubs of the package etcd3 are of 2020: they need protobuf's implementation in Python, chosen by an environment
variable that is read when protobuf is imported first. The library's own client is not used: it knows one endpoint, and
never renews its token.
"""

import os
import warnings
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

from luigi_ha.ha.errors import Fatal

ENVIRONMENT = {
    "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python",
    "GRPC_ENABLE_FORK_SUPPORT": "0",  # whoever forks here executes another program at once
    "GRPC_VERBOSITY": "ERROR",
}


class Library(NamedTuple):
    """The modules, all without types."""

    grpc: Any
    aio: Any
    rpc: Any  # etcd3.etcdrpc: messages and stubs
    unknown_fields: Any  # google.protobuf.unknown_fields.UnknownFieldSet


@cache
def library() -> Library:
    """Loads it, once. Fatal, with what to install, if it is missing or does not work here."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # protobuf calls these stubs deprecated
            rpc = import_module("etcd3.etcdrpc")
            grpc, aio = import_module("grpc"), import_module("grpc.aio")
            unknown_fields = import_module("google.protobuf.unknown_fields").UnknownFieldSet
    except (ImportError, TypeError) as error:  # TypeError: protobuf refuses the old stubs
        raise Fatal(
            f"etcd_transport: grpc needs the packages of luigi-ha[etcd3], which cannot be loaded: {error}; "
            "expected `pip install luigi-ha[etcd3]`, or etcd_transport: gateway"
        ) from error
    return Library(grpc, aio, rpc, unknown_fields)
