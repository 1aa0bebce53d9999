"""Tasks that bring a picture alone: what is looked for are the project's labels."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.demo.local_studio import connect_backend, make_project
from backend.demo.programs import backend_running, free_port
from backend.settings import PREFIX
from refam.evaluate import intersection_over_union
from tests.e2e.editor import read_mask
from tests.e2e.running import PASSWORD, USER, eventually, run_command

LEAST = 0.5
NAMES = {"goldfish": "Fish", "lighthouse": "Building", "tent": "Building", "cactus": "Cactus"}
TEXT = '<Text name="text" value="$text"/>'
CONFIG = f"""<View><Image name="image" value="$image"/>{TEXT}
<BrushLabels name="mask" toName="image"><Label value="Fish" predicted_values="Goldfish"/>
<Label value="Building" predicted_values="lighthouse, tent"/><Label value="Cactus"/>
<Label value="Other" predicted_values=""/></BrushLabels></View>"""


@pytest.fixture(scope="module")
def variables(backend, tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    port, own = free_port(), {"LABELS_AS_PROMPTS": "on", "MIN_SCORE": LEAST, "STATE_DIR": folder}
    return {**backend.variables, f"{PREFIX}PORT": str(port), **{PREFIX + name: str(own[name]) for name in own}}


@pytest.fixture(scope="module")
def address(variables) -> Iterator[str]:
    """A second backend of the same Label Studio."""
    with backend_running(variables, Path(variables[f"{PREFIX}STATE_DIR"]) / "backend.log") as address:
        yield address


@pytest.fixture
def config(request) -> str:
    return str(getattr(request, "param", CONFIG))


@pytest.fixture
def project(studio, request, config) -> int:
    return make_project(studio, request.node.name[:50], config)


@pytest.fixture
def pictures(sample):
    """Those of goldfish."""
    found = [entry for entry in sample if entry.text == "the goldfish"]
    assert len(found) == 2
    return found


@pytest.fixture
def add(project, studio, api, pictures, config):
    """Adds a task of each picture, with an empty text if the config shows one: Label Studio refuses tasks without."""
    text = {"text": ""} if TEXT in config else {}
    data = [{"image": studio.file_address(entry.picture.name), **text} for entry in pictures]
    return lambda: api.import_tasks(project, data)


def expected(entry, refam):
    """(label, mask) of all that bears a name."""
    found = list(refam.segment_names(entry.image, list(NAMES)))
    return [
        (label, mask)
        for label, each in zip(NAMES.values(), found, strict=True)
        if each.score >= LEAST
        for mask in each.masks
    ]


def check(results, entry, refam):
    """Each region is one that is expected, and the fish is among them."""
    wanted = expected(entry, refam)
    regions = [(result["value"]["brushlabels"][0], read_mask(result)) for result in results]
    assert [label for label, _ in regions] == [label for label, _ in wanted]
    assert all(
        intersection_over_union(mask, right) >= 0.99 for (_, mask), (_, right) in zip(regions, wanted, strict=True)
    )
    assert any(label == "Fish" and intersection_over_union(mask, entry.mask) > 0.8 for label, mask in regions)


@pytest.mark.parametrize("config", [CONFIG, CONFIG.replace(TEXT, "")], ids=["empty texts", "no texts"], indirect=True)
def test_new_tasks_get_masks_of_their_labels(project, add, studio, api, address, pictures, refam):
    connect_backend(studio, project, address, USER, PASSWORD)
    tasks = add()
    eventually(lambda: all(api.per_task(project)))
    for task, entry in zip(tasks, pictures, strict=True):
        (prediction,) = api.predictions(task)
        check(prediction["result"], entry, refam)


def test_a_task_that_is_opened_shows_masks_of_its_labels(project, add, studio, address, editor, pictures, refam):
    tasks = add()
    connect_backend(studio, project, address, USER, PASSWORD)
    editor.open(project, tasks[0])
    editor.wait_for_mask()
    check([result for result in editor.results() if result["type"] == "brushlabels"], pictures[0], refam)


def test_a_project_without_texts_is_predicted_from_the_command_line(project, add, api, variables, pictures, refam):
    tasks = add()
    code, said = run_command(variables, "prelabel", str(project), "--min-score", "1")
    assert (code, api.per_task(project)) == (0, [0, 0]), said
    code, said = run_command(variables, "prelabel", str(project))
    assert (code, api.per_task(project)) == (0, [1, 1]), said
    for task, entry in zip(tasks, pictures, strict=True):
        (prediction,) = api.predictions(task)
        check(prediction["result"], entry, refam)
