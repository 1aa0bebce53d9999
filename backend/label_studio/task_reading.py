"""A task's data, and what its annotator does -> what to look for.

Runs in the web process, so that bad input is found before anything is queued.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from backend.errors import TaskError
from backend.label_studio.interaction import Interaction
from backend.label_studio.label_choice import choose_label
from backend.label_studio.label_config import LabelConfig
from backend.label_studio.request import Expression, TaskRequest
from backend.label_studio.texts import check_text, kind_of, only_text, read_entries
from backend.settings import Settings

__all__ = ["read_task"]

FALLBACK_TEXT_FIELD = "text"


def read_task(
    task: Mapping[str, Any],
    config: LabelConfig,
    settings: Settings,
    project: str,
    interaction: Interaction | None = None,
) -> TaskRequest:
    """What `task` asks for, or what its annotator does: texts that were typed replace the task's own, and clicks refine
    what the text found, if there is just one.

    Raises TaskError where image, text or label is missing or unusable.
    """
    data, asked = task["data"], interaction or Interaction()
    text_field = settings.text_field or config.text_field or FALLBACK_TEXT_FIELD
    if asked.points:
        expressions = [_clicked(asked, data, text_field, config, settings)]
    else:
        expressions = _expressions(asked.texts, data, text_field, config, settings)
    return TaskRequest(
        image=_image(data, config.image_field),
        image_field=config.image_field,
        image_tag=config.image_tag,
        text_field=text_field,
        expressions=tuple(expressions),
        controls=config.controls,
        model_version=settings.model_version,
        task=str(task.get("id")),
        project=project,
        clicks=asked.clicks,
        rectangle=asked.rectangle,
        interactive=interaction is not None,
    )


def _image(data: Mapping[str, Any], field: str) -> str:
    image = data.get(field)
    if not isinstance(image, str) or not image.strip():
        raise TaskError(
            field,
            "the task has no image here." if not image else f"the image is no text but {kind_of(image)}.",
            f"Put the image's URL, path or data URI into the field {field!r} of the task's data.",
        )
    return image.strip()


def _expressions(
    typed: Sequence[str], data: Mapping[str, Any], field: str, config: LabelConfig, settings: Settings
) -> list[Expression]:
    entries = typed or read_entries(data.get(field), field)
    if len(entries) > settings.max_expressions:
        raise TaskError(
            field,
            f"the task has {len(entries)} expressions; at most {settings.max_expressions} are allowed.",
            "Split the task, or raise REFAM_BACKEND_MAX_EXPRESSIONS.",
        )
    texts = [check_text(entry, field, settings) for entry in entries]
    return [Expression(text, choose_label(config.labels, label or data.get("label"), text)) for text, label in texts]


def _clicked(
    asked: Interaction, data: Mapping[str, Any], field: str, config: LabelConfig, settings: Settings
) -> Expression:
    """What clicks refine: the last typed text, else the task's own if it has just one, else none.

    Its label is that of the key points or the rectangle; what these call the only label does not matter.
    """
    if asked.texts:
        text, label = check_text(asked.texts[-1], field, settings)
    else:
        text, label = only_text(data.get(field), field, settings)
    clicked = None if len(config.labels) == 1 else asked.label
    return Expression(text, choose_label(config.labels, clicked or label or data.get("label"), text))
