"""The stand-in for Label Studio as a process of its own, with images: `python -m tests.bench.studio PORT`."""

import io
import re
import sys
import threading
from functools import cache
from typing import Any

import numpy as np

from refam.synthetic.scenes import random_scene
from tests.bench.stack import CONFIG, PROJECT
from tests.support.label_studio import Answer, LabelStudio

PICTURES = 16


class Studio(LabelStudio):
    """Also adds tasks, serves their images, says how many predictions it holds, and keeps connections."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._server.RequestHandlerClass.protocol_version = "HTTP/1.1"  # type: ignore[attr-defined]

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        if match := re.fullmatch(r"/data/upload/(\d+)/(\d+)\.png", path):
            return 200, picture(int(match[1]), int(match[2]) % PICTURES)
        if path == "/bench/tasks":
            return 200, self.fill(**body)
        if path == "/bench/progress":
            return 200, {"predictions": len(self.predictions)}
        return super().answer(method, path, query, body)

    def fill(self, count: int, side: int) -> list[dict[str, Any]]:
        """Add tasks, each with an image address of its own, and return them."""
        for number in range(PICTURES):
            picture(side, number)
        first = max(self.tasks, default=0) + 1
        images = [f"/data/upload/{side}/{number}.png" for number in range(first, first + count)]
        numbers = self.add_tasks(PROJECT, [{"image": image, "text": "the red mug"} for image in images])
        return [self.tasks[number] for number in numbers]


@cache
def picture(side: int, number: int) -> bytes:
    """A PNG of side x side pixels."""
    file = io.BytesIO()
    random_scene(np.random.default_rng(number), side, (8, 12)).image.save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    Studio(int(sys.argv[1])).add_project(PROJECT, CONFIG)
    threading.Event().wait()
