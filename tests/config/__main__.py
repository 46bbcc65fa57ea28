"""`make config-differential`: luigi.cfg, luigi.toml and environments, read by luigi and by us until they differ."""

import argparse
import concurrent.futures
import os
import sys
import time

from tests.config.comparing import Tally, merged, run

CASES_PER_SEED = 250


def main() -> int:
    """Return 1 on a difference that is not on purpose, 0 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m tests.config", description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000, help="files and environments, at least")
    parser.add_argument("--seed", type=int, default=1, help="the first seed; the others follow it")
    parser.add_argument("--processes", type=int, default=max(1, min(2, os.cpu_count() or 1)))
    arguments = parser.parse_args()
    begun = time.monotonic()
    seeds = range(arguments.seed, arguments.seed + -(-arguments.cases // CASES_PER_SEED))
    tallies: list[Tally] = []
    with concurrent.futures.ProcessPoolExecutor(arguments.processes) as pool:
        futures = [pool.submit(run, seed, CASES_PER_SEED) for seed in seeds]
        for done, future in enumerate(concurrent.futures.as_completed(futures), start=1):
            tally = future.result()
            tallies.append(tally)
            print(f"  {done * CASES_PER_SEED:6d} of {len(seeds) * CASES_PER_SEED}", flush=True)
            if tally.mismatch is not None:
                pool.shutdown(cancel_futures=True)
                print(tally.mismatch)
                return 1
    total = merged(tallies)
    for title, counts in (("cases", total.outcomes), ("intended differences", total.differences)):
        print(f"\n{title}:")
        for what, count in counts.most_common():
            print(f"  {count:7d}  {what}")
    said = f"{sum(total.outcomes.values())} cases, {total.values} values, all as luigi reads them"
    print(f"\nseeds {seeds.start}-{seeds.stop - 1}: {said}, {time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
