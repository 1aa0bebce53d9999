"""RQ's worker, bent to a process that does not fork."""

import os
import socket
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from redis.client import Pipeline
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.utils import now
from rq.worker import SimpleWorker
from rq.worker_registration import clean_worker_registry

from backend.queue.connection import connect
from backend.queue.job_names import JobName
from backend.queue.keyspace import Keyspace
from backend.queue.known_jobs import Handler, KnownJob
from backend.queue.priorities import Priority
from backend.queue.takeover import TakingQueue
from backend.settings import Settings
from backend.timings import Timings
from backend.worker.heartbeat import Heartbeat
from refam.errors import DeviceBrokenError

__all__ = ["RefAMWorker"]


class RefAMWorker(SimpleWorker):
    """RQ's worker that does not fork, since a forked child of a process that has run torch hangs.

    What RQ does in children and at intervals of minutes, backend.worker.heartbeat does in a thread.
    """

    def __init__(
        self, keyspace: Keyspace, handlers: Mapping[JobName, Handler], settings: Settings, timings: Timings
    ) -> None:
        job_class = KnownJob.handled_by(handlers)
        self._keyspace = keyspace
        super().__init__(
            [keyspace.queue(priority) for priority in Priority],
            name=f"{socket.gethostname()}-{os.getpid()}-{os.urandom(3).hex()}",
            connection=keyspace.connection,
            job_class=job_class,
            queue_class=TakingQueue.taking(keyspace.key("taken"), timings.life),
            serializer=JSONSerializer,
            worker_ttl=timings.life,
        )
        self._settings = settings
        self._timings = timings
        self.device_is_broken = False
        self._heartbeat = Heartbeat(self, job_class, replace(keyspace, connection=connect(settings)), timings)

    @property
    def was_told_to_stop(self) -> bool:
        """Whether it stopped because of a signal."""
        return self._shutdown_requested_date is not None

    def serialize(self) -> dict[str, Any]:
        """What Redis holds of this worker; `Fleet.workers` reads it."""
        refam = self._settings.refam
        own = {
            "name": self.name,
            "studio": self._keyspace.studio,
            "label_studio": self._keyspace.address,
            "state": self.get_state(),
            "model_version": self._settings.model_version,
            "model": refam.model,
            "device": refam.device,
        }
        return {**super().serialize(), **own}

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:
        """A job is abandoned when the heartbeat stops, however long it may run."""
        return self._timings.life

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """A worker whose device is broken ends once the job's next try is noted."""
        super().handle_exception(job, *exc_info)
        if isinstance(exc_info[1], DeviceBrokenError):
            self.device_is_broken = self._stop_requested = True

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """A worker without heartbeat is forgotten after the same time."""
        super().heartbeat(self._timings.life, pipeline)

    def prepare_execution(self, job: Job) -> Any:
        """From here on the job is noted as running, no longer as taken."""
        execution = super().prepare_execution(job)
        self.connection.zrem(self._keyspace.key("taken"), job.id)
        return execution

    def clean_registries(self) -> None:
        """Forget what has expired. RQ's own would also take over jobs, and lose some: see backend.queue.takeover."""
        for queue in self.queues:
            queue.finished_job_registry.cleanup()
            queue.failed_job_registry.cleanup()
            clean_worker_registry(queue)
        self.last_cleaned_at = now()  # type: ignore[assignment]

    def subscribe(self) -> None:
        """RQ's remote commands are of no use to a worker that does not fork."""

    def bootstrap(self, *args: Any, **kwargs: Any) -> None:
        """Register, and live."""
        super().bootstrap(*args, **kwargs)
        self._heartbeat.start()

    def teardown(self) -> None:
        """Stop living before the death is registered."""
        self._heartbeat.stop()
        super().teardown()  # type: ignore[no-untyped-call]
