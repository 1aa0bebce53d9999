"""Label config and task data -> what to look for, and which tags to answer with.

Runs in the web process, so that bad input is found before anything is queued.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from defusedxml import DefusedXmlException, ElementTree  # type: ignore[import-untyped]

from backend.errors import LabelConfigError, TaskError
from backend.label_studio.interaction import Interaction
from backend.label_studio.label_interface import LabelInterface
from backend.label_studio.request import Control, Expression, TaskRequest
from backend.label_studio.texts import check_text, kind_of, mention, only_text, read_entries
from backend.settings import Settings

__all__ = ["Layout", "read_label_config"]

RESULT_TAGS = ("brushlabels", "bitmasklabels", "polygonlabels", "rectanglelabels")
TAGS_NEEDED = "a <BrushLabels> tag (or BitmaskLabels, PolygonLabels, RectangleLabels)"
CLICK_TAGS = ("keypoint", "keypointlabels", "rectangle", "rectanglelabels")
PROMPT_TAG = "prompt"  # preferred name of the TextArea that takes prompts
MAX_CONFIG_LENGTH = 2**18  # characters; a config with 1,000 labels has 60,000
MAX_DEPTH = 100
FALLBACK_TEXT_FIELD = "text"


@dataclass(frozen=True)
class Layout:
    """What a label config asks for: where image and text are found, and which tags take results.

    prompt_tag: the TextArea that takes prompts.
    click_tags: the smart tags whose key points and rectangles are prompts.
    """

    image_tag: str
    image_field: str
    text_field: str | None
    controls: tuple[Control, ...]
    prompt_tag: str | None
    click_tags: tuple[str, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of all controls, each once, in the config's order."""
        return tuple(dict.fromkeys(label for control in self.controls for label in control.labels))

    def request(
        self, task: Mapping[str, Any], settings: Settings, project: str, interaction: Interaction | None = None
    ) -> TaskRequest:
        """What `task` asks for, or what its annotator does: texts that were typed replace the task's own, and clicks
        refine what the text found, if there is just one.

        Raises TaskError where image, text or label is missing or unusable.
        """
        data = task["data"]
        text_field = settings.text_field or self.text_field or FALLBACK_TEXT_FIELD
        asked = interaction or Interaction()
        if asked.points:
            expressions = [self._clicked(asked, data, text_field, settings)]
        else:
            expressions = self._expressions(data, text_field, settings, asked.texts)
        return TaskRequest(
            image=self._image(data),
            image_field=self.image_field,
            image_tag=self.image_tag,
            text_field=text_field,
            expressions=tuple(expressions),
            controls=self.controls,
            model_version=settings.model_version,
            task=str(task.get("id")),
            project=project,
            clicks=asked.clicks,
            rectangle=asked.rectangle,
            interactive=interaction is not None,
        )

    def _image(self, data: Mapping[str, Any]) -> str:
        image = data.get(self.image_field)
        if not isinstance(image, str) or not image.strip():
            raise TaskError(
                self.image_field,
                "the task has no image here." if not image else f"the image is no text but {kind_of(image)}.",
                f"Put the image's URL, path or data URI into the field {self.image_field!r} of the task's data.",
            )
        return image.strip()

    def _expressions(
        self, data: Mapping[str, Any], field: str, settings: Settings, typed: Sequence[str]
    ) -> list[Expression]:
        entries = typed or read_entries(data.get(field), field)
        if len(entries) > settings.max_expressions:
            raise TaskError(
                field,
                f"the task has {len(entries)} expressions; at most {settings.max_expressions} are allowed.",
                "Split the task, or raise REFAM_BACKEND_MAX_EXPRESSIONS.",
            )
        return [self._expression(entry, field, data, settings) for entry in entries]

    def _expression(self, entry: Any, field: str, data: Mapping[str, Any], settings: Settings) -> Expression:
        text, label = check_text(entry, field, settings)
        return Expression(text, self._label(label or data.get("label"), text))

    def _clicked(self, asked: Interaction, data: Mapping[str, Any], field: str, settings: Settings) -> Expression:
        """What clicks refine: the last typed text, else the task's own if it has just one, else none."""
        if asked.texts:
            text, label = check_text(asked.texts[-1], field, settings)
        else:
            text, label = only_text(data.get(field), field, settings)
        return Expression(text, self._label(self._clicked_label(asked) or label or data.get("label"), text))

    def _clicked_label(self, asked: Interaction) -> str | None:
        """The label of key points or rectangle; the key points' own name for the only label does not matter."""
        return None if len(self.labels) == 1 else asked.label

    def _label(self, wanted: Any, text: str) -> str:
        """The label asked for; else the only one; else the one whose name comes first in the text."""
        known = ", ".join(self.labels)
        if wanted:
            named = next((label for label in self.labels if label.casefold() == str(wanted).casefold()), None)
            if named is None:
                raise TaskError(
                    "label",
                    f"the label {str(wanted)[:100]!r} is not in the label config.",
                    f"Use one of {known}, or add it to the label config.",
                )
            return named
        if len(self.labels) == 1:
            return self.labels[0]
        found = [(match.start(), -len(label), label) for label in self.labels if (match := mention(label, text))]
        if not found:
            raise TaskError(
                "label",
                "the text does not say which label its mask gets.",
                f"Name one of {known} in the text, or put it beside the text, or into the task's field 'label'.",
            )
        return min(found)[2]


def read_label_config(config: str) -> Layout:
    """Read a label config.

    Raises LabelConfigError if it is malformed, too long or deep, holds a document type or entities, or lacks an image
    or result tag.
    """
    if len(config) > MAX_CONFIG_LENGTH:
        message = f"it has {len(config)} characters; at most {MAX_CONFIG_LENGTH} are allowed."
        raise LabelConfigError(message, "Use fewer labels.")
    return _read(config)


@lru_cache(maxsize=64)
def _read(config: str) -> Layout:
    interface = _parse(config)
    controls_by_image: dict[str, list[Control]] = {}
    for tag in interface.controls:
        kind = tag.tag.lower()
        if kind not in RESULT_TAGS or (_is_smart(tag) and kind in ("rectanglelabels", "polygonlabels")):
            continue
        labels = tuple(tag.labels or ())
        if labels:
            controls_by_image.setdefault(tag.to_name[0], []).append(Control(tag.name, kind, labels))
    images = [tag for tag in interface.objects if tag.tag.lower() == "image"]
    if not images:
        raise LabelConfigError("there is no image tag.", 'Add <Image name="image" value="$image"/>.')
    image = next((tag for tag in images if tag.name in controls_by_image), None)
    if image is None:
        raise LabelConfigError(
            "no tag with labels takes masks of the image.",
            f'Add {TAGS_NEEDED} with toName="{images[0].name}" and at least one <Label>.',
        )
    texts = [tag for tag in interface.objects if tag.tag.lower() == "text" and tag.value_is_variable]
    return Layout(
        image_tag=image.name,
        image_field=_image_field(image),
        text_field=texts[0].value_name if texts else None,
        controls=tuple(controls_by_image[image.name]),
        prompt_tag=_prompt_tag(interface, image.name),
        click_tags=tuple(tag.name for tag in interface.controls if tag.tag.lower() in CLICK_TAGS and _is_smart(tag)),
    )


def _parse(config: str) -> LabelInterface:
    remedy = "Copy the label config from the project's settings, without a document type or entities."
    if not config.strip():
        raise LabelConfigError("it is empty.", f"Give the project an <Image> tag and {TAGS_NEEDED}.")
    try:
        depth = _depth(ElementTree.fromstring(config, forbid_dtd=True))
    except DefusedXmlException:
        raise LabelConfigError("it declares a document type or entities, which is not allowed.", remedy) from None
    except (ElementTree.ParseError, ValueError) as error:
        raise LabelConfigError(f"it is not well-formed XML ({error}).", remedy) from None
    if depth > MAX_DEPTH:
        raise LabelConfigError(f"it is {depth} levels deep; at most {MAX_DEPTH} are allowed.", "Nest fewer tags.")
    try:
        return LabelInterface(config)
    except Exception as error:  # the parser raises whatever an unusual tag leads to
        raise LabelConfigError(f"Label Studio's parser refuses it ({error}).", remedy) from error


def _depth(root: Any) -> int:
    """How many levels of tags there are. Without recursion, which a deep config would exhaust."""
    level, depth = [root], 0
    while level:
        level, depth = [child for tag in level for child in tag], depth + 1
    return depth


def _image_field(image: Any) -> str:
    remedy = f'Write <Image name="{image.name}" value="$image"/>, where image is a field of the task\'s data.'
    if image.attr.get("valueList"):
        raise LabelConfigError(f"the image tag {image.name!r} shows a list of images, which is not supported.", remedy)
    if not image.value_is_variable:
        raise LabelConfigError(f"the image tag {image.name!r} names no field of the task's data.", remedy)
    return str(image.value_name)


def _is_smart(tag: Any) -> bool:
    return any(tag.attr.get(name) == "true" for name in ("smart", "smartOnly", "smartonly"))


def _prompt_tag(interface: LabelInterface, image: str) -> str | None:
    names = [tag.name for tag in interface.controls if tag.tag.lower() == "textarea" and image in tag.to_name]
    return PROMPT_TAG if PROMPT_TAG in names else next(iter(names), None)
