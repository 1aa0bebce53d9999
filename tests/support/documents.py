"""What the documents say, for tests that hold them to it."""

from pathlib import Path

__all__ = ["table_rows"]


def table_rows(document: Path, first_column: str) -> list[tuple[str, ...]]:
    """The rows of all tables in a Markdown file whose first column has that title, without their headings."""
    rows: list[tuple[str, ...]] = []
    inside = False
    for line in document.read_text().splitlines():
        cells = tuple(cell.strip() for cell in line.strip("|").split("|")) if line.startswith("|") else ()
        if cells and cells[0] == first_column:
            inside = True
        elif not cells:
            inside = False
        elif inside and not cells[0].startswith("---"):
            rows.append(cells)
    return rows
