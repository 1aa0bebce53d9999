"""Label config -> where a task's images and texts are found, and which tags to answer with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from defusedxml import DefusedXmlException, ElementTree  # type: ignore[import-untyped]

from backend.errors import LabelConfigError
from backend.label_studio.data_paths import look_up, root_of
from backend.label_studio.label_interface import LabelInterface
from backend.label_studio.request import Control, Label

__all__ = ["MOST_LABELS", "ControlTag", "LabelConfig", "TextTag", "read_label_config"]

RESULT_TAGS = ("brushlabels", "bitmasklabels", "polygonlabels", "rectanglelabels")
TAGS_NEEDED = "a <BrushLabels> tag (or BitmaskLabels, PolygonLabels, RectangleLabels)"
PLAIN_TOOLS = {"brush": "BrushLabels", "bitmask": "BitmaskLabels", "polygon": "PolygonLabels"}
SHAPES = ("keypoint", "rectangle", "ellipse", "polygon")
CLICK_TAGS = (*SHAPES, *(f"{shape}labels" for shape in SHAPES))
PROMPT_TAG = "prompt"  # preferred name of the TextArea that takes prompts
TEXT = "text"  # of several Text tags, the one that is called so, or shows the field of this name
MAX_CONFIG_LENGTH = 2**18  # characters; a config with 1,000 labels has 60,000
MAX_DEPTH = 100
MOST_LABELS = 5000  # of all tags that take a task's results, its own labels included


@dataclass(frozen=True)
class TextTag:
    """A Text tag that shows a field of the task's data."""

    name: str
    path: str


@dataclass(frozen=True)
class ControlTag:
    """A tag that takes results. labels_path: where a task's data holds further labels of its own, if anywhere."""

    name: str
    kind: str
    labels: tuple[Label, ...]
    labels_path: str | None = None

    def of(self, data: Mapping[str, Any]) -> Control:
        """The tag with all labels that it has for a task."""
        own = _labels_in(look_up(data, self.labels_path)) if self.labels_path else []
        return Control(self.name, self.kind, tuple(dict.fromkeys([*self.labels, *own])))


@dataclass(frozen=True)
class LabelConfig:
    """What a label config asks for: where images and texts are found, and which tags take results.

    image_path: where the task's data holds the image, or, for a list_of_images, the list of them.
    default_label: name of the first label that is marked as selected, if any.
    predicted_values: for each label that says so, the names of what gets it: Label Studio's own attribute for models.
    prompt_tag: the TextArea that takes prompts.
    click_tags: the smart tags whose shapes are prompts.
    """

    image_tag: str
    image_path: str
    list_of_images: bool
    texts: tuple[TextTag, ...]
    controls: tuple[ControlTag, ...]
    default_label: str | None
    predicted_values: Mapping[str, tuple[str, ...]]
    prompt_tag: str | None
    click_tags: tuple[str, ...]

    def fields(self, text_path: str | None) -> list[str]:
        """The fields of a task's data that are read. text_path: see below."""
        paths = [self.image_path, text_path, *(control.labels_path for control in self.controls)]
        return list(dict.fromkeys(name for path in paths if path for name in (path, root_of(path))))

    def text_path(self, setting: str | None) -> str | None:
        """Where a task's data holds its text; None if no Text tag shows one.

        setting: REFAM_BACKEND_TEXT_FIELD, which wins.
        Raises LabelConfigError if several tags show a text, and none of them is TEXT.
        """
        if setting or not self.texts:
            return setting
        if len(self.texts) == 1:
            return self.texts[0].path
        for named in ([tag for tag in self.texts if tag.name == TEXT], [tag for tag in self.texts if tag.path == TEXT]):
            if named:
                return named[0].path
        shown = ", ".join(f"{tag.name} (${tag.path})" for tag in self.texts)
        raise LabelConfigError(
            f"it does not tell which of its Text tags says what to mask: {shown}.",
            f'Call that one name="{TEXT}", or set REFAM_BACKEND_TEXT_FIELD to its field.',
        )


def read_label_config(config: str) -> LabelConfig:
    """Read a label config.

    Raises LabelConfigError if it is malformed, too long or deep, has too many labels, holds a document type or
    entities, lacks an image or result tag, or repeats its tags.
    """
    if len(config) > MAX_CONFIG_LENGTH:
        message = f"it has {len(config)} characters; at most {MAX_CONFIG_LENGTH} are allowed."
        raise LabelConfigError(message, "Use fewer labels.")
    return _read(config)


@lru_cache(maxsize=64)
def _read(config: str) -> LabelConfig:
    interface = _parse(config)
    tags_by_image: dict[str, list[Any]] = {}
    for tag in interface.controls:
        kind = tag.tag.lower()
        if kind not in RESULT_TAGS or (_is_smart(tag) and kind in ("rectanglelabels", "polygonlabels")):
            continue
        if tag.labels or _variable(tag.attr.get("value")):
            tags_by_image.setdefault(tag.to_name[0], []).append(tag)
    images = [tag for tag in interface.objects if tag.tag.lower() == "image"]
    if not images:
        raise LabelConfigError("there is no image tag.", 'Add <Image name="image" value="$image"/>.')
    image = next((tag for tag in images if tag.name in tags_by_image), None)
    if image is None:
        raise _no_control(interface, images)
    list_of_images = bool(image.attr.get("valueList"))
    labels = sum(len(tag.labels) for tag in tags_by_image[image.name])
    if labels > MOST_LABELS:
        raise LabelConfigError(f"it has {labels} labels; at most {MOST_LABELS} are allowed.", "Use fewer labels.")
    return LabelConfig(
        image_tag=image.name,
        image_path=_image_path(image),
        list_of_images=list_of_images,
        texts=_texts(interface),
        controls=tuple(_control(tag) for tag in tags_by_image[image.name]),
        default_label=_selected(tags_by_image[image.name]),
        predicted_values=_predicted_values(tags_by_image[image.name]),
        prompt_tag=_prompt_tag(interface, image.name),
        click_tags=tuple(tag.name for tag in interface.controls if tag.tag.lower() in CLICK_TAGS and _is_smart(tag)),
    )


def _parse(config: str) -> LabelInterface:
    remedy = "Copy the label config from the project's settings, without a document type or entities."
    if not config.strip():
        raise LabelConfigError("it is empty.", f"Give the project an <Image> tag and {TAGS_NEEDED}.")
    try:
        root = ElementTree.fromstring(config, forbid_dtd=True)
    except DefusedXmlException:
        raise LabelConfigError("it declares a document type or entities, which is not allowed.", remedy) from None
    except (ElementTree.ParseError, ValueError) as error:
        raise LabelConfigError(f"it is not well-formed XML ({error}).", remedy) from None
    depth = _depth(root)
    if depth > MAX_DEPTH:
        raise LabelConfigError(f"it is {depth} levels deep; at most {MAX_DEPTH} are allowed.", "Nest fewer tags.")
    if any(str(tag.tag).lower() == "repeater" for tag in root.iter()):
        remedy = 'Use <Image valueList="$images"/>, which shows a list of images, or write each tag out.'
        raise LabelConfigError("<Repeater> is not supported.", remedy)
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


def _no_control(interface: LabelInterface, images: Sequence[Any]) -> LabelConfigError:
    """Why there is nothing to answer with: <Labels> beside a plain tool is another spelling of tags with labels."""
    kinds = {tag.tag.lower(): tag for tag in interface.controls}
    plain = [kind for kind in PLAIN_TOOLS if kind in kinds]
    if "labels" in kinds and plain:
        found = ", ".join(f'<{kinds[kind].tag} name="{kinds[kind].name}">' for kind in ["labels", *plain])
        return LabelConfigError(
            f"labels and tools are separate tags ({found}), which is not supported.",
            f"Write one <{PLAIN_TOOLS[plain[0]]}> tag with the labels in it instead of them.",
        )
    return LabelConfigError(
        "no tag with labels takes masks of the image.",
        f'Add {TAGS_NEEDED} with toName="{images[0].name}" and at least one <Label>.',
    )


def _image_path(image: Any) -> str:
    if not image.value_is_variable:
        remedy = f'Write <Image name="{image.name}" value="$image"/>, where image is a field of the task\'s data.'
        raise LabelConfigError(f"the image tag {image.name!r} names no field of the task's data.", remedy)
    return str(image.value_name)


def _texts(interface: LabelInterface) -> tuple[TextTag, ...]:
    shown = [tag for tag in interface.objects if tag.tag.lower() == "text" and tag.value_is_variable]
    return tuple(TextTag(tag.name, str(tag.value_name)) for tag in shown)


def _control(tag: Any) -> ControlTag:
    labels = [_label(attributes.attr) for attributes in tag.labels_attrs.values()] if tag.labels_attrs else []
    return ControlTag(tag.name, tag.tag.lower(), tuple(labels), _variable(tag.attr.get("value")))


def _label(attributes: Mapping[str, str]) -> Label:
    return Label(attributes["value"], attributes.get("alias") or attributes["value"])


def _labels_in(value: Any) -> list[Label]:
    """The labels that a task brings: texts, or objects with a value and perhaps an alias."""
    entries = value if isinstance(value, list) else []
    found = [{"value": entry} if isinstance(entry, str) else entry for entry in entries]
    return [
        Label(entry["value"], str(entry.get("alias") or entry["value"]))
        for entry in found
        if isinstance(entry, Mapping) and isinstance(entry.get("value"), str) and entry["value"].strip()
    ]


def _attributes_of_labels(tags: Sequence[Any]) -> list[Mapping[str, str]]:
    return [label.attr for tag in tags for label in (tag.labels_attrs or {}).values()]


def _selected(tags: Sequence[Any]) -> str | None:
    return next((label["value"] for label in _attributes_of_labels(tags) if label.get("selected") == "true"), None)


def _predicted_values(tags: Sequence[Any]) -> dict[str, tuple[str, ...]]:
    said = {label["value"]: label.get("predicted_values") for label in _attributes_of_labels(tags)}
    return {
        name: tuple(value.strip() for value in values.split(",") if value.strip())
        for name, values in said.items()
        if values is not None
    }


def _variable(value: str | None) -> str | None:
    """The path that a value such as "$options" names; None if it names none."""
    return value[1:] if value and value.startswith("$") and len(value) > 1 else None


def _is_smart(tag: Any) -> bool:
    return any(tag.attr.get(name) == "true" for name in ("smart", "smartOnly", "smartonly"))


def _prompt_tag(interface: LabelInterface, image: str) -> str | None:
    names = [tag.name for tag in interface.controls if tag.tag.lower() == "textarea" and image in tag.to_name]
    return PROMPT_TAG if PROMPT_TAG in names else next(iter(names), None)
