"""Many tasks: retrieved, pre-labelled from the command line, announced by the webhook; each gets one prediction."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

from backend.queue import Priority
from refam.evaluate import intersection_over_union
from tests.e2e.conftest import PATIENCE, eventually, run_command, start_command
from tests.e2e.editor import read_mask

MANY, FLOOD = 120, 500
SECONDS = 100  # Label Studio's time-out; a busy machine takes long to import or to store what is ready


def texts(sample, number):
    """(picture, text) of so many tasks; pictures and texts come again."""
    return [(sample[n % len(sample)].picture.name, sample[n % len(sample)].text) for n in range(number)]


def test_a_project_is_connected(project, api, backend):
    state = api.backend_state(project)
    assert (state["state"], state["readable_state"]) == ("CO", "Connected")
    assert state["model_version"] == backend.settings.model_version
    assert state["is_interactive"]
    (hook,) = [h for h in api.ask("GET", "/api/webhooks/") if h["project"] == project]
    assert hook["url"] == f"{backend.address}/webhook"
    assert "Authorization" not in hook["headers"], "Label Studio sends no password"


def test_120_tasks_are_retrieved_at_once(unconnected, join, api, sample, refam):
    project, tasks = unconnected, api.add_tasks(unconnected, texts(sample, MANY))
    join(project)
    start = time.monotonic()
    assert api.retrieve(project, tasks)["processed_items"] == MANY
    assert time.monotonic() - start < SECONDS
    eventually(lambda: all(api.per_task(project)))
    assert api.per_task(project) == [1] * MANY
    api.retrieve(project, tasks)
    assert api.per_task(project) == [1] * MANY, "a second retrieve adds nothing"
    for number in (0, 1, MANY - 1):
        (prediction,) = api.predictions(tasks[number])
        entry = sample[number % len(sample)]
        assert prediction["model_version"] == api.backend_state(project)["model_version"]
        mask = read_mask(prediction["result"][0])
        assert intersection_over_union(mask, refam.segment(entry.image, entry.text).mask) >= 0.99


def test_new_tasks_are_predicted_though_the_webhook_has_no_password(project, api, sample):
    start = time.monotonic()
    tasks = api.add_tasks(project, texts(sample, 6))
    assert time.monotonic() - start < SECONDS
    eventually(lambda: all(api.per_task(project)))
    assert api.per_task(project) == [1] * len(tasks)


def test_tasks_that_a_storage_brings_are_predicted(project, studio, api, sample):
    folder = studio.files / "storage"
    folder.mkdir()
    data = [{"image": studio.file_address(picture), "text": text} for picture, text in texts(sample, 3)]
    for number, entry in enumerate(data):
        (folder / f"{number}.json").write_text(json.dumps(entry))
    storage = api.ask("POST", "/api/storages/localfiles", {"project": project, "path": str(folder)})
    assert api.ask("POST", f"/api/storages/localfiles/{storage['id']}/sync", {})["last_sync_count"] == len(data)
    eventually(lambda: all(api.per_task(project)))
    assert api.per_task(project) == [1] * len(data)


def test_selected_tasks_are_retrieved_in_the_data_manager(unconnected, join, api, editor, sample):
    *selected, left = api.add_tasks(unconnected, texts(sample, 4))
    join(unconnected)
    editor.retrieve(unconnected, selected)
    eventually(lambda: sum(api.per_task(unconnected)) >= len(selected))
    assert [len(api.predictions(task)) for task in [*selected, left]] == [1, 1, 1, 0]


def test_a_project_is_predicted_from_the_command_line(unconnected, api, backend, sample):
    """Without a connection, too: the command needs Label Studio's token alone."""
    tasks = api.add_tasks(unconnected, [*texts(sample, 6), ("none.png", "the ball")])
    code, said = run_command(backend.variables, "prelabel", str(unconnected), "--limit", "2")
    assert code == 0, said
    assert "done 2, skipped 0, failed 0" in said
    assert sum(api.per_task(unconnected)) == 2
    code, said = run_command(backend.variables, "prelabel", str(unconnected))
    assert code == 1, said
    assert "done 4, skipped 2, failed 1" in said
    assert f"task {tasks[-1]}: image: " in said
    assert api.per_task(unconnected) == [1] * 6 + [0]
    _, said = run_command(backend.variables, "prelabel", str(unconnected))
    assert "done 0, skipped 6, failed 1" in said


def test_retrieve_webhook_and_prelabel_at_once_make_one_prediction_a_task(project, api, backend, sample):
    entries = [(name, f"{text}, please") for name, text in texts(sample, 8)]  # new to the backend: nothing is ready
    tasks = api.add_tasks(project, entries)
    with ThreadPoolExecutor() as pool:
        command = start_command(backend.variables, "prelabel", str(project))
        retrieved = [pool.submit(api.retrieve, project, tasks) for _ in range(2)]
        opened = [pool.submit(api.ask, "GET", f"/api/tasks/{task}?project={project}") for task in tasks[:2]]
        for answer in retrieved + opened:
            answer.result()
    said, _ = command.communicate(timeout=PATIENCE)
    assert command.returncode == 0, said
    eventually(lambda: all(api.per_task(project)))
    eventually(lambda: not any(sum(depth.values()) for depth in backend.queue.depths().values()))
    assert api.per_task(project) == [1] * len(tasks)


def test_the_backend_stays_connected_while_500_tasks_are_queued(unconnected, join, api, backend, sample):
    tasks = api.add_tasks(unconnected, [(name, f"{text} {n}") for n, (name, text) in enumerate(texts(sample, FLOOD))])
    join(unconnected)
    start = time.monotonic()
    api.retrieve(unconnected, tasks)
    assert time.monotonic() - start < SECONDS
    batch = backend.queue.queues[Priority.BATCH]
    eventually(lambda: batch.count > FLOOD * 0.8)
    try:
        for _ in range(10):
            state = api.backend_state(unconnected)
            assert state["readable_state"] == "Connected", state["error_message"]
            time.sleep(0.5)
        assert batch.count > FLOOD * 0.5, "the queue was not full all the time"
    finally:
        batch.empty()
