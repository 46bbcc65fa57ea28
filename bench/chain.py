"""`python -m bench.chain`: what a scheduler and its worker cost between tasks that depend on each other.

    python -m bench.chain [--length 40] [--milliseconds 10] [--repeat 3]

A chain of short tasks, run by stock luigi on luigid (in its own process, and with a process for each task), and by
luigi-ha's worker on luigi-ha's node (a process for each task; every step flushed to disk by both). The overhead is the
time from the beginning of the first task to the end of the last one, less what the tasks themselves took. All on this
machine, one after the other, in rounds; the best round counts, because a busy machine only ever adds. Compare ratios.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.servers import Scheduler, luigid
from luigi_ha.appliance.lab.ports import free_port

ROOT = str(Path(__file__).parents[1])
LONGEST = 300.0  # s for one chain


@contextlib.contextmanager
def node() -> Iterator[Scheduler]:
    """One of our nodes, on SQLite."""
    with tempfile.TemporaryDirectory(prefix="luigi-ha-bench-") as name:
        directory, port = Path(name), free_port()
        command = [sys.executable, "-m", "luigi_ha.appliance.cli", "serve", "--election", "none", "--host", "127.0.0.1"]
        command += ["--port", str(port), "--database", f"sqlite:///{directory}/luigi.db"]
        scheduler = Scheduler("luigi-ha", command, port, directory, {"PYTHONPATH": ROOT})
        scheduler.start()
        try:
            yield scheduler
        finally:
            scheduler.kill()


def environment(directory: Path) -> dict[str, str]:
    (directory / "luigi.cfg").write_text("")
    own = {"CHAIN_DIRECTORY": str(directory), "PYTHONPATH": ROOT, "LUIGI_CONFIG_PATH": str(directory / "luigi.cfg")}
    return {**os.environ, **own}


def stock(options: list[str]) -> Callable[[argparse.Namespace, Path], None]:
    def run(asked: argparse.Namespace, directory: Path) -> None:
        with luigid() as scheduler:
            subprocess.run(
                _luigi(asked, scheduler.url, *options), env=environment(directory), cwd=directory, check=True,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=LONGEST,
            )  # fmt: skip

    return run


def ours(asked: argparse.Namespace, directory: Path) -> None:
    with node() as scheduler:
        command = [sys.executable, "-m", "luigi_ha.appliance.cli", "worker", "--module", "bench.chain_tasks"]
        command += ["--scheduler-url", scheduler.url, "--state-dir", str(directory / "state"), "--poll-interval", "0.2"]
        env = environment(directory)
        with (directory / "worker.log").open("wb") as out:
            # The chain is added first, and by a client that runs nothing, so that the chain alone is measured.
            submitting = [sys.executable, "-m", "bench.chain", "--submit", scheduler.url, "--length", str(asked.length)]
            submitting += ["--milliseconds", str(asked.milliseconds)]
            subprocess.run(submitting, env=env, check=True, cwd=directory, timeout=LONGEST)
            worker = subprocess.Popen(command, env=env, stdout=out, stderr=out, cwd=directory)
        try:
            until = time.monotonic() + LONGEST
            while not (directory / f"{asked.length - 1}.txt").exists():
                if time.monotonic() > until or worker.poll() is not None:
                    raise RuntimeError((directory / "worker.log").read_text()[-3000:])
                time.sleep(0.05)
        finally:
            worker.terminate()
            worker.wait()


def _luigi(asked: argparse.Namespace, url: str, *options: str) -> list[str]:
    return [
        str(Path(sys.executable).with_name("luigi")), "--module", "bench.chain_tasks", "Link", "--n",
        str(asked.length - 1), "--milliseconds", str(asked.milliseconds), "--scheduler-url", url, "--no-lock", *options,
    ]  # fmt: skip


def submit(asked: argparse.Namespace) -> None:
    """Add the chain, run nothing."""
    import luigi.rpc  # noqa: PLC0415
    import luigi.worker  # noqa: PLC0415

    from bench.chain_tasks import Link  # noqa: PLC0415

    worker = luigi.worker.Worker(luigi.rpc.RemoteScheduler(asked.submit))
    worker.add(Link(asked.length - 1, asked.milliseconds))
    worker._task_result_queue.close()  # noqa: SLF001 - its thread would be waited for


def overhead(asked: argparse.Namespace, directory: Path) -> float:
    """Seconds between the tasks, in all."""
    times = []
    for n in range(asked.length):
        began, ended = (directory / f"{n}.txt").read_text().split()
        times.append((float(began), float(ended)))
    return times[-1][1] - times[0][0] - sum(ended - began for began, ended in times)


RUNS: dict[str, Callable[[argparse.Namespace, Path], None]] = {
    "luigi on luigid, tasks in its own process": stock([]),
    "luigi on luigid, a process for each task": stock(["--worker-force-multiprocessing"]),
    "luigi-ha worker on a luigi-ha node (SQLite)": ours,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=40)
    parser.add_argument("--milliseconds", type=float, default=10.0)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--submit", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.submit:
        submit(asked)
        return
    found: dict[str, list[float]] = {name: [] for name in RUNS}
    for number in range(asked.repeat):
        for name, run in RUNS.items():
            print(f"round {number + 1}: {name}", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory(prefix="luigi-ha-chain-") as text:
                run(asked, Path(text))
                found[name].append(overhead(asked, Path(text)))
    print(f"{asked.length} tasks of {asked.milliseconds:g} ms; load average {os.getloadavg()[0]:.1f}")
    print(f"{'overhead in total':<46} {'best':>8} {'median':>8} {'a task':>8}")
    for name, values in found.items():
        best = min(values)
        print(f"{name:<46} {best:>6.2f} s {statistics.median(values):>6.2f} s {best / asked.length * 1e3:>5.1f} ms")
    names = list(found)
    for name in names[:2]:
        print(f"ratio to {name}: {min(found[names[2]]) / min(found[name]):.2f}")


if __name__ == "__main__":
    main()
