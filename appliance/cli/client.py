"""Asking a running scheduler, for the commands that do."""

import json
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from appliance.cli.errors import CommandError
from appliance.exit_codes import ExitCode

DEFAULT_URL = "http://127.0.0.1:8082"
TIMEOUT = 10.0  # s


def ask(url: str, path: str, *, post: bool = False) -> Any:
    """The JSON reply of `url` + `path`; CommandError says why there is none."""
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
        raise CommandError(f"--url {url!r}: expected something like {DEFAULT_URL}", ExitCode.CONFIG)
    request = Request(url.rstrip("/") + path, data=b"data=%7B%7D" if post else None)  # noqa: S310 - scheme checked above
    try:
        with urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310
            return json.loads(response.read())
    except HTTPError as error:
        raise _refused(url, error) from None
    except (URLError, OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise CommandError(f"no scheduler answers at {url}: {reason}", ExitCode.UNREACHABLE) from None
    except ValueError:
        raise CommandError(f"{url} answers, but not as luigi-ha does", ExitCode.UNREACHABLE) from None


def _refused(url: str, error: HTTPError) -> CommandError:
    with error:
        try:
            said = json.loads(error.read())
            problem = said.get("error", said)
            what = problem["detail"] if problem is said else problem["what"]
            message = f"{problem['where']}: {what}; expected {problem['expected']}"
        except (ValueError, KeyError, TypeError, AttributeError, OSError):
            message = f"{url} answers {error.code} {error.reason}, but not as luigi-ha does"
            return CommandError(message, ExitCode.UNREACHABLE)
    return CommandError(message, ExitCode.UNREACHABLE if error.code == 503 else ExitCode.FAILED)
