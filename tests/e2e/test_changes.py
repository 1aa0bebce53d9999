"""What changes after a mask was made, and tasks with several images, in the real Label Studio."""

import numpy as np
import pytest

from backend.demo.local_studio import connect_backend, make_project
from refam.evaluate import intersection_over_union
from tests.e2e.editor import ANNOTATION, REGIONS, SETTLE, read_mask
from tests.e2e.running import CONFIG, PASSWORD, USER, eventually, run_command
from tests.support.deliveries import expire_claims

PAGES = """<View><Image name="image" valueList="$frames"/><Text name="text" value="$text"/>
<BrushLabels name="mask" toName="image"><Label value="Object"/></BrushLabels></View>"""


def agrees(prediction, entry, text, refam):
    mask = read_mask(prediction["result"][0])
    return intersection_over_union(mask, refam.segment(entry.image, text).mask) >= 0.99


@pytest.fixture
def masked(project, api, backend, sample):
    """A task with the mask of its text, delivered a while ago: nobody claims to deliver another one."""
    entry = sample[0]
    (task,) = api.add_tasks(project, [(entry.picture.name, entry.text)])
    eventually(lambda: api.per_task(project) == [1])
    expire_claims(backend.shared.connection)
    return task


def other_text(entry):
    """A text that refers to another thing of the same picture, so that its mask is another one."""
    return "the red thing" if "red" not in entry.text else "the blue thing"


def test_a_corrected_text_has_its_mask_after_a_retrieve(project, masked, api, sample, editor, refam):
    """Label Studio itself leaves the task out, since it has a prediction of this version."""
    (before,) = api.predictions(masked)
    data = {**api.tasks(project)[0]["data"], "text": other_text(sample[0])}
    api.ask("PATCH", f"/api/tasks/{masked}/", {"data": data})

    def replaced():
        editor.retrieve(project, [masked])
        found = api.predictions(masked)
        return len(found) == 1 and found[0]["id"] != before["id"]

    eventually(replaced)
    (after,) = api.predictions(masked)
    assert agrees(after, sample[0], data["text"], refam)
    assert after["model_version"] == before["model_version"]


def test_a_renamed_label_is_in_the_masks(project, masked, api, backend, sample, refam):
    config = CONFIG.replace(
        '<Label value="Object" background="#e6194b"/>', '<Label value="Thing" background="#e6194b"/>'
    )
    assert config != CONFIG
    api.ask("PATCH", f"/api/projects/{project}/", {"label_config": config})

    def renamed():
        found = api.predictions(masked)
        return len(found) == 1 and found[0]["result"][0]["value"]["brushlabels"] == ["Thing"]

    eventually(renamed)
    (prediction,) = api.predictions(masked)
    assert agrees(prediction, sample[0], sample[0].text, refam)


def test_an_annotation_stays_when_its_tasks_text_is_corrected(project, masked, api, backend, sample, editor):
    editor.open(project, masked)
    editor.wait_for_mask()
    editor.submit()
    (annotation,) = api.ask("GET", f"/api/tasks/{masked}/annotations/")
    data = {**api.tasks(project)[0]["data"], "text": other_text(sample[0])}
    api.ask("PATCH", f"/api/tasks/{masked}/", {"data": data})
    (before,) = api.predictions(masked)
    code, said = run_command(backend.variables, "refresh", str(project))
    assert code == 0, said
    assert "1 of 1 tasks asked something else" in said
    eventually(lambda: [entry["id"] for entry in api.predictions(masked)] != [before["id"]])
    eventually(lambda: len(api.predictions(masked)) == 1)
    (kept,) = api.ask("GET", f"/api/tasks/{masked}/annotations/")
    assert kept["result"] == annotation["result"]


def test_each_page_of_a_list_of_images_has_its_mask(api, studio, backend, sample, refam, editor):
    """And each can be edited."""
    project = make_project(studio, "pages", PAGES)
    frames = [studio.file_address(entry.picture.name) for entry in sample[:3]]
    (task,) = api.import_tasks(project, [{"frames": frames, "text": [sample[0].text, None, sample[2].text]}])
    connect_backend(studio, project, backend.address, USER, PASSWORD)
    editor.page.goto(f"{studio.url}/projects/{project}/data?task={task}")
    editor.page.wait_for_function(f"window.dataManager?.lsf?.lsf && {REGIONS}.length === 2")
    (prediction,) = api.predictions(task)
    assert [(region["item_index"], region["value"]["brushlabels"]) for region in prediction["result"]] == [
        (0, ["Object"]),
        (2, ["Object"]),
    ]
    for region, entry in zip(prediction["result"], (sample[0], sample[2]), strict=True):
        expected = refam.segment(entry.image, entry.text).mask
        assert intersection_over_union(read_mask(region), expected) >= 0.99
    editor.page.evaluate(f"{ANNOTATION}.names.get('image').setCurrentImage(2)")
    editor.page.wait_for_timeout(SETTLE)
    drawn = editor.page.evaluate(f"JSON.parse(JSON.stringify({REGIONS}[1].serialize()))")
    assert drawn["item_index"] == 2
    assert np.count_nonzero(read_mask(drawn)) == np.count_nonzero(read_mask(prediction["result"][1]))


def test_labels_of_the_task_itself(api, studio, backend, sample):
    """Label Studio's import of predictions does not know them beside labels of the config."""
    tag = '<BrushLabels name="mask" toName="image" value="$options"><Label value="Other"/></BrushLabels>'
    config = f'<View><Image name="image" value="$image"/><Text name="text" value="$text"/>{tag}</View>'
    project = make_project(studio, "options", config)
    address = studio.file_address(sample[0].picture.name)
    options = [{"value": "Goldfish"}, {"value": "Zebras"}]
    (task,) = api.import_tasks(project, [{"image": address, "text": "the left goldfish", "options": options}])
    code, said = run_command(backend.variables, "prelabel", str(project))
    assert code == 0, said
    (prediction,) = api.predictions(task)
    assert prediction["result"][0]["value"]["brushlabels"] == ["Goldfish"]
