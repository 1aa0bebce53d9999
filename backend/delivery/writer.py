"""Writes predictions to Label Studio, each once, many with one request."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from backend.delivery.answered import Answered
from backend.delivery.claims import Claim, Claims, Target
from backend.errors import BackendError, RefusedError, TaskError, TemporaryError
from backend.label_studio.client import Studio
from backend.label_studio.label_config import LabelConfig
from backend.label_studio.region_ids import question_mark, question_of
from backend.label_studio.stored_predictions import OWN_VERSIONS, answering, is_outdated, is_own
from backend.label_studio.task_reading import read_task
from backend.settings import Settings
from backend.timings import Timings

__all__ = ["Delivery", "OutdatedError", "Writer", "delete_surplus"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Delivery:
    """A prediction that is due for a task.

    mark: of the question that it answers, where its regions do not tell: an empty one has none.
    """

    target: Target
    prediction: Mapping[str, Any]
    mark: str | None = None

    @property
    def version(self) -> str:
        return str(self.prediction["model_version"])

    @property
    def is_nothing(self) -> bool:
        """Whether it says that nothing was found."""
        return not self.prediction["result"]


class OutdatedError(Exception):
    """A task asks something else by now than what its prediction answers."""


@dataclass
class _Write:
    """How far a delivery is. Once it has an outcome, nothing more is to be done.

    strict: whether RefAM's predictions of other versions are replaced, too.
    stored: what the task has.
    """

    delivery: Delivery
    claim: Claim | None
    mark: str | None
    strict: bool = False
    stored: Sequence[Mapping[str, Any]] = ()
    outdated: list[Mapping[str, Any]] = field(default_factory=list)
    outcome: float | Exception | None = None

    @property
    def answering(self) -> list[Mapping[str, Any]]:
        """Of what is stored, that which answers the same."""
        delivery = self.delivery
        return answering(self.stored, delivery.version, self.mark, self.strict, delivery.is_nothing)

    @contextmanager
    def noting_errors(self) -> Iterator[None]:
        try:
            yield
        except (BackendError, OutdatedError) as error:
            self.outcome = error


@dataclass(frozen=True)
class Writer:
    """Writes what is due. label_config: that of a project, by its number."""

    studio: Studio
    claims: Claims
    answered: Answered
    settings: Settings
    timings: Timings
    label_config: Callable[[str], LabelConfig]

    def write(self, deliveries: Sequence[Delivery]) -> list[float | Exception]:
        """Store predictions, unless Label Studio holds them, each in place of RefAM's own that answers what its task
        asked before.

        Returns for each 0, or in how many seconds to come back, or its error: OutdatedError if the task asks something
        else by now, RefusedError if Label Studio never takes it, and otherwise what Studio raises.
        """

        def kind(number: int) -> tuple[str, str]:
            return deliveries[number].target.project, deliveries[number].version

        outcomes: dict[int, float | Exception] = {}
        for (project, version), numbers in groupby(sorted(range(len(deliveries)), key=kind), kind):
            some = list(numbers)
            found = self._write_alike(project, version, [deliveries[number] for number in some])
            outcomes |= dict(zip(some, found, strict=True))
        return [outcomes[number] for number in range(len(deliveries))]

    def _write_alike(self, project: str, version: str, deliveries: Sequence[Delivery]) -> list[float | Exception]:
        """The same for tasks of one project and predictions of one version."""
        start = time.monotonic()
        claims = self.claims.claim([each.target for each in deliveries], version, self.timings.delivery)
        writes = [
            _Write(delivery, claim, question_of(delivery.prediction) or delivery.mark)
            for delivery, claim in zip(deliveries, claims, strict=True)
        ]
        self._look(project, writes)
        for write in writes:
            if write.outcome is not None or write.answering:
                self.claims.release([write.claim] if write.claim else [])
            elif write.claim is None or time.monotonic() - start > self.timings.latest_post:
                claimed_for = self.claims.claimed_for(write.delivery.target, version)
                write.outcome = max(min(claimed_for, self.timings.claimed), self.timings.soon)
        self._post(project, [write for write in writes if write.outcome is None and not write.answering])
        for write in writes:
            if write.outcome is None:
                self._tidy(write)
        return [0.0 if write.outcome is None else write.outcome for write in writes]

    def _look(self, project: str, writes: Sequence[_Write]) -> None:
        """Note what tasks have. RefAM's own is asked for with one request; few tasks have any."""
        try:
            ids = [int(write.delivery.target.task) for write in writes]
            predicted = self.studio.predicted(project, ids, OWN_VERSIONS)
        except BackendError as error:
            for write in writes:
                write.outcome = error
            return
        for write in writes:
            if int(write.delivery.target.task) in predicted:
                with write.noting_errors():
                    self._look_closely(write)

    def _look_closely(self, write: _Write) -> None:
        delivery, target = write.delivery, write.delivery.target
        write.stored = self.studio.predictions(target.task)
        write.strict = target.replace and not self.studio.has_annotations(target.task)
        write.outdated = [
            entry
            for entry in write.stored
            if is_outdated(entry, delivery.version, write.mark, write.strict, delivery.is_nothing)
        ]
        if write.outdated and not self._still_asks(target, write.mark):
            raise OutdatedError(target)

    def _still_asks(self, target: Target, mark: str | None) -> bool:
        """Whether a task, as Label Studio has it now, asks this question."""
        config = self.label_config(target.project)
        for task in self.studio.tasks(target.project, ids=[int(target.task)]):
            try:
                request = read_task(task, config, self.settings, target.project)
            except TaskError:
                return False
            return request is not None and question_mark(request) == mark
        raise self.studio.unknown_task(target.project, target.task)

    def _post(self, project: str, writes: Sequence[_Write]) -> None:
        """Store predictions of claimed tasks: together, or one by one where they are not all taken."""
        if len(writes) > 1:
            entries = [(write.delivery.target.task, write.delivery.prediction) for write in writes]
            try:
                taken = self.studio.post_predictions(project, entries)
            except BackendError as error:
                for write in writes:
                    self._give_up(write, error)
                return
            if taken:
                self._note_posted(writes)
                return
            self._look(project, writes)
            self._note_posted([write for write in writes if write.answering])
        for write in writes:
            if write.outcome is None and not write.answering:
                self._post_alone(write)

    def _post_alone(self, write: _Write) -> None:
        try:
            self._store(write.delivery)
        except BackendError as error:
            self._give_up(write, error)
        else:
            self._note_posted([write])

    def _note_posted(self, writes: Sequence[_Write]) -> None:
        """Where somebody else can have stored one meanwhile, what the task has is looked at anew."""
        for write in writes:
            if write.claim and not self.claims.extend(write.claim, self.settings.claim_seconds):
                with write.noting_errors():
                    write.stored = self.studio.predictions(write.delivery.target.task)

    def _give_up(self, write: _Write, error: BackendError) -> None:
        write.outcome = error
        if write.claim and isinstance(error, TemporaryError):  # it may be stored yet
            self.claims.extend(write.claim, self.timings.unsure)
        elif write.claim:
            self.claims.release([write.claim])

    def _store(self, delivery: Delivery) -> None:
        target = delivery.target
        try:
            self.studio.post_prediction(target.project, target.task, delivery.prediction)
        except RefusedError:
            if not self._has_labels_of_the_task(delivery):
                raise
            self.studio.add_prediction(target.task, delivery.prediction)

    def _has_labels_of_the_task(self, delivery: Delivery) -> bool:
        """Whether a prediction fits the labels that a task itself brings (`value="$options"`)."""
        target = delivery.target
        tags = {tag.name: tag for tag in self.label_config(target.project).controls if tag.labels_path}
        for task in self.studio.tasks(target.project, ids=[int(target.task)]):
            known = {name: {label.answer for label in tag.of(task["data"]).labels} for name, tag in tags.items()}
            regions = delivery.prediction["result"]
            found = [(region["from_name"], *region["value"][region["type"]]) for region in regions]
            return bool(tags) and all(label in known.get(tag, ()) for tag, *labels in found for label in labels)
        return False

    def _tidy(self, write: _Write) -> None:
        """Note what a task's prediction answers, and delete what it replaces."""
        delivery, target = write.delivery, write.delivery.target
        with write.noting_errors():
            if write.mark:
                self.answered.note(target.project, {target.task: write.mark})
            delete_surplus(self.studio, write.answering)
            outdated = list(write.outdated)
            if write.strict:
                outdated += [e for e in write.stored if is_own(e) and e["model_version"] != delivery.version]
            for number in sorted({entry["id"] for entry in outdated}):
                self.studio.delete_prediction(number)


def delete_surplus(studio: Studio, stored: Sequence[Mapping[str, Any]]) -> None:
    """Delete all but the first that answer the same: a request may have been carried out twice, or very late."""
    for surplus in sorted(prediction["id"] for prediction in stored)[1:]:
        logger.warning("Prediction %d is stored twice; it is deleted.", surplus)
        studio.delete_prediction(surplus)
