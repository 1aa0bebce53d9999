"""The documents name every setting, every command, and nothing that does not exist."""

import re
from pathlib import Path

import pytest
import typer

import backend.cli
import refam.cli
from backend.commands.settings import page
from backend.settings import variables
from refam.config import RefAMConfig

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCUMENTS = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
FOLDERS = (ROOT / "tests" / "backend", ROOT / "tests", ROOT)  # that names of tests begin at
LARGEST_README = 9 * 2**10  # bytes: it is read whole
EVERYTHING = "\n".join(document.read_text() for document in DOCUMENTS)


def test_the_page_of_settings_is_made_from_the_fields():
    assert (ROOT / "docs" / "settings.md").read_text() == page() + "\n", "run `make docs`"


def test_every_setting_stands_in_it_once():
    rows = re.findall(r"^\| `([A-Z_0-9]+)` \|", page(), flags=re.MULTILINE)
    assert rows == [*variables(), *RefAMConfig.describe()]
    assert all(description for _, description in RefAMConfig.describe().values())


def test_no_setting_is_named_that_does_not_exist():
    named = set(re.findall(r"\bREFAM_[A-Z_]*[A-Z]\b", EVERYTHING))
    assert named <= {*variables(), *RefAMConfig.describe(), "REFAM_BACKEND"}


def test_the_readme_is_short():
    assert len(README.read_bytes()) <= LARGEST_README


@pytest.mark.parametrize(("program", "app"), [("refam", refam.cli.app), ("refam-backend", backend.cli.app)])
def test_every_command_is_described_and_exists(program: str, app: typer.Typer):
    commands = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    described = set(re.findall(rf"`(?:\.venv/bin/)?{program} ([a-z-]+)", EVERYTHING))
    assert described == commands


def test_make_targets_that_are_named_exist_and_explain_themselves():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:`|^    )make ([a-z0-9-]+)", EVERYTHING, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
    for target in re.search(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)[1].split():
        assert re.search(rf"^{target}:.*  ## ", makefile, flags=re.MULTILINE), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path):
    for link in re.findall(r"\]\(([^):]+)\)", document.read_text()):
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def anchors(document: Path) -> set[str]:
    """What GitHub makes of a document's headings."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_files_that_the_architecture_names_exist():
    text = (ROOT / "docs" / "architecture.md").read_text()
    for name in re.findall(r"`(queue|delivery|web|worker)/(\w+\.py)`", text):
        assert (ROOT / "backend" / "/".join(name)).exists(), name


def test_tests_that_are_named_exist():
    named = set(re.findall(r"`((?:\w+/)*test_\w+\.py)(?:::(\w+))?`", EVERYTHING))
    assert named
    for path, function in named:
        file = next((folder / path for folder in FOLDERS if (folder / path).exists()), None)
        assert file, path
        assert f"def {function}" in file.read_text(), path
    everywhere = "\n".join(file.read_text() for file in (ROOT / "tests").rglob("*.py"))
    for function in re.findall(r"`(test_\w+)`", EVERYTHING):
        assert f"def {function}(" in everywhere, function


def test_every_key_in_redis_stands_in_the_architecture():
    text = (ROOT / "docs" / "architecture.md").read_text()
    sources = "\n".join(path.read_text() for path in (ROOT / "backend").rglob("*.py"))
    for key in set(re.findall(r"keyspace\.key\(\"([a-z]+)\"", sources)):
        assert f"`refam:<studio>:{key}" in text, key
    documented = set(re.findall(r"^    (refam:<studio>:[a-z]+)", sources, re.MULTILINE))
    assert len(documented) > 15
    for key in documented:
        assert f"`{key}" in text, key
