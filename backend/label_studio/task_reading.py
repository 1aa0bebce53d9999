"""A task's data, and what its annotator does -> what to look for.

Runs in the web process, so that bad input is found before anything is queued.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from backend.errors import TaskError
from backend.label_studio.data_paths import look_up
from backend.label_studio.identity import studio_identity
from backend.label_studio.interaction import Interaction
from backend.label_studio.label_choice import choose_label
from backend.label_studio.label_config import MOST_LABELS, LabelConfig
from backend.label_studio.label_names import LABELS, names_of_labels
from backend.label_studio.request import Control, Expression, Label, Page, TaskRequest
from backend.label_studio.texts import check_text, is_text, kind_of, only_text, read_entries
from backend.settings import Settings

__all__ = ["fields_read", "read_task"]

FALLBACK_TEXT_FIELD = "text"
LABEL_FIELD = "label"
MOST_RESULTS = 1000  # of a task, expressions times tags that have their label
ADDRESS = re.compile(r"(https?|s3|gs|azure-blob)://\S+|/(data|static|tasks)/\S+", re.IGNORECASE)


def fields_read(config: LabelConfig, settings: Settings) -> list[str]:
    """The fields of a task's data that `read_task` looks at."""
    return [*dict.fromkeys([*config.fields(config.text_path(settings.text_field)), FALLBACK_TEXT_FIELD, LABEL_FIELD])]


def read_task(
    task: Mapping[str, Any],
    config: LabelConfig,
    settings: Settings,
    project: str,
    interaction: Interaction | None = None,
) -> TaskRequest | None:
    """What `task` asks for, or what its annotator does: texts that were typed replace the task's own, and clicks refine
    what the text found, if there is just one. Without a text, its labels are looked for if the settings say so. None if
    it asks for nothing: it waits for its annotator.

    Raises TaskError where image, text or label is missing or unusable.
    """
    data, asked = task["data"], interaction or Interaction()
    text_path = config.text_path(settings.text_field)
    reader = _Reader(data, text_path or FALLBACK_TEXT_FIELD, config, settings)
    looks_for_labels = interaction is None and settings.labels_as_prompts and reader.has_no_text
    if interaction is None and text_path is None and reader.has_no_text and not looks_for_labels:
        return None
    images = _images(data, config, reader.text_path)
    pages = reader.pages_of_labels(images) if looks_for_labels else reader.pages(images, asked)
    found = {expression.label for page in pages for expression in page.expressions}
    if interaction is None and not found:
        raise TaskError(reader.text_path, "no page of the task has a text.", "Write what to look for on at least one.")
    controls = tuple(used for control in reader.controls if (used := _only(control, found)).labels)
    _check_results(pages, controls, reader.text_path)
    return TaskRequest(
        studio=studio_identity(settings),
        pages=pages,
        image_field=config.image_path,
        image_tag=config.image_tag,
        text_field=LABELS if looks_for_labels else reader.text_path,
        controls=controls,
        model_version=settings.model_version,
        task=str(task.get("id")),
        project=project,
        clicks=asked.clicks,
        rectangle=asked.rectangle,
        interactive=interaction is not None,
        min_score=settings.min_score if looks_for_labels else None,
        looks_for_labels=looks_for_labels,
    )


def _check_results(pages: Sequence[Page], controls: Sequence[Control], text_path: str) -> None:
    tags = Counter(label.name for control in controls for label in control.labels)
    results = sum(tags[expression.label] for page in pages for expression in page.expressions)
    if results > MOST_RESULTS:
        raise TaskError(
            text_path,
            f"its expressions make {results} results in {len(controls)} tags; at most {MOST_RESULTS} are allowed.",
            "Ask for less at once, or give fewer tags the same label.",
        )


def _images(data: Mapping[str, Any], config: LabelConfig, text_path: str) -> list[str]:
    """The task's image, or those of its list."""
    path = config.image_path
    value = look_up(data, path)
    if not config.list_of_images:
        return [_image(value, path, look_up(data, text_path), text_path)]
    if not isinstance(value, list) or not value:
        found = f"the list of images is {kind_of(value)}." if value else "the task has no list of images here."
        raise TaskError(path, found, f"Put a list of images' URLs, paths or data URIs into the field {path!r}.")
    return [_image(entry, f"{path}[{number}]") for number, entry in enumerate(value)]


def _image(value: Any, path: str, text: Any = None, text_path: str = "") -> str:
    if isinstance(value, str) and value.strip() and is_text(value):
        return value.strip()
    if not value and isinstance(text, str) and ADDRESS.fullmatch(text.strip()):
        raise TaskError(
            path,
            f"the task has no image here; an address stands where its text should, in {text_path!r}.",
            "Label Studio puts files of a storage into the first tag's field: write <Image> before <Text> in the label "
            "config, and add the storage's files anew.",
        )
    raise TaskError(
        path,
        f"the image is no text but {kind_of(value)}." if value else "the task has no image here.",
        f"Put the image's URL, path or data URI into the field {path!r} of the task's data.",
    )


@dataclass(frozen=True)
class _Reader:
    """Reads the texts of one task."""

    data: Mapping[str, Any]
    text_path: str
    config: LabelConfig
    settings: Settings

    @cached_property
    def controls(self) -> list[Control]:
        """The tags that take results, with all labels of the task."""
        controls = [control.of(self.data) for control in self.config.controls]
        labels = sum(len(control.labels) for control in controls)
        if labels > MOST_LABELS:
            path = next(tag.labels_path for tag in self.config.controls if tag.labels_path)
            raise TaskError(path, f"there are {labels} labels; at most {MOST_LABELS} are allowed.", "Use fewer labels.")
        return controls

    @cached_property
    def labels(self) -> list[Label]:
        """All that a mask of the task may have."""
        return [label for control in self.controls for label in control.labels]

    @property
    def several_labels(self) -> bool:
        """Whether there is a choice."""
        return len({label.name for label in self.labels}) > 1

    @property
    def own(self) -> Any:
        """What stands in the task's text field."""
        return look_up(self.data, self.text_path)

    @property
    def has_no_text(self) -> bool:
        """Whether the text field is absent or empty, or a list of such."""
        entries = self.own if isinstance(self.own, list) else [self.own]
        return all(entry is None or (isinstance(entry, str) and not entry.strip()) for entry in entries)

    def pages_of_labels(self, images: Sequence[str]) -> tuple[Page, ...]:
        """What gets the labels, on each image."""
        self._check_that_there_are_labels()
        names = names_of_labels(self.labels, self.config.predicted_values, self.settings.max_expressions)
        expressions = tuple(Expression(name, label) for name, label in names.items())
        if not self.config.list_of_images:
            return (Page(images[0], expressions),)
        return tuple(Page(image, expressions, number) for number, image in enumerate(images))

    def pages(self, images: Sequence[str], asked: Interaction) -> tuple[Page, ...]:
        """What to look for on each image."""
        if asked.points:
            expressions: list[tuple[Expression, ...]] = [(self._clicked(asked),)] * len(images)
        elif asked.texts:
            expressions = [self._expressions(asked.texts)] * len(images)
        else:
            expressions = [self._expressions(entries) for entries in self._entries_of_pages(len(images))]
        if not self.config.list_of_images:
            return (Page(images[0], expressions[0]),)
        pages = (Page(image, expressions[number], number) for number, image in enumerate(images))
        wanted = [page for page in pages if page.expressions and asked.item_index in (None, page.item_index)]
        self._check_number(sum(len(page.expressions) for page in wanted))
        return tuple(wanted)

    def _entries_of_pages(self, number: int) -> list[Sequence[Any]]:
        """What is asked on each page: of a list of texts each belongs to one page, any other text to all."""
        if not self.config.list_of_images or not isinstance(self.own, list) or len(self.own) == 1:
            return [read_entries(self.own, self.text_path)] * number
        if len(self.own) != number:
            raise TaskError(
                self.text_path,
                f"the task has {len(self.own)} texts for {number} images.",
                "Write one text for all images, or a list with one for each, null where nothing is to be found.",
            )
        return [entry if isinstance(entry, list) else [entry] if entry else [] for entry in self.own]

    def _expressions(self, entries: Sequence[Any]) -> tuple[Expression, ...]:
        self._check_number(len(entries))
        texts = [check_text(entry, self.text_path, self.settings) for entry in entries]
        return tuple(Expression(text, self._label(label, text)) for text, label in texts)

    def _check_number(self, expressions: int) -> None:
        if expressions > self.settings.max_expressions:
            raise TaskError(
                self.text_path,
                f"the task has {expressions} expressions; at most {self.settings.max_expressions} are allowed.",
                "Split the task, or raise REFAM_BACKEND_MAX_EXPRESSIONS.",
            )

    def _clicked(self, asked: Interaction) -> Expression:
        """What clicks refine: the last typed text, else the task's own if it has just one, else none.

        Its label is that of the shapes.
        """
        if asked.texts:
            text, label = check_text(asked.texts[-1], self.text_path, self.settings)
        else:
            text, label = only_text(self.own, self.text_path, self.settings)
        return Expression(text, self._label((asked.label if self.several_labels else None) or label, text))

    def _check_that_there_are_labels(self) -> None:
        if not self.labels:
            path = next(control.labels_path for control in self.config.controls)
            remedy = "Put a list of labels there, or add a <Label> to the label config."
            raise TaskError(str(path), "the task has no labels here.", remedy)

    def _label(self, beside: Any, text: str) -> str:
        """The label of a text, perhaps named beside it. The task's field `label` has a say where there is a choice: in
        other people's tables it means many things."""
        self._check_that_there_are_labels()
        wanted = beside or (self.data.get(LABEL_FIELD) if self.several_labels else None)
        return choose_label(self.labels, wanted, text, self.settings.default_label or self.config.default_label)


def _only(control: Control, names: set[str]) -> Control:
    return replace(control, labels=tuple(label for label in control.labels if label.name in names))
