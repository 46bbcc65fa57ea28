"""Luigi's own visualiser, served from the installed `luigi` package when it is there.

Luigi is not imported: only its directory is looked up. Paths that leave that directory are not found.
"""

import importlib.util
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from appliance.api.errors import NotFound


@cache
def static_directory() -> Path | None:
    """`luigi/static` of the installed package, or None."""
    spec = importlib.util.find_spec("luigi")
    if spec is None or spec.origin is None:
        return None
    directory = Path(spec.origin).parent / "static"
    return directory.resolve() if directory.is_dir() else None


def static_file(path: str) -> Path:
    """The file of the URL path below /static/; raises NotFound."""
    directory = static_directory()
    if directory is None:
        raise NotFound(
            "the visualiser belongs to the `luigi` package, which is not installed beside this server",
            where="/static/",
            expected="pip install luigi on this machine, then a restart",
        )
    if "\0" not in path:
        file = (directory / unquote(path)).resolve()
        if file.is_relative_to(directory) and file.is_file():
            return file
    raise NotFound("no such file", where="/static/", expected="/static/visualiser/index.html")
