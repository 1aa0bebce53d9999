"""When the workers talk to Label Studio: jobs that fetch tasks, and jobs that post predictions."""

import hashlib
import json
import secrets
import time
from collections.abc import Iterator, Sequence

from redis.client import Pipeline

from backend.label_studio.client import PAGE
from backend.queue.job_names import JobName
from backend.queue.job_queue import JobQueue
from backend.queue.priorities import Priority

__all__ = ["Schedule"]

FETCH, LOOK, AGAIN, ADOPT = "fetch-", "look-", "again", "adopt"  # ids of jobs are these, or begin with them


class Schedule:
    """Schedules the jobs that backend.worker.studio_jobs carries out."""

    def __init__(self, jobs: JobQueue) -> None:
        self._jobs = jobs

    def schedule_fetch(
        self, project: str, tasks: Sequence[int], *, again: bool = False, hint: bool = False, after: float = 0
    ) -> None:
        """Have tasks fetched from Label Studio in `after` seconds, page by page, and those without a prediction queued.
        A page that is to be fetched already is not scheduled a second time.

        again: also those whose last try failed a moment ago.
        hint: nobody with a password asks for them, so all others go first, and none that does not exist has failed.
        """
        for start in range(0, len(tasks), PAGE):
            ids = list(tasks[start : start + PAGE])
            same = hashlib.sha256(json.dumps([project, ids, again, hint]).encode()).hexdigest()[:32]
            self._jobs.schedule(
                JobName.FETCH_TASKS,
                project,
                ids,
                again,
                hint,
                description=f"fetch {len(ids)} tasks of project {project} from Label Studio",
                after=after,
                # a job that schedules itself anew is not over yet
                job_id=FETCH + (secrets.token_hex(16) if after else same),
                priority=Priority.HINT if hint else Priority.STUDIO,
                project=project,
            )

    def schedule_look(self, project: str, *, page: int = 1, most: int, after: float = 0) -> None:
        """Have a project looked through for predictions that answer what its tasks asked before, page by page, in
        `after` seconds: once, however often that is scheduled within a minute.

        page: the one to begin with, from 1.
        most: the last page, if there are so many.
        """
        minute = f"-{int((time.time() + after) / 60)}" if after else ""
        self._jobs.schedule(
            JobName.LOOK_THROUGH,
            project,
            page,
            most,
            description=f"look through page {page} of project {project}",
            after=after,
            job_id=f"{LOOK}{project}-{page}{minute}",
            project=project,
        )

    def schedule_look_again(self) -> None:
        """Have tasks whose claims have ended looked at once more."""
        self._jobs.schedule(JobName.LOOK_AGAIN, description="look again at tasks that were claimed", job_id=AGAIN)

    def schedule_adoption(self, *, after: float = 0) -> None:
        """Have what release 0.1 left looked at in `after` seconds."""
        job_id = None if after else ADOPT
        self._jobs.schedule(JobName.ADOPT_TASKS, description="look at tasks of 0.1", after=after, job_id=job_id)

    def schedule_post(self, job_id: str, *, after: float = 0, pipe: Pipeline | None = None) -> None:
        """Have what is due of a job's result posted to Label Studio in `after` seconds.

        pipe: the commands are added to it, if there is one.
        """
        self._jobs.schedule(
            JobName.POST_PREDICTION,
            job_id,
            description=f"write mask {job_id[-8:]} to Label Studio",
            after=after,
            pipe=pipe,
            priority=Priority.WRITE,
        )

    def announced(self, project: str) -> Iterator[tuple[str, list[int]]]:
        """(job, tasks) of the jobs that are yet to fetch tasks of a project."""
        for job_id, (of_project, tasks, *_) in self._jobs.scheduled(FETCH):
            if of_project == project:
                yield job_id, tasks
