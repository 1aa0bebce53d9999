"""Tasks and label configs as Label Studio sends them, and what a project's pictures hold."""

import base64
import io
from typing import Any

from PIL import Image

from backend.label_studio.interaction import Interaction
from backend.label_studio.label_config import read_label_config
from backend.label_studio.request import Click, TaskRequest
from backend.label_studio.task_reading import read_task
from backend.settings import Settings

CONFIG = """<View>
  <Image name="image" value="$image"/>
  <Text name="expression" value="$text"/>
  <BrushLabels name="tag" toName="image"><Label value="Object"/></BrushLabels>
  <TextArea name="prompt" toName="image"/>
  <KeyPointLabels name="kp" toName="image" smart="true"><Label value="Object"/></KeyPointLabels>
  <RectangleLabels name="rect" toName="image" smart="true"><Label value="Object"/></RectangleLabels>
</View>"""


ANIMALS = """<View><Image name="i" value="$picture"/>
<BrushLabels name="b" toName="i"><Label value="Cat"/><Label value="Polar bear"/><Label value="Bear"/></BrushLabels>
<RectangleLabels name="r" toName="i"><Label value="Cat" alias="cat_id"/><Label value="Dog"/></RectangleLabels></View>"""


def png(width: int = 12, height: int = 8, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(file, "PNG", **options)
    return file.getvalue()


def data_uri(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def task(number: int, text: Any, image: str | None = None, **data: Any) -> dict[str, Any]:
    return {"id": number, "project": 7, "data": {"image": image or data_uri(png()), "text": text, **data}}


def request_of(
    task: dict[str, Any],
    settings: Settings,
    interaction: Interaction | None = None,
    *,
    config: str = CONFIG,
    project: str = "7",
) -> TaskRequest:
    """What a task asks for, of a project with this label config."""
    request = read_task(task, read_label_config(config), settings, project, interaction)
    assert request is not None
    return request


def body(*tasks: dict[str, Any], config: str = CONFIG, context: dict[str, Any] | None = None) -> dict[str, Any]:
    """Body of /predict."""
    params = {"login": None, "password": None, "context": context}
    return {"tasks": list(tasks), "project": "7.1795", "label_config": config, "params": params}


def requests_of(settings: Settings, *texts: str) -> list[TaskRequest]:
    """What a task for each text asks for."""
    return [request_of(task(number, text), settings) for number, text in enumerate(texts)]


def request_in(
    settings: Settings, config: str, data: dict[str, Any], interaction: Interaction | None = None
) -> TaskRequest:
    """What a task with this data asks for, of a project with this label config."""
    return request_of({"id": 1, "data": data}, settings, interaction, config=config)


def clicked(
    settings: Settings, config: str, data: dict[str, Any], label: str | None = None, *texts: str
) -> TaskRequest:
    """The same where its annotator has clicked on the middle, after typing these texts."""
    return request_in(settings, config, data, Interaction(texts, (Click(0.5, 0.5),), label=label))
