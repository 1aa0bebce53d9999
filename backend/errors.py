"""What can go wrong in the backend, as one family. Every message names what is wrong and what to do about it.

BackendError
├── SettingsError         an environment variable cannot be used
├── QueueUnavailableError no Redis where the settings say
├── ProgramError          a program that was started does not run
├── TemporaryError        something outside failed for now: the job is tried again with back-off
│   └── RestingHostError  the image's host has not answered others: the job is put off
└── TaskError             the task itself is bad: it fails at once, for good, and alone
    ├── LabelConfigError  the project's label config cannot be used
    └── RefusedError      Label Studio has no such project, or does not take the prediction
"""

__all__ = [
    "BackendError",
    "LabelConfigError",
    "ProgramError",
    "QueueUnavailableError",
    "RefusedError",
    "RestingHostError",
    "SettingsError",
    "TaskError",
    "TemporaryError",
]


LONGEST = 500  # characters of each part of a reason


class BackendError(Exception):
    """Base of all errors that the backend raises on purpose."""


class SettingsError(BackendError):
    """An environment variable is malformed, unknown, or contradicts another."""


class QueueUnavailableError(BackendError):
    """Redis cannot be reached."""


class ProgramError(BackendError):
    """A program that was started, such as the demonstration's backend, does not answer, or a command cannot go on."""


class TemporaryError(BackendError):
    """A service was slow, down or overloaded. Trying again later may succeed."""


class RestingHostError(TemporaryError):
    """An image's host has not answered a while ago, and is left alone.

    host: the one that rests.
    seconds: until it may be asked.
    """

    def __init__(self, host: str, seconds: float) -> None:
        self.host, self.seconds = host, seconds
        super().__init__(f"The image's host {host} does not answer.")


class TaskError(BackendError):
    """Input that no retry can mend.

    field: what is wrong: a field of the task's data, a tag of the label config, or a setting.
    message: what is wrong with it.
    remedy: what can be done about it, by whoever set up the project or runs the backend.
    annotator: what an annotator can do, where that is something else; nothing where an annotator cannot mend it.
    Each is cut to LONGEST characters, and has no control characters: they quote tasks, and end in logs and terminals.
    """

    def __init__(self, field: str, message: str, remedy: str, *, annotator: str = "") -> None:
        self.field, self.message, self.remedy, self.annotator = map(_shown, (field, message, remedy, annotator))
        super().__init__(f"{self.field}: {self.message} {self.remedy}")

    def as_json(self) -> dict[str, str]:
        """The parts, as they appear in answers and in the list of failures; `annotator` only where it is given."""
        parts = {"field": self.field, "message": self.message, "remedy": self.remedy}
        return parts | ({"annotator": self.annotator} if self.annotator else {})


class LabelConfigError(TaskError):
    """The label config is malformed, unsafe, or lacks a tag that is needed."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__("label_config", message, remedy)


class RefusedError(TaskError):
    """Label Studio answers, and will not do it however often it is asked."""


def _shown(text: str) -> str:
    cut = text if len(text) <= LONGEST else text[: LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in cut)
