"""Certificates for tests, and contexts of clients that show or trust them."""

import ssl
import warnings
from pathlib import Path

from luigi_ha.appliance.tls import TlsFiles
from tests.ha.authority import Authority
from tests.support.etcd import Tls as Pair

HERE = "IP:127.0.0.1,DNS:localhost"


def files(pair: Pair, client_ca: Authority | None = None, *, required: bool = False) -> TlsFiles:
    """A server's, whose clients trust its own authority."""
    return TlsFiles(
        certificate=str(pair.certificate),
        key=str(pair.key),
        client_ca=str(client_ca.certificate) if client_ca else "",
        client_required=required,
        ca=str(pair.authority),
    )


def trusting(authority: Authority, shown: Pair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.certificate))
    if shown is not None:
        context.load_cert_chain(shown.certificate, shown.key)
    return context


def only(authority: Authority, version: ssl.TLSVersion) -> ssl.SSLContext:
    """A client that speaks one version alone, and any of its ciphers."""
    context = trusting(authority)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # what is old is what the test is about
        context.minimum_version = context.maximum_version = version
    return context


def replace(pair: Pair, by: Pair) -> None:
    """What a renewal does: new files in place of the old ones."""
    for old, new in ((pair.certificate, by.certificate), (pair.key, by.key)):
        fresh = Path(f"{old}.new")
        fresh.write_bytes(new.read_bytes())
        fresh.rename(old)
