"""pytest plugin: Luigi's tests find no scheduler at all. Shows that the runner can fail."""

import luigi.scheduler
import luigi.worker


class NoScheduler:
    def __init__(self, *_args: object, **_kwargs: object) -> None:
        raise ConnectionRefusedError("there is no scheduler")


luigi.scheduler.Scheduler = NoScheduler
luigi.worker.Scheduler = NoScheduler
