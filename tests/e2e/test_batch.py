"""Many tasks: retrieved, pre-labelled from the command line, announced by the webhook; each gets one prediction."""

import json
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor

from backend.commands.prelabel import INTERRUPTED
from backend.queue.priorities import Priority
from refam.evaluate import intersection_over_union
from tests.e2e.editor import read_mask
from tests.e2e.running import CONFIG, PATIENCE, eventually, run_command, start_command

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


def test_120_tasks_whose_masks_are_ready_are_retrieved_at_once(unconnected, join, api, backend, sample):
    """Another project had the same pictures and texts. Label Studio takes longer to store masks than they took."""
    earlier = api.ask("POST", "/api/projects/", {"title": "earlier", "label_config": CONFIG})["id"]
    api.add_tasks(earlier, texts(sample, len(sample)))
    code, said = run_command(backend.variables, "prelabel", str(earlier))
    assert code == 0, said
    before = backend.shared.counters.totals()
    project, tasks = unconnected, api.add_tasks(unconnected, texts(sample, MANY))
    join(project)
    start = time.monotonic()
    api.retrieve(project, tasks)
    assert time.monotonic() - start < SECONDS
    eventually(lambda: all(api.per_task(project)))
    assert api.per_task(project) == [1] * MANY
    assert backend.shared.counters.totals() == before, "something was computed again"


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


def test_a_tab_is_predicted_from_the_command_line(unconnected, api, backend, sample):
    """A tab that tasks leave as they are predicted, as annotation leads make them."""
    tasks = api.add_tasks(unconnected, texts(sample, 6))
    run_command(backend.variables, "prelabel", str(unconnected), "--limit", "2")
    lacking = {"filter": "filter:tasks:total_predictions", "operator": "equal", "type": "Number", "value": 0}
    low = {"filter": "filter:tasks:id", "operator": "less", "type": "Number", "value": tasks[-1]}
    data = {"title": "to do", "filters": {"conjunction": "and", "items": [lacking, low]}}
    view = api.ask("POST", "/api/dm/views", {"project": unconnected, "data": data})["id"]
    code, said = run_command(backend.variables, "prelabel", str(unconnected), "--view", str(view))
    assert code == 0, said
    assert "done 3, skipped 0, failed 0" in said
    assert [len(api.predictions(task)) for task in tasks] == [1] * 5 + [0]


def test_a_dry_run_makes_pictures_and_stores_nothing(unconnected, api, backend, sample, tmp_path):
    tasks = api.add_tasks(unconnected, texts(sample, 3))
    command = ("prelabel", str(unconnected), "--dry-run", "--limit", "2", "--pictures", str(tmp_path))
    code, said = run_command(backend.variables, *command)
    assert code == 0, said
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"task_{task}_1.png" for task in tasks[:2]]
    assert api.per_task(unconnected) == [0] * 3


def test_replace_deletes_older_versions_where_nobody_has_annotated(unconnected, api, backend, sample):
    plain, annotated = api.add_tasks(unconnected, texts(sample, 2))
    for task in (plain, annotated):
        for version in ("refam-older", "somebody's"):
            api.ask("POST", "/api/predictions/", {"task": task, "model_version": version, "result": []})
    api.ask("POST", f"/api/tasks/{annotated}/annotations/", {"result": []})
    code, said = run_command(backend.variables, "prelabel", str(unconnected), "--replace")
    assert code == 0, said
    own = backend.settings.model_version
    versions = [sorted(entry["model_version"] for entry in api.predictions(task)) for task in (plain, annotated)]
    assert versions == [sorted([own, "somebody's"]), sorted([own, "refam-older", "somebody's"])]


def test_prelabel_is_interrupted_and_goes_on(unconnected, api, backend, sample):
    tasks = api.add_tasks(unconnected, [(name, f"{text}, there") for name, text in texts(sample, 24)])
    command = start_command(backend.variables, "prelabel", str(unconnected))
    eventually(lambda: any(api.per_task(unconnected)))
    command.send_signal(signal.SIGINT)
    said, _ = command.communicate(timeout=PATIENCE)
    assert command.returncode == INTERRUPTED, said
    assert "are queued and go on. Run the same command again for the rest." in said
    code, said = run_command(backend.variables, "prelabel", str(unconnected))
    assert code == 0, said
    found = re.search(r"done (\d+), skipped (\d+), failed 0\n$", said)
    assert found, said
    assert sum(map(int, found.groups())) == len(tasks)
    assert api.per_task(unconnected) == [1] * len(tasks)


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
    eventually(lambda: not any(sum(depth.values()) for depth in backend.shared.backlog.depths().values()))
    assert api.per_task(project) == [1] * len(tasks)


def test_the_backend_stays_connected_while_500_tasks_are_queued(unconnected, join, api, backend, sample):
    tasks = api.add_tasks(unconnected, [(name, f"{text} {n}") for n, (name, text) in enumerate(texts(sample, FLOOD))])
    join(unconnected)
    start = time.monotonic()
    api.retrieve(unconnected, tasks)
    assert time.monotonic() - start < SECONDS
    eventually(lambda: backend.shared.backlog.waiting(Priority.BATCH))
    looks = 0
    while any(sum(depth.values()) for depth in backend.shared.backlog.depths().values()):
        state = api.backend_state(unconnected)
        assert state["readable_state"] == "Connected", state["error_message"]
        looks += 1
        time.sleep(0.2)
    assert looks >= 10, "they were done before anybody could look"
    assert max(api.per_task(unconnected)) == 1
