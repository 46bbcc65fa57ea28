"""A fresh Debian 12 in which the pages are typed from top to bottom: `make newcomer-drill` (as root).

    python -m drills.newcomer [--without "make test"] [--keep]

`debootstrap` makes a system with git, make and python3 and nothing else (kept in /var/tmp/luigi-ha-newcomer; a minute
the first time); this machine's settings of apt and pip, and whom it trusts, are copied, so that it finds their
packages. Each page is typed into a copy of it, in a new clone of this repository's last commit: blocks marked `bash`
and `sh`. Every command must exit as written. Prints each page's time; exit code 1 if one has failed.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.docs.pages import ROOT, script

PLACE = Path("/var/tmp/luigi-ha-newcomer")
PAGES = ("README.md", "docs/first-hour.md", "examples/README.md")
INCLUDED = "git,make,python3,ca-certificates"
COPIED = (
    "/etc/apt/sources.list", "/etc/apt/sources.list.d", "/etc/apt/apt.conf.d", "/etc/apt/auth.conf.d",
    "/usr/share/keyrings", "/etc/ssl/certs", "/usr/local/share/ca-certificates", "/usr/share/ca-certificates",
    "/etc/pip.conf", "/etc/xdg/pip", "/etc/resolv.conf", "/etc/hosts",
)  # fmt: skip
PASSED_ON = ("PIP_", "SSL_", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "http", "HTTP", "no_proxy", "NO_PROXY", "GIT_SSL")
SECONDS = 3600.0  # for one page


class Failed(Exception):  # noqa: N818
    """In words."""


def base() -> Path:
    """The fresh system, made once."""
    made, mark = PLACE / "base", PLACE / "made"
    if mark.exists() and mark.read_text() == INCLUDED:
        return made
    if shutil.which("debootstrap") is None:
        raise Failed("debootstrap is not installed; expected: apt-get install debootstrap")
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir(parents=True)
    ask = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Codename: bookworm"]
    mirror = subprocess.run(ask, check=True, capture_output=True, text=True).stdout.split()[0]
    say(f"debootstrap of Debian 12 into {made}")
    command = ["debootstrap", "--variant=minbase", f"--include={INCLUDED}", "bookworm", str(made), mirror]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"debootstrap: {(done.stdout + done.stderr)[-2000:]}")
    mark.write_text(INCLUDED)
    return made


def copy(made: Path, name: str) -> Path:
    """A copy of it for one page, with a clone of what is committed here."""
    place = PLACE / name
    subprocess.run(["rm", "-rf", str(place)], check=True)
    subprocess.run(["cp", "-a", "--reflink=auto", str(made), str(place)], check=True)
    for path in map(Path, COPIED):
        if path.exists():
            target = place / path.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            # Links in it that lead nowhere are errors to cp, and nothing to us.
            subprocess.run(["cp", "-aLT", str(path), str(target)], check=False, stderr=subprocess.DEVNULL)
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(place / "root" / "luigi-ha")], check=True)
    return place


def typed(page: str, without: list[str]) -> str:
    """The page's commands; what is left out is said."""
    lines = []
    for line in script(ROOT / page, ("bash", "sh")).splitlines():
        if any(line.startswith(each) for each in without):
            say(f"left out: {line.split('#')[0].strip()}")
        else:
            lines.append(line)
    return "\n".join(lines)


def play(place: Path, program: str, log: Path) -> int:
    """Type it there: mounts and processes of its own; the network is this machine's, where packages come from.

    With chroot instead of pivot_root the hosts of the lab, which have mounts of their own, would be outside again.
    """
    (place / "root" / "page.sh").write_text(program)
    inside = (
        "mount -t proc proc proc && mount --rbind /sys sys && mount --rbind /dev dev && mount -t tmpfs tmpfs run && "
        "mkdir -p run/netns .old && pivot_root . .old && umount -l .old && cd /root/luigi-ha && exec bash /root/page.sh"
    )
    environment = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
    environment |= {"HOME": "/root", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TERM": "dumb"}
    root = shlex.quote(str(place))
    entered = f"mount --bind {root} {root} && cd {root} && {inside}"
    command = ["unshare", "--mount", "--pid", "--fork", "--uts", "--kill-child", "sh", "-c", entered]
    with log.open("w") as out:
        try:
            done = subprocess.run(
                command, env=environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return -1
    return done.returncode


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--without", action="append", default=[], help="leave out commands that begin so; repeat it")
    parser.add_argument("--keep", action="store_true", help="leave the systems for a look")
    parser.add_argument("pages", nargs="*", default=list(PAGES))
    given = parser.parse_args()
    failed = 0
    try:
        made = base()
        for page in given.pages:
            name = page.replace("/", "-")
            place, log, began = copy(made, name), PLACE / f"{name}.log", time.monotonic()
            code = play(place, typed(page, given.without), log)
            say(f"{page}: exit code {code}, {time.monotonic() - began:.0f} s ({log})")
            if code:
                failed += 1
                print("".join(log.read_text().splitlines(keepends=True)[-30:]))
            if not given.keep:
                subprocess.run(["rm", "-rf", "--one-file-system", str(place)], check=False)
    except Failed as error:
        print(f"newcomer: {error}", file=sys.stderr)
        return 2
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
