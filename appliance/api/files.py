"""Luigi's own visualiser, served from the installed `luigi` package when it is there.

Luigi is not imported: only its directory is looked up. Paths that leave that directory are not found.

The visualiser puts names and messages into its page as HTML. The policy of that page lets none of it run; where the
script is the one we know, it shows them as the text they are.
"""

import importlib.util
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from luigi_ha.appliance.api.errors import NotFound
from luigi_ha.appliance.api.hardening import page_headers

LONGEST_NAME = 200  # characters
_TEXT = "$('<i>').text(%s).html()"
# What visualiserApp.js inserts as HTML, and the same as text; and what it shows that is not here.
_AS_TEXT = (
    ("{data: 'taskName'},", "{data: 'taskName', render: function (data) { return " + _TEXT % "data" + "; }},"),
    ("row.resources + '</div>'", _TEXT % "row.resources" + " + '</div>'"),
    ('$("#statusMessageModal pre").html(data.statusMessage)', '$("#statusMessageModal pre").text(data.statusMessage)'),
    ("$responseContent.html(response)", "$responseContent.text(response)"),
    # No pages of a history are served here: no link to them.
    ("if (hasTaskHistory) {", "if (false) {"),
)


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
    name = unquote(path, errors="replace")
    if name.isprintable() and len(name) <= LONGEST_NAME:
        file = (directory / name).resolve()
        if file.is_relative_to(directory) and file.is_file():
            return file
    raise NotFound("no such file", where="/static/", expected="/static/visualiser/index.html")


def page_of(file: Path) -> dict[str, str]:
    """The headers of one of those files: a page names the scripts that stand in it."""
    return _page_headers(file) if file.suffix == ".html" else {}


@cache
def as_text(file: Path) -> bytes | None:
    """The content of a script that inserts what callers sent as HTML, changed to insert it as text; None: it is served
    as it is."""
    if file.name != "visualiserApp.js":
        return None
    script = file.read_text("utf-8")
    for before, after in _AS_TEXT:
        script = script.replace(before, after)
    return script.encode("utf-8")


@cache
def _page_headers(file: Path) -> dict[str, str]:
    return page_headers(file.read_bytes())
