"""What to look for where a task has no text: what its labels are called."""

from collections.abc import Mapping, Sequence

from backend.errors import TaskError
from backend.label_studio.request import Label

__all__ = ["LABELS", "names_of_labels"]

LABELS = "labels"  # stands for the text's field in messages


def names_of_labels(
    labels: Sequence[Label], predicted_values: Mapping[str, Sequence[str]], most: int
) -> dict[str, str]:
    """Names of things, in lower case, and the label that each gets: what the label's predicted_values say, else its
    own name.

    most: REFAM_BACKEND_MAX_EXPRESSIONS. Raises TaskError for no names, too many, or one that two labels have.
    """
    names: dict[str, str] = {}
    for label in dict.fromkeys(label.name for label in labels):
        for name in predicted_values.get(label, (label.replace("_", " "),)):
            other = names.setdefault(" ".join(name.lower().split()), label)
            if other != label:
                remedy = "Write into the predicted_values of each what tells it from the other."
                raise TaskError(LABELS, f"{other!r} and {label!r} both look for {name!r}.", remedy)
    if not names:
        remedy = "Write what gets a label into its predicted_values, or leave that away."
        raise TaskError(LABELS, "none of them is to be looked for.", remedy)
    if len(names) > most:
        remedy = "Use fewer, or raise REFAM_BACKEND_MAX_EXPRESSIONS."
        raise TaskError(LABELS, f"they have {len(names)} names to look for; at most {most} are allowed.", remedy)
    return names
