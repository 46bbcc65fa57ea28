"""Why a member does not talk to us over TLS, asked of TLS itself.

gRPC says only that the endpoint is unavailable. And whoever sends a request right after the handshake may read a reset
instead of the alert that says what is wrong with the certificate: the member had closed. Here nothing is sent.
"""

import asyncio
import ssl
from contextlib import suppress
from urllib.parse import urlsplit

from luigi_ha.ha.errors import Fatal
from luigi_ha.ha.etcd.failures import of_exception

LISTEN = 0.25  # s for a member that is content to keep silent


async def refusal(endpoint: str, context: ssl.SSLContext) -> Fatal | None:
    """What TLS says against this endpoint; None if nothing. Put it under a timeout: a member may not answer at all."""
    parts = urlsplit(endpoint)
    try:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=context)
    except OSError as error:
        return _fatal(error)
    try:
        async with asyncio.timeout(LISTEN):
            await reader.read(1)  # with TLS 1.3 a refused client certificate shows only now
    except TimeoutError:
        return None
    except OSError as error:
        return _fatal(error)
    finally:
        with suppress(OSError):
            # Not close() before: of a connection that is over, Python 3.11.2 (Debian 12) could then not abort any more.
            writer.transport.abort()
    return None


def _fatal(error: OSError) -> Fatal | None:
    found = of_exception(error)
    return found if isinstance(found, Fatal) else None
