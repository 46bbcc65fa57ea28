"""pytest plugin: Luigi's tests make our scheduler wherever they make Luigi's, in their own process."""

import luigi.scheduler
import luigi.worker

from tests.support.luigi_facade import LuigiFacade

luigi.scheduler.Scheduler = LuigiFacade
luigi.worker.Scheduler = LuigiFacade
