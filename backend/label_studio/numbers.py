"""Label Studio's numbers: of projects, tasks, predictions and annotations."""

import re
from typing import Any

__all__ = ["LARGEST_NUMBER", "NUMBER", "is_number"]

NUMBER = r"(?:0|[1-9][0-9]{0,17})"  # as Label Studio writes one; some tools begin with 0
LARGEST_NUMBER = 10**18 - 1


def is_number(text: Any) -> bool:
    """Whether something that came as text is such a number, written as Label Studio writes it: "12", and neither "012"
    nor other scripts' digits. Two texts then name one task only if they are equal."""
    return isinstance(text, str) and re.fullmatch(NUMBER, text, re.ASCII) is not None
