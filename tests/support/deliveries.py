"""Tasks in the stand-in for Label Studio, and what it holds of them in the end."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from redis import Redis

from backend.delivery.claims import Target
from backend.delivery.desk import Desk
from backend.delivery.writer import Delivery
from backend.label_studio.request import TaskRequest
from tests.support.label_studio import LabelStudio
from tests.support.tasks import CONFIG, data_uri, png, request_of

IMAGE = data_uri(png())


def texts(*found: str) -> list[dict[str, Any]]:
    """Data of a task for each text."""
    return [{"image": IMAGE, "text": text} for text in found]


def once(studio: LabelStudio, numbers: list[int]) -> None:
    """Each of these tasks, and no other, has one prediction, which is the backend's."""
    assert studio.per_task() == {(number, studio.version): 1 for number in numbers}


def stale_request(studio: LabelStudio, numbers: list[int]) -> dict[str, Any]:
    """A request that Label Studio made before anything was stored."""
    tasks = [{**studio.tasks[number], "predictions": []} for number in numbers]
    return {"tasks": tasks, "project": "7.1", "label_config": CONFIG, "params": {"context": None}}


def queue_tasks(desk: Desk, tasks: Sequence[dict[str, Any]], *, replace: bool = False) -> list[TaskRequest]:
    """Have tasks of project 7 predicted and their predictions posted."""
    requests = [request_of(task, desk.settings) for task in tasks]
    desk.queue(requests, replace=replace)
    return requests


def deliver(desk: Desk, target: Target, prediction: Mapping[str, Any], mark: str | None = None) -> float:
    """Write one prediction. Returns 0, or seconds to come back in, and raises what went wrong."""
    (found,) = desk.writer.write([Delivery(target, prediction, mark)])
    if isinstance(found, Exception):
        raise found
    return found


def expire_claims(connection: Redis) -> None:
    """Let all claims end now, and a while ago."""
    for key in connection.keys("refam:*:claim:*"):
        connection.delete(key)
    for key in connection.keys("refam:*:claimed"):
        for task in cast(list[bytes], connection.zrange(key, 0, -1)):
            connection.zadd(key, {task: 0})
