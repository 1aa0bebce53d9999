"""The routes that Label Studio calls.

Bad tasks are no error of the request: their entry in `results` is empty, and `errors`, which Label Studio ignores, says
why.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Any

import anyio
from fastapi import APIRouter, BackgroundTasks, Depends, Request, Response
from redis.exceptions import RedisError

from backend.delivery.answered import Answered
from backend.delivery.known_projects import KnownProjects
from backend.delivery.schedule import Schedule
from backend.errors import LabelConfigError
from backend.label_studio.label_config import read_label_config
from backend.label_studio.task_reading import fields_read
from backend.queue.shared_state import SharedState
from backend.settings import Settings
from backend.timings import Timings
from backend.web.access import Access
from backend.web.answers import Answering
from backend.web.bodies import (
    PredictBody,
    SetupBody,
    TaskBody,
    TasksCreatedBody,
    WebhookBody,
    described,
    parse,
)
from backend.web.intake import Intake
from backend.web.large_bodies import parse_predict
from backend.web.ml_backend import RefAMBackend
from backend.web.webhook import AUTOMATIC_PAGES, HINT_MAX_BYTES, LOOK_PAUSE, Webhook

__all__ = ["MLRoutes"]

SPARE_THREADS = 16  # beside those that wait for a result


class MLRoutes:
    """The routes, over one shared state. Work is done in threads, so that /health is never kept waiting."""

    def __init__(self, shared: SharedState, settings: Settings, access: Access, timings: Timings) -> None:
        self._settings = settings
        self._access = access
        self._answering = Answering(shared, settings, timings)
        self._projects = KnownProjects(shared.keyspace)
        self._notes = Answered(shared.keyspace)
        self._schedule = Schedule(shared.jobs)
        self._webhook = Webhook(shared, settings, access)
        self._intake = Intake(settings, timings)
        self._threads = anyio.CapacityLimiter(settings.inline_waiters + SPARE_THREADS)

    def router(self) -> APIRouter:
        """All of them."""
        routes, protected = APIRouter(), [Depends(self._access.check_password)]
        routes.get("/health")(self.health)
        routes.get("/versions", dependencies=protected)(self.versions)
        routes.post("/setup", dependencies=protected, openapi_extra=described(SetupBody))(self.setup)
        routes.post("/predict", dependencies=protected, openapi_extra=described(PredictBody))(self.predict)
        routes.post("/webhook", openapi_extra=described(TasksCreatedBody))(self.webhook)
        return routes

    async def health(self) -> dict[str, str]:
        """What Label Studio asks every few seconds."""
        return {"status": "UP", "model_class": RefAMBackend.__name__}

    async def versions(self) -> dict[str, list[str]]:
        """The one version that answers."""
        return {"versions": [self._settings.model_version]}

    async def setup(self, request: Request, background: BackgroundTasks) -> Response:
        """A project connects, or asks whether it still is."""

        def check(raw: bytearray) -> Any:
            body = parse(SetupBody, raw)
            read_label_config(body.label_config).text_path(self._settings.text_field)
            if body.project_number:
                background.add_task(self._remember, body.project_number, body.hostname)
            return {"model_version": self._settings.model_version}

        return await self._answered(request, check)

    async def predict(self, request: Request) -> Response:
        """Tasks in, predictions out, as far as they are ready."""

        def work(raw: bytearray) -> Any:
            body = parse_predict(raw)
            return self._answer(body.tasks, body.label_config, body.params.drawn())

        return await self._answered(request, work)

    async def webhook(self, request: Request, background: BackgroundTasks) -> dict[str, str]:
        """Tasks are new, or a project was changed. Label Studio gives up after a second; somebody waits for it."""
        trusted = self._webhook.is_trusted(request)
        async with AsyncExitStack() as kept:
            body = self._intake.body(request) if trusted else self._intake.strangers_body(request, HINT_MAX_BYTES)
            raw = await kept.enter_async_context(body)
            action = parse(WebhookBody, raw).action
            if action == "PROJECT_UPDATED" and self._settings.writes_back:
                await self._in_thread(partial(self._webhook.look_again, raw, trusted))
                return {"status": "queued"}
            if action != "TASKS_CREATED":
                return {"status": "ignored"}
            if self._settings.writes_back:
                await self._in_thread(partial(self._webhook.follow, raw, trusted))
            else:
                body = await self._in_thread(partial(parse, TasksCreatedBody, raw))
                work = partial(self._answer, body.tasks, body.project.label_config, None, wait=False)
                background.add_task(self._finish, work, kept.pop_all())
        return {"status": "queued"}

    async def _answered(self, request: Request, work: Callable[[bytearray], Any]) -> Response:
        """What `work` makes of the body, as JSON that is made in a thread, too."""
        async with self._intake.body(request) as raw:
            content = await self._in_thread(lambda: json.dumps(work(raw)))
            return Response(content, media_type="application/json")

    async def _finish(self, work: Callable[[], Any], kept: AsyncExitStack) -> None:
        """Do what is left of a request that has been answered, then close what was kept for it."""
        async with kept:
            await self._in_thread(work)

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        return await anyio.to_thread.run_sync(work, limiter=self._threads)

    def _answer(
        self, tasks: Sequence[TaskBody], config: str, drawn: dict[str, Any] | None, *, wait: bool = True
    ) -> dict[str, Any]:
        try:
            fields = fields_read(read_label_config(config), self._settings)
        except LabelConfigError:  # which is said of each task
            fields = []
        answer = self._answering.answer(
            config, [task.built(fields, f"tasks.{number}") for number, task in enumerate(tasks)], drawn, wait=wait
        )
        return vars(answer)  # dataclasses.asdict would copy all masks

    def _remember(self, project: str, hostname: str) -> None:
        """Beside the answer: without Redis, Label Studio shall still show "Connected", and within 3 s.

        Of a retrieve whose tasks all have predictions, nothing but this is heard: what changed meanwhile is looked for.
        """
        with suppress(RedisError):
            self._projects.add(project, hostname)
            if self._settings.writes_back and self._notes.may_look(project, LOOK_PAUSE):
                self._schedule.schedule_look(project, most=AUTOMATIC_PAGES)
