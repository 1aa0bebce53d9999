"""GET /metrics, for Prometheus. Everything is read from Redis, so it does not matter which web process is asked."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from backend.monitoring.projects import project_states
from backend.queue.shared_state import SharedState
from backend.settings import Settings

__all__ = ["metrics"]


def metrics(shared: SharedState, settings: Settings) -> bytes:
    """All metrics in Prometheus' text format. Raises redis.exceptions.RedisError."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_State(shared, settings))
    return generate_latest(registry)


class _State(Collector):
    def __init__(self, shared: SharedState, settings: Settings) -> None:
        self._shared = shared
        self._settings = settings

    def describe(self) -> list[Metric]:
        """Nothing: registering shall not ask Redis."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The metrics of one moment."""
        yield InfoMetricFamily("refam", "The model.", {"model_version": self._settings.model_version})
        jobs = GaugeMetricFamily("refam_jobs", "Jobs that have not ended.", labels=["queue", "state"])
        for priority, depth in self._shared.backlog.depths().items():
            for state, number in depth.items():
                jobs.add_metric([priority, state], number)
        yield jobs
        counts = self._shared.counters.totals()
        ended = CounterMetricFamily("refam_jobs_ended", "Jobs that ended, ever.", labels=["outcome"])
        for outcome in ("done", "failed", "nothing"):
            ended.add_metric([outcome], counts[outcome])
        yield ended
        yield CounterMetricFamily("refam_heatmaps", "Heatmaps computed, not found in a cache.", counts["heatmaps"])
        yield CounterMetricFamily(
            "refam_image_embeddings", "Image embeddings computed, not found in a cache.", counts["image_embeddings"]
        )
        yield self._workers()
        yield from self._projects()

    def _workers(self) -> Metric:
        workers = GaugeMetricFamily("refam_workers", "Live workers.", labels=["device", "model_version", "state"])
        names = ("device", "model_version", "state")
        counts: dict[tuple[str, ...], int] = {}
        for entry in self._shared.fleet.workers():
            key = tuple(entry.get(name, "") for name in names)
            counts[key] = counts.get(key, 0) + 1
        for labels, number in counts.items():
            workers.add_metric(labels, number)
        return workers

    def _projects(self) -> Iterator[Metric]:
        failed = self._shared.ledger.failures.per_project()
        waiting = GaugeMetricFamily("refam_project_waiting_tasks", "Tasks queued or running.", labels=["project"])
        done = CounterMetricFamily("refam_project_masked_tasks", "Tasks that got a mask.", labels=["project"])
        listed = GaugeMetricFamily("refam_project_failed_tasks", "Tasks that failed last.", labels=["project"])
        for state in project_states(self._shared):
            waiting.add_metric([state.project], state.waiting)
            done.add_metric([state.project], state.done)
            listed.add_metric([state.project], failed[state.project])
        yield from (waiting, done, listed)
        yield GaugeMetricFamily("refam_failed_tasks", "Tasks of all projects that failed last.", failed.total())
