"""README names every setting, every command and nothing that does not exist."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
import typer

import backend.cli
import refam.cli
from backend.settings import Settings
from refam.config import RefAMConfig

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
ROWS = dict(re.findall(r"^\| `([A-Z_]+)` \| (.*?) \|", README, flags=re.MULTILINE))


def shown(default: object) -> str:
    if isinstance(default, bool):
        return "`on`" if default else "`off`"
    text = ",".join(map(str, default)) if isinstance(default, tuple) else "" if default is None else str(default)
    return f"`{text}`" if text else ""


def test_every_setting_of_the_method_stands_in_the_table_with_its_default():
    defaults = {f"REFAM_{field.name.upper()}": shown(field.default) for field in fields(RefAMConfig)}
    rows = {name: ROWS.get(name) for name in defaults}
    assert rows == defaults


def test_every_setting_of_the_backend_stands_in_the_table_with_its_default_and_description():
    for field in Settings.model_fields.values():
        default = "" if field.default_factory or field.is_required() else shown(field.default)
        assert f"| `{field.validation_alias}` | {default} | {field.description} |" in README


def test_the_table_names_no_setting_that_does_not_exist():
    known = {f"REFAM_{field.name.upper()}" for field in fields(RefAMConfig)}
    known |= {str(field.validation_alias) for field in Settings.model_fields.values()}
    assert set(ROWS) == known


@pytest.mark.parametrize(("program", "app"), [("refam", refam.cli.app), ("refam-backend", backend.cli.app)])
def test_every_command_is_described_and_exists(program: str, app: typer.Typer):
    commands = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    described = set(re.findall(rf"`(?:\.venv/bin/)?{program} ([a-z-]+)", README))
    assert described == commands


def test_files_and_make_targets_that_are_named_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:`|^    )make ([a-z0-9]+)", README, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
    for link in re.findall(r"\]\(([^):]+)\)", README):
        assert (ROOT / link).exists(), link
