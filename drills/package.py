"""What is published, as a stranger installs it: `make package-proof`.

Wheel and source distribution of `dist/` are installed into empty environments outside of the checkout, with
requirements-runtime.lock and nothing else, and used in a directory that has a user's own `worker.py`, `ha.py` and
`appliance/`. Prints sizes, packages and seconds; exit code 1 if anything is not as it should be.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from luigi_ha.appliance.lab.ports import free_port
from tests.support import user_directory

ROOT = Path(__file__).resolve().parents[1]
LISTED = "from luigi_ha.appliance.cli.reference import documented\nfor each in documented(): print(each.name)"
EXTRAS = (  # what is done without an extra -> what is to be installed
    (["python", "-c", "from luigi_ha.targets import S3Target; S3Target('s3://bucket/key').exists()"], "luigi-ha[s3]"),
    (["luigi-ha", "lab", "up"], "luigi-ha[lab]"),
    (["luigi-ha", "serve", "--config", "grpc.toml"], "luigi-ha[etcd3]"),
)


class Failed(Exception):  # noqa: N818
    """What was shown is not what should be."""


def main() -> int:
    wheel, source = next((ROOT / "dist").glob("*.whl"), None), next((ROOT / "dist").glob("*.tar.gz"), None)
    if wheel is None or source is None:
        print("dist/ has no wheel and source distribution; expected: make wheel", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="luigi-ha-package-") as place:
        try:
            for what in (wheel, source):
                installed(what, Path(place) / what.suffix[1:])
            use(Path(place) / "whl", Path(place) / "work")
        except Failed as failed:
            print(f"FAILED: {failed}")
            return 1
    print("all as it should be")
    return 0


def installed(what: Path, env: Path) -> None:
    """Install it, and say what that is."""
    began = time.monotonic()
    run([sys.executable, "-m", "venv", str(env)], Path("/"))
    pip = [str(env / "bin" / "pip"), "install", "-q", "--disable-pip-version-check"]
    run([*pip, "--require-hashes", "-r", str(ROOT / "requirements-runtime.lock")], Path("/"))
    libraries = time.monotonic()
    run([*pip, "--no-deps", str(what)], Path("/"))
    seconds = time.monotonic() - began
    listed = run([str(env / "bin" / "pip"), "list", "--format=freeze"], Path("/")).splitlines()
    packages = [line for line in listed if line.split("==")[0] not in ("pip", "luigi-ha", "luigi_ha")]
    own = next(env.glob("lib/python*/site-packages"))
    ours, everything = size(own / "luigi_ha") / 1e6, size(own) / 1e6
    print(
        f"{what.name}: {what.stat().st_size / 1e3:.0f} kB, installed in {seconds:.1f} s, {libraries - began:.1f} s "
        f"of it the {len(packages)} packages of the lock; {ours:.1f} MB of {everything:.0f} MB are luigi_ha"
    )
    tops = {path.name for path in own.iterdir()} & {"appliance", "ha", "worker", "tests", "drills", "bench"}
    if tops:
        raise Failed(f"it installs {sorted(tops)} at the top")


def use(env: Path, work: Path) -> None:
    """Every command, beside modules of the user that have our folders' names."""
    work.mkdir()
    user_directory.fill(work)
    (work / "grpc.toml").write_text(
        "database = 'postgresql://x@127.0.0.1:9/x'\nelection = 'etcd'\netcd_endpoints = ['http://127.0.0.1:9']\n"
        "etcd_transport = 'grpc'\nauth = 'off'\n"
    )
    ours = str(env / "bin" / "luigi-ha")
    print(run([ours, "--version"], work).strip())
    names = run([str(env / "bin" / "python"), "-c", LISTED], work).splitlines()
    for name in ("", *names):
        run([ours, *name.split(), "--help"], work)
    print(f"--help of {len(names)} commands: ok")
    for command, wanted in EXTRAS:
        program = str(env / "bin" / command[0])
        done = attempt([program, *command[1:]], work)
        said = done.stderr.strip().splitlines()
        last = said[-1] if said else ""
        if done.returncode == 0 or wanted not in last:
            raise Failed(f"{command} without its extra: {done.returncode} {done.stderr[-2000:]}")
        print(f"without its extra: {' '.join(command)[:40]}...: {last}")
    with serving(ours, work) as url:
        began = time.monotonic()
        at = ["--scheduler-url", url]
        run([ours, "exec", *at, "--", "luigi", "--module", "pipeline", "Report", "--to", "by-exec"], work)
        run([ours, "submit", *at, "--module", "pipeline", "Report", "--to", "by-worker"], work)
        run([ours, "worker", *at, "--module", "pipeline", "--max-tasks", "1", "--poll-interval", "0.2"], work)
        for name in ("by-exec", "by-worker"):
            if (work / name).read_text() != "done":
                raise Failed(f"the task that was run {name} has not run")
        print(f"serve, exec, submit, worker: ok in {time.monotonic() - began:.1f} s")


@contextlib.contextmanager
def serving(ours: str, work: Path) -> Iterator[str]:
    port = free_port()
    command = [ours, "serve", "--host", "127.0.0.1", "--port", str(port), "--database", "sqlite:///state.db"]
    with (work / "serve.log").open("wb") as log:
        node = subprocess.Popen(command, cwd=work, stdout=log, stderr=log, env=environment())
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/leader", timeout=5):
                break
            if node.poll() is not None or time.monotonic() > until:
                raise Failed((work / "serve.log").read_text()[-2000:])
            time.sleep(0.1)
        yield url
    finally:
        node.terminate()
        node.wait(60)


def environment() -> dict[str, str]:
    """The user's: the directory is on Python's path."""
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PYTHONPATH": "."}


def attempt(command: list[str], where: Path) -> "subprocess.CompletedProcess[str]":
    """As the user runs it; pip with our environment, which says where its index is."""
    env = dict(os.environ) if "pip" in command[0] or "venv" in command else environment()
    return subprocess.run(command, cwd=where, capture_output=True, text=True, timeout=600, env=env, check=False)


def run(command: list[str], where: Path) -> str:
    done = attempt(command, where)
    if done.returncode or "Traceback" in done.stderr:
        raise Failed(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout[-1000:]}{done.stderr[-3000:]}")
    return done.stdout


def size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


if __name__ == "__main__":
    sys.exit(main())
