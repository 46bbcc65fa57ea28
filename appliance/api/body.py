"""Reading a request's body. Nothing larger than the limit is ever held, and nobody sends one for ever."""

import asyncio

from aiohttp import web

from luigi_ha.appliance.api.errors import BadRequest, TooLarge
from luigi_ha.appliance.api.traffic import Share, full

BODY_TIMEOUT = 60.0  # s for a client to send its body


async def read_body(request: web.BaseRequest, limit: int, share: Share, known: bool) -> bytes:
    """Return the request's body. TooLarge before it is read when it says so itself, else as soon as it shows;
    Unavailable when too many bytes are on their way already.

    What is read is counted in `share`, for a caller who is `known` or not, until that is closed.
    """
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the reply has not begun
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > limit:
                    raise _too_large(limit)
                if not share.hold(len(body), known):
                    raise full()
    except TimeoutError as error:
        raise BadRequest(
            f"the body took more than {BODY_TIMEOUT:g} s", where="body", expected="a whole body"
        ) from error
    except web.RequestPayloadError as error:
        raise BadRequest("the body ended early or is malformed", where="body", expected="a whole body") from error
    else:
        return bytes(body)
    finally:
        # An error keeps this frame for as long as aiohttp keeps the error: not the body with it.
        body.clear()


def _too_large(limit: int) -> TooLarge:
    return TooLarge(
        f"a body of more than {limit} bytes",
        where="Content-Length",
        expected=f"at most {limit} bytes (options max_body and max_task_body of luigi-ha serve)",
    )
