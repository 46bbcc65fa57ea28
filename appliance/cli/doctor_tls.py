"""Whether the other nodes would accept this one's certificate: a handshake with ourselves, in memory.

As they do, it verifies who signed the certificate, its times, and that it names the host they call.
"""

import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

from luigi_ha.appliance.cli.doctor_findings import Examiner, Finding
from luigi_ha.appliance.config import Serve
from luigi_ha.appliance.config.access import speaks_tls
from luigi_ha.appliance.tls import TlsError, TlsFiles, client_context, server_context

_examiner = Examiner("certificates")


def own_certificate(serve: Serve) -> Iterator[Finding]:
    """Of tls_certificate, tls_key and tls_ca, together."""
    if not speaks_tls(serve):
        return
    host = urlsplit(serve.advertise).hostname or serve.host or socket.gethostname()
    files = TlsFiles(serve.tls_certificate, serve.tls_key, serve.tls_client_ca, serve.tls_client_required, serve.tls_ca)
    what = f"tls for https://{host}"
    try:
        reason = refusal(files, host)
    except TlsError as error:
        yield _examiner.fail(f"{error.option}", error.what, error.expected)
        return
    if reason is None:
        yield _examiner.ok(what, "the other nodes accept it")
    else:
        expected = "a certificate that tls_ca signed, for the host of advertise" + (
            ", for servers and for clients" if serve.tls_client_ca else ""
        )
        yield _examiner.fail(what, f"the other nodes would refuse it: {reason}", expected)


def refusal(files: TlsFiles, host: str) -> str | None:
    """Why a node that calls this one at `host` would not go on, or would not be let in; None: they agree. TlsError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context(files).wrap_bio(to_server, to_client, server_side=True)
    client = client_context(files).wrap_bio(to_client, to_server, server_hostname=host)
    done: set[ssl.SSLObject] = set()
    while len(done) < 2:
        for side in (client, server):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as error:
                return getattr(error, "verify_message", "") or str(error.reason).lower().replace("_", " ")
    return None
