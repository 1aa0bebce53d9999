"""Pictures in an S3 storage that is connected to a project of the real Label Studio. The S3 server is moto's."""

import subprocess
from collections.abc import Iterator

import httpx
import pytest

from refam.evaluate import intersection_over_union
from tests.e2e.editor import read_mask
from tests.e2e.running import ROOT, eventually, run_command

MOTO = ROOT / ".s3" / "bin" / "moto_server"
BUCKET, KEY, SECRET = "pictures", "key", "secret"
PROMPT_CONFIG = (ROOT / "label_config_prompt.xml").read_text()


@pytest.fixture(scope="session")
def bucket(s3_port: int, sample) -> Iterator[str]:
    """Address of an S3 server with a bucket that holds the sample's pictures."""
    url = f"http://127.0.0.1:{s3_port}"
    assert MOTO.exists(), "The S3 server is missing: `make e2e` installs it."
    command = [MOTO, "-H", "127.0.0.1", "-p", str(s3_port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=url, trust_env=False) as client:
            eventually(lambda: answers(client))
            client.put(f"/{BUCKET}").raise_for_status()
            for entry in sample[:4]:
                client.put(f"/{BUCKET}/{entry.picture.name}", content=entry.picture.read_bytes()).raise_for_status()
        yield url
    finally:
        server.terminate()
        server.wait(30)


def answers(client):
    try:
        return client.get("/").is_success
    except httpx.TransportError:
        return False


def connect_storage(api, project, url, *, presign):
    """Connect the bucket to a project, and sync it; returns the tasks' numbers by the pictures' names."""
    storage = {
        "project": project, "bucket": BUCKET, "s3_endpoint": url, "region_name": "us-east-1", "presign": presign,
        "aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "use_blob_urls": True, "regex_filter": ".*png",
    }  # fmt: skip
    number = api.ask("POST", "/api/storages/s3", storage)["id"]
    api.ask("POST", f"/api/storages/s3/{number}/sync")
    eventually(lambda: len(api.tasks(project)) == 4)
    return {task["data"]["image"].rpartition("/")[2]: task["id"] for task in api.tasks(project)}


@pytest.mark.parametrize("presign", [True, False])
def test_a_storage_is_synced_its_tasks_get_texts_and_their_masks(
    unconnected, join, api, backend, sample, refam, bucket, presign
):
    """The address goes into the image's field, which stands first in the ready config."""
    project = unconnected
    tasks = connect_storage(api, project, bucket, presign=presign)
    assert {task["data"]["image"] for task in api.tasks(project)} == {f"s3://{BUCKET}/{name}" for name in tasks}
    for entry in sample[:4]:
        data = {"image": f"s3://{BUCKET}/{entry.picture.name}", "text": entry.text}
        api.ask("PATCH", f"/api/tasks/{tasks[entry.picture.name]}/", {"data": data})
    join(project)
    code, said = run_command(backend.variables, "prelabel", str(project))
    assert code == 0, said
    for entry in sample[:4]:
        (prediction,) = api.predictions(tasks[entry.picture.name])
        mask = read_mask(prediction["result"][0])
        assert intersection_over_union(mask, refam.segment(entry.image, entry.text).mask) >= 0.99


def test_bare_pictures_of_a_storage_wait_for_a_prompt(api, studio, join, editor, backend, sample, refam, bucket):
    project = api.ask("POST", "/api/projects/", {"title": "prompt", "label_config": PROMPT_CONFIG})["id"]
    tasks = connect_storage(api, project, bucket, presign=True)
    join(project)
    entry = sample[0]
    editor.open(project, tasks[entry.picture.name])
    assert not [failure for failure in backend.shared.ledger.failures.newest() if failure["project"] == str(project)]
    editor.type_prompt(entry.text)
    mask = editor.wait_for_suggestion()
    assert intersection_over_union(mask, refam.segment(entry.image, entry.text).mask) >= 0.99


def test_a_task_does_not_read_anothers_storage(unconnected, join, api, backend, sample, bucket):
    """The same address in a project that has no such storage is refused by Label Studio."""
    (task,) = api.import_tasks(
        unconnected, [{"image": f"s3://{BUCKET}/{sample[0].picture.name}", "text": sample[0].text}]
    )
    code, said = run_command(backend.variables, "prelabel", str(unconnected))
    assert code == 1
    assert "no storage of the task's project in Label Studio has the image" in said
    assert api.predictions(task) == []
