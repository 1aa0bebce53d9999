"""Pictures from disk into a project: each once, with its text."""

import io
import json

import pytest
from rich.console import Console

from backend.commands.import_pictures import import_pictures
from backend.errors import RefusedError, SettingsError, TaskError
from tests.support.label_studio import PAT
from tests.support.tasks import CONFIG, png


@pytest.fixture
def settings(configure, studio):
    return configure(LABEL_STUDIO_URL=studio.url, LABEL_STUDIO_API_KEY=PAT)


@pytest.fixture
def bring(settings):
    """Imports into project 7; returns the exit code and what was said."""

    def bring(source, text=None):
        said = io.StringIO()
        return import_pictures(settings, "7", source, text, Console(file=said, width=200)), said.getvalue().lstrip()

    return bring


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "deep").mkdir()
    for number, name in enumerate(["a.png", "b.JPG", "deep/a.png"], 3):
        (tmp_path / name).write_bytes(png(number, 4))
    (tmp_path / "a.txt").write_text("\ufeffthe left mug\n", "utf-8")
    (tmp_path / "notes.md").write_text("no picture")
    return tmp_path


def made(studio):
    """(text, name on disk) of each task, and whether its picture was uploaded."""
    return [
        (task["data"].get("text"), task["meta"]["file"], task["data"]["image"] in studio.uploads)
        for task in studio.tasks.values()
    ]


def test_a_folder_with_texts_beside_the_pictures_and_one_for_the_others(bring, studio, folder):
    assert bring(folder, "a thing") == (0, "made 3, there already 0, failed 0\n")
    assert made(studio) == [
        ("the left mug", "a.png", True), ("a thing", "b.JPG", True), ("a thing", "deep/a.png", True),
    ]  # fmt: skip
    assert list(studio.uploads.values()) == [png(3, 4), png(4, 4), png(5, 4)]


def test_it_goes_on_where_it_was(bring, studio, folder):
    bring(folder, "a thing")
    (folder / "c.png").write_bytes(png(9, 9))
    assert bring(folder, "a thing")[1] == "made 1, there already 3, failed 0\n"
    assert [name for _, name, _ in made(studio)] == ["a.png", "b.JPG", "deep/a.png", "c.png"]


@pytest.mark.parametrize("table", ["csv", "semicolons", "json", "tasks"])
def test_tables(bring, studio, folder, table):
    rows = [
        {"file": "a.png", "text": "the mug, left", "label": "x"},
        {"file": "deep/a.png", "text": "a cat", "label": ""},
    ]
    if table in ("csv", "semicolons"):
        comma, source = (",", folder / "table.csv") if table == "csv" else (";", folder / "table.csv")
        source.write_text(
            f'file{comma}text{comma}label\na.png{comma}"the mug, left"{comma}x\ndeep/a.png{comma}a cat{comma}\n'
        )
    else:
        source = folder / "table.json"
        source.write_text(json.dumps([{"data": row} for row in rows] if table == "tasks" else rows))
    assert bring(source)[0] == 0
    assert made(studio) == [("the mug, left", "a.png", True), ("a cat", "deep/a.png", True)]
    assert [task["data"].get("label") for task in studio.tasks.values()] == ["x", None]


def test_pictures_that_lie_elsewhere_are_named_as_they_are(bring, studio, tmp_path):
    source = tmp_path / "t.csv"
    source.write_text("image,text\nhttps://a.org/a.png,a cat\n")
    assert bring(source)[0] == 0
    assert [task["data"] for task in studio.tasks.values()] == [{"image": "https://a.org/a.png", "text": "a cat"}]


def test_a_config_with_the_picture_alone(bring, studio, folder):
    """Label Studio itself takes such uploads, and must not make tasks of them by itself."""
    studio.configs[7] = CONFIG.replace('<Text name="expression" value="$text"/>', "")
    assert bring(folder)[0] == 0
    assert made(studio) == [(None, name, True) for name in ("a.png", "b.JPG", "deep/a.png")]


def test_what_label_studio_refuses_does_not_hinder_the_others(bring, studio, folder):
    refused = iter([(400, {"detail": "too large"}), None, None])
    studio.fault = lambda method, path: next(refused, None) if method == "POST" and path.endswith("/import") else None
    code, said = bring(folder, "a thing")
    assert code == 1
    assert "a.png: label_studio: it does not take" in said
    assert said.endswith("made 2, there already 0, failed 1\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,text\nmissing.png,a cat\n", "missing.png do not exist"),
        ("file,text\na.png,\n", "a.png have no text"),
        ("file,text\na.png,x\na.png,y\n", "a.png stand in two rows"),
        ("text\na cat\n", "row 1 names no picture"),
        ("file,text\n", "there are no pictures"),
    ],
)
def test_tables_that_cannot_be_used_are_refused_before_anything_is_uploaded(bring, studio, folder, content, message):
    source = folder / "table.csv"
    source.write_text(content)
    with pytest.raises(TaskError, match=message):
        bring(source)
    assert not studio.uploads


@pytest.mark.parametrize("content", ["{", '{"file": "a.png"}', "[1]"])
def test_json_that_is_no_table_is_refused(bring, folder, content):
    (folder / "t.json").write_text(content)
    with pytest.raises(TaskError, match=r"no JSON|no list of objects"):
        bring(folder / "t.json")


def test_what_is_not_there_is_said(bring, configure, settings, tmp_path, environment):
    with pytest.raises(TaskError, match="no such file"):
        bring(tmp_path / "nothing.csv")
    with pytest.raises(RefusedError, match="no project 8"):
        import_pictures(settings, "8", tmp_path, None, Console())
    environment.delenv("LABEL_STUDIO_API_KEY")
    with pytest.raises(SettingsError):
        import_pictures(configure(), "7", tmp_path, None, Console())


def test_lists_of_images_are_refused(bring, studio, folder):
    studio.configs[7] = CONFIG.replace('value="$image"', 'valueList="$image"')
    with pytest.raises(TaskError, match="one field holds one image"):
        bring(folder, "x")
