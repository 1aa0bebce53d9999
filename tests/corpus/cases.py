"""The bad inputs of cases.json, and the table of them in docs/bad-inputs.md: `python -m tests.corpus.cases` writes it.

An entry has what is put in and the field, message and remedy that must come out. `tasks` hold data of a task, or the
file that its image is; `configs` a label config; `requests` a whole body. {"repeat": [text, times]} stands for long
texts, {"bytes": hex} and {"gzip": text} for what JSON cannot hold; {host} and {studio} for the test's servers.
"""

import gzip
import json
from pathlib import Path
from typing import Any

__all__ = ["CASES", "TABLE", "expand", "table"]

Case = dict[str, Any]
CASES: dict[str, list[Case]] = json.loads((Path(__file__).parent / "cases.json").read_text())
TABLE = Path(__file__).parents[2] / "docs" / "bad-inputs.md"
HEADINGS = {"tasks": "Tasks", "configs": "Label configs", "requests": "Requests"}


def expand(value: Any, **places: str) -> Any:
    """What an entry's shorthand stands for, with servers' addresses put in."""
    match value:
        case {"repeat": [text, times], **around}:
            return around.get("before", "") + text * times + expand(around.get("after", ""))
        case {"bytes": digits}:
            return bytes.fromhex(digits)
        case {"gzip": text}:
            return gzip.compress(text.encode(), mtime=0)
        case str():
            for name, address in places.items():
                value = value.replace(f"{{{name}}}", address)
    return value


def table() -> str:
    """docs/bad-inputs.md."""
    lines = [
        "# Bad inputs, and what is said about them",
        "",
        "Made from `tests/corpus/cases.json` by `python -m tests.corpus.cases`. `tests/corpus/test_corpus.py` sends",
        "each over HTTP to a real server, through a real Redis to a real worker with a stub for the model, and checks",
        "field, message and remedy in the answer and in `/status`. A good task among them gets its mask. There,",
        "images may have 1,000,000 bytes, requests 3,000,000, a download takes 4 s at most, and is tried again once.",
    ]
    for kind, heading in HEADINGS.items():
        lines += ["", f"## {heading}", "", "| input | field | message | remedy |", "|---|---|---|---|"]
        lines += [f"| {_row(case)} |" for case in CASES[kind]]
    return "\n".join(lines) + "\n"


def _row(case: Case) -> str:
    shown = case["input"]
    if isinstance(image := case.get("data", {}).get("image"), str) and image:
        shown += f": `{image.encode('unicode_escape').decode()}`"
    elif "file" in case:
        shown += f" (`{case['file']}`)"
    cells = (shown, case["field"], expand(case["message"], size="N"), case["remedy"])
    return " | ".join(cell.replace("|", r"\|").replace("<", "&lt;") for cell in cells)


if __name__ == "__main__":
    TABLE.write_text(table())
