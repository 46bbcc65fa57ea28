"""A real browser, for what pages can make it do: headless Chromium, one page at a time."""

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.patience import patient

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (.ci/databases does it)")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr",
    "--v=0",
)  # fmt: skip


@dataclass
class Page:
    """A page after its scripts have run."""

    dom: str
    console: str


def visit(url: str, seconds: float = 6.0, names: str = "") -> Page:
    """Open a page, let its scripts run for so many (virtual) seconds, and tell what became of it. `names`: a rule of
    Chromium's resolver, as an attacker's name server would have it."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(prefix="luigi-ha-browser-") as profile:
        command = [
            CHROMIUM, *_FLAGS, f"--user-data-dir={profile}", f"--virtual-time-budget={int(seconds * 1000)}",
            *([f"--host-resolver-rules={names}"] if names else []), "--dump-dom", url,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=patient(120), check=False)
    assert done.stdout, done.stderr[-2000:]
    return Page(done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line))


def write_page(directory: Path, name: str, html: str) -> Path:
    """A page of another site."""
    file = directory / name
    file.write_text(f"<!DOCTYPE html><html><body>{html}</body></html>")
    return file
