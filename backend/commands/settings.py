"""`refam-backend settings`: every setting with its default and what it is, as docs/settings.md shows them."""

from collections.abc import Mapping
from typing import Any

from backend.settings import defaults, variables
from refam.config import RefAMConfig

__all__ = ["page"]

HEAD = """# Settings

All settings are environment variables. This page is made by `make docs` from the fields that are read.
"""


def page() -> str:
    """The page, in Markdown."""
    own = {name: (default, variables()[name]) for name, default in defaults().items()}
    return "\n".join(
        [HEAD, "## The backend", "", *_table(own), "", "## The method", "", *_table(RefAMConfig.describe())]
    )


def _table(entries: Mapping[str, tuple[Any, str]]) -> list[str]:
    rows = [f"| `{name}` | {_shown(default)} | {description} |" for name, (default, description) in entries.items()]
    return ["| variable | default | meaning |", "|---|---|---|", *rows]


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return "`on`" if default else "`off`"
    text = ",".join(map(str, default)) if isinstance(default, tuple) else "" if default is None else str(default)
    return f"`{text}`" if text else ""
