"""`make differential`: many seeds, two processes at a time, to the first mismatch. Prints what was done."""

import argparse
import collections
import concurrent.futures
import os
import sys
import time

from tests.differential.compare import Outcome, run

CALLS_PER_SEED = 20_000


def main() -> int:
    """Exit code 1 on a mismatch, 0 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("--seeds", default="1-50", help="first-last, inclusive; or one seed")
    parser.add_argument("--calls", type=int, default=CALLS_PER_SEED, help="random calls from each seed")
    parser.add_argument("--processes", type=int, default=max(1, min(2, os.cpu_count() or 1)))
    arguments = parser.parse_args()
    first, _, last = arguments.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    begun = time.monotonic()
    seen: collections.Counter[str] = collections.Counter()
    methods: collections.Counter[str] = collections.Counter()
    calls = 0
    with concurrent.futures.ProcessPoolExecutor(arguments.processes) as pool:
        futures = [pool.submit(run, seed, arguments.calls) for seed in seeds]
        for done, future in enumerate(futures, start=1):
            outcome: Outcome = future.result()
            calls += outcome.calls
            seen.update(outcome.seen)
            methods.update(outcome.methods)
            print(f"seed {outcome.seed}: {outcome.calls} calls  ({done}/{len(seeds)}, {calls} in all)", flush=True)
            if outcome.mismatch is not None:
                pool.shutdown(cancel_futures=True)
                print(outcome.mismatch)
                return 1
    for name, counts in (("calls by method", methods), ("what happened", seen)):
        print(f"\n{name}:")
        for what, count in sorted(counts.items(), key=lambda item: -item[1]):
            print(f"  {count:9d}  {what}")
    print(f"\nseeds {arguments.seeds}: {calls} calls, every reply equal, {time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
