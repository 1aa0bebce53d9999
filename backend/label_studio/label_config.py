"""Label config -> where a task's image and text are found, and which tags to answer with."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from defusedxml import DefusedXmlException, ElementTree  # type: ignore[import-untyped]

from backend.errors import LabelConfigError
from backend.label_studio.label_interface import LabelInterface
from backend.label_studio.request import Control

__all__ = ["LabelConfig", "read_label_config"]

RESULT_TAGS = ("brushlabels", "bitmasklabels", "polygonlabels", "rectanglelabels")
TAGS_NEEDED = "a <BrushLabels> tag (or BitmaskLabels, PolygonLabels, RectangleLabels)"
CLICK_TAGS = ("keypoint", "keypointlabels", "rectangle", "rectanglelabels")
PROMPT_TAG = "prompt"  # preferred name of the TextArea that takes prompts
MAX_CONFIG_LENGTH = 2**18  # characters; a config with 1,000 labels has 60,000
MAX_DEPTH = 100


@dataclass(frozen=True)
class LabelConfig:
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


def read_label_config(config: str) -> LabelConfig:
    """Read a label config.

    Raises LabelConfigError if it is malformed, too long or deep, holds a document type or entities, or lacks an image
    or result tag.
    """
    if len(config) > MAX_CONFIG_LENGTH:
        message = f"it has {len(config)} characters; at most {MAX_CONFIG_LENGTH} are allowed."
        raise LabelConfigError(message, "Use fewer labels.")
    return _read(config)


@lru_cache(maxsize=64)
def _read(config: str) -> LabelConfig:
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
    return LabelConfig(
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
