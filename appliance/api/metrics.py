"""Counters of one node, and their Prometheus form.

The hot path only adds to plain numbers; Prometheus objects are made when somebody asks. Label values are bounded:
families beyond the first MAX_FAMILIES count as family "_other".
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from luigi_ha.appliance.engine.changes import Transition

MAX_FAMILIES = 500
OTHER = "_other"
BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # s
BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)  # records
# Status reached -> the counter it adds to, and what the counter counts.
_REACHED = {
    "DONE": ("luigi_task_success", "Tasks that became DONE"),
    "FAILED": ("luigi_task_failure", "Tasks that became FAILED"),
    "RUNNING": ("luigi_task_started", "Runs handed out"),
    "DISABLED": ("luigi_task_disabled", "Tasks that became DISABLED"),
}


class Histogram:
    """Seconds or sizes, counted into fixed buckets."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...] = BUCKETS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, float]]:
        """(upper bound, count of values up to it), as Prometheus wants them."""
        buckets, so_far = [], 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            so_far += count
            buckets.append((bound, float(so_far)))
        return buckets


class Metrics(Collector):
    """All numbers of one node. `counts` and `gauges` are asked at scrape time."""

    def __init__(self) -> None:
        self.dropped = 0  # calls not executed because their client had gone
        self.repeated = 0  # calls answered with the first answer of their Idempotency-Key
        self.fenced = 0  # 1 once another node leads
        self.batch_records = Histogram(BATCH_BUCKETS)
        self.commit_seconds = Histogram()
        self.calls: dict[tuple[str, int], int] = {}
        self.latency: dict[str, Histogram] = {}
        self.reached: dict[tuple[str, str, str], int] = {}  # (status, namespace, family)
        self.gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        self.counts: Callable[[], Mapping[str, int]] = dict  # tasks by status
        self._families: set[str] = set()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def call(self, method: str, status: int, seconds: float) -> None:
        """One call of an RPC method was answered."""
        key = (method, status)
        self.calls[key] = self.calls.get(key, 0) + 1
        histogram = self.latency.get(method)
        if histogram is None:
            histogram = self.latency[method] = Histogram()
        histogram.counts[bisect_left(BUCKETS, seconds)] += 1
        histogram.total += seconds

    def commit(self, records: int, seconds: float) -> None:
        """The journal committed a batch. Called on its thread, and only there."""
        self.batch_records.observe(records)
        self.commit_seconds.observe(seconds)

    def transitions(self, transitions: Iterable[Transition]) -> None:
        """Tasks changed their status."""
        for transition in transitions:
            if transition.after in _REACHED:
                family, namespace = transition.family, transition.namespace
                if family not in self._families:
                    if len(self._families) < MAX_FAMILIES:
                        self._families.add(family)
                    else:
                        family, namespace = OTHER, OTHER
                key = (transition.after, namespace, family)
                self.reached[key] = self.reached.get(key, 0) + 1

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Export `value()` as a gauge."""
        self.gauges[name] = (text, value)

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        for status, (name, text) in _REACHED.items():
            counter = CounterMetricFamily(name, text, labels=("namespace", "family"))
            for (after, namespace, family), count in self.reached.items():
                if after == status:
                    counter.add_metric((_label(namespace), _label(family)), count)
            yield counter
        counts = self.counts()
        yield GaugeMetricFamily("luigi_task_running", "Tasks running now", counts.get("RUNNING", 0))
        yield GaugeMetricFamily("luigi_task_pending", "Tasks pending now", counts.get("PENDING", 0))
        tasks = GaugeMetricFamily("luigi_tasks", "Tasks by status", labels=("status",))
        for status, count in counts.items():
            tasks.add_metric((_label(status),), count)
        yield tasks
        calls = CounterMetricFamily("luigi_ha_calls", "Calls answered", labels=("method", "status"))
        for (method, code), count in list(self.calls.items()):
            calls.add_metric((method, str(code)), count)
        yield calls
        latency = HistogramMetricFamily("luigi_ha_call_seconds", "From arrival to reply", labels=("method",))
        for method, histogram in list(self.latency.items()):
            latency.add_metric((method,), histogram.cumulative(), histogram.total)
        yield latency
        yield _whole("luigi_ha_journal_batch_records", "Records per committed batch", self.batch_records)
        yield _whole("luigi_ha_journal_commit_seconds", "Time of one commit", self.commit_seconds)
        text = "Calls not executed because their client had gone"
        yield CounterMetricFamily("luigi_ha_calls_dropped", text, self.dropped)
        text = "Calls answered with the first answer of their Idempotency-Key"
        yield CounterMetricFamily("luigi_ha_calls_repeated", text, self.repeated)
        for name, (text, value) in self.gauges.items():
            yield GaugeMetricFamily(name, text, value())


def _whole(name: str, text: str, histogram: Histogram) -> HistogramMetricFamily:
    return HistogramMetricFamily(name, text, buckets=histogram.cumulative(), sum_value=histogram.total)


def _label(text: str) -> str:
    """A label value that can be written as UTF-8 and is not endless."""
    return text[:200].encode("utf-8", "backslashreplace").decode()
