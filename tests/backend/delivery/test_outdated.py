"""A prediction belongs to what was asked: where a task's text, image or labels change, its mask is made anew."""

import io
from dataclasses import replace

import pytest
from rich.console import Console
from rq.job import Job
from rq.serializers import JSONSerializer

from backend.commands.prelabel import prelabel
from backend.commands.refresh import refresh
from backend.commands.selection import Selection
from backend.delivery.answered import Answered
from backend.delivery.claims import Target
from backend.delivery.writer import OutdatedError
from backend.label_studio.region_ids import question_of
from backend.queue.priorities import Priority
from tests.support.deliveries import deliver, expire_claims, once, texts
from tests.support.rq_queues import rq_queue
from tests.support.tasks import CONFIG, data_uri, png, request_of

QUIET = Console(file=io.StringIO())


@pytest.fixture
def settings(studio_settings):
    return studio_settings


@pytest.fixture
def stored(studio, client, run_jobs, connection):
    """Two tasks with a mask of their left half each."""
    numbers = studio.add_tasks(7, texts("left", "left side"))
    studio.retrieve(client, 7, numbers)
    run_jobs()
    expire_claims(connection)
    once(studio, numbers)
    return numbers


def marks(studio):
    return [question_of(studio.predictions[number]) for number in sorted(studio.predictions)]


def answers(studio, numbers, settings):
    """Whether each task has one prediction, which answers what it asks now."""
    for number in numbers:
        (prediction,) = [entry for entry in studio.predictions.values() if entry["task"] == number]
        request = request_of(studio.tasks[number], settings, config=studio.configs[7])
        assert question_of(prediction) == request.question()[:12]


def correct(studio, number, **data):
    studio.tasks[number] = {**studio.tasks[number], "data": {**studio.tasks[number]["data"], **data}}


def setup(client, **more):
    """What Label Studio asks before each retrieve, and for nothing else if all tasks have predictions."""
    body = {"project": "7.1795", "schema": CONFIG, "hostname": "http://localhost", **more}
    assert client.post("/setup", json=body).is_success


@pytest.mark.parametrize("change", [{"text": "right"}, {"image": data_uri(png(20, 10))}])
@pytest.mark.parametrize("way", ["setup", "webhook", "prelabel", "refresh"])
def test_a_corrected_task_gets_its_mask(studio, client, run_jobs, stored, settings, way, change):
    correct(studio, stored[0], **change)
    studio.store(stored[0], {"model_version": "somebody-else", "result": [], "score": 0.1})
    if way == "setup":
        setup(client)
    elif way == "webhook":
        setup(client)
        run_jobs()
        body = {"action": "PROJECT_UPDATED", "project": {"id": 7, "title": "x"}}
        assert client.post("/webhook", json=body).json() == {"status": "queued"}
    elif way == "refresh":
        assert refresh(settings, "7", QUIET) == 0
    if way != "prelabel":
        run_jobs()
    else:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("backend.commands.prelabel.time.sleep", lambda _: run_jobs())
            assert prelabel(settings, Selection("7"), QUIET) == 0
    assert studio.per_task() == {(1, studio.version): 1, (2, studio.version): 1, (1, "somebody-else"): 1}
    studio.predictions = {n: entry for n, entry in studio.predictions.items() if entry["score"] != 0.1}
    answers(studio, stored, settings)


def test_a_renamed_label_is_in_the_new_masks(studio, client, run_jobs, stored, settings):
    studio.configs[7] = CONFIG.replace('<Label value="Object"/></BrushLabels>', '<Label value="Thing"/></BrushLabels>')
    client.post("/webhook", json={"action": "PROJECT_UPDATED", "project": {"id": 7}})
    setup(client, schema=studio.configs[7])
    run_jobs()
    answers(studio, stored, settings)
    labels = [region["value"]["brushlabels"] for entry in studio.predictions.values() for region in entry["result"]]
    assert labels == [["Thing"]] * 2
    assert client.get("/status").json()["projects"][0]["outdated"] == 2


def test_a_further_label_changes_no_mask(studio, client, run_jobs, stored):
    before = dict(studio.predictions)
    studio.configs[7] = CONFIG.replace("</BrushLabels>", '<Label value="Other" selected="false"/></BrushLabels>')
    correct(studio, stored[0], text="the object on the left")
    correct(studio, stored[1], text="the left object")
    setup(client)
    run_jobs()
    first = dict(studio.predictions)
    assert first != before
    studio.configs[7] = studio.configs[7].replace("</BrushLabels>", '<Label value="Third"/></BrushLabels>')
    client.post("/webhook", json={"action": "PROJECT_UPDATED", "project": {"id": 7}})
    run_jobs()
    assert studio.predictions == first


def test_peoples_annotations_are_not_touched(studio, client, run_jobs, stored, settings):
    studio.annotations[stored[0]] = [5]
    correct(studio, stored[0], text="right")
    setup(client)
    run_jobs()
    answers(studio, stored, settings)
    assert not [path for method, path in studio.requests if method == "DELETE" and "annotations" in path]


def test_what_cannot_be_told_counts_as_current_unless_it_is_to_be_replaced(studio, run_jobs, settings, client):
    """Regions of release 0.1 have other ids."""
    (number,) = studio.add_tasks(7, texts("left"))
    old = {"model_version": studio.version, "score": 0.5, "result": [{"id": "0a1b2c3d4e", "from_name": "tag"}]}
    studio.store(number, old)
    assert refresh(settings, "7", QUIET) == 0
    setup(client)
    run_jobs()
    assert prelabel(settings, Selection("7"), QUIET) == 0
    assert [entry["result"] for entry in studio.predictions.values()] == [old["result"]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("backend.commands.prelabel.time.sleep", lambda _: run_jobs())
        assert prelabel(settings, Selection("7"), QUIET, replace=True) == 0
    once(studio, [number])
    answers(studio, [number], settings)


def test_a_mask_of_an_older_text_never_replaces_the_newer_one(studio, client, run_jobs, stored, desk, settings):
    """Its job was held up until the text had been corrected, and the correction had its mask."""
    correct(studio, stored[0], text="right")
    setup(client)
    run_jobs()
    old = request_of({"id": stored[0], "data": texts("left")[0]}, settings)
    desk.queue([old])  # its result is still kept
    run_jobs()
    once(studio, stored)
    answers(studio, stored, settings)


def test_a_desk_says_that_a_prediction_is_outdated(studio, stored, desk, queue, settings):
    prediction = queue.outcome(request_of(studio.tasks[stored[0]], settings).job_id()).prediction
    correct(studio, stored[0], text="right")
    studio.store(stored[0], {**prediction, "result": [{"id": "0123456789ab-01234567"}]})
    with pytest.raises(OutdatedError):
        deliver(desk, Target("7", str(stored[0])), prediction)


def test_who_asks_often_looks_once_in_a_while(studio, client, run_jobs, stored, connection, shared):
    setup(client)
    run_jobs()
    asked = len(studio.requests)
    for _ in range(5):
        setup(client)
    run_jobs()
    assert len(studio.requests) == asked
    assert 0 < connection.ttl(shared.keyspace.key("looked", "7")) <= 60


def test_a_corrected_text_that_finds_nothing_is_listed_and_not_asked_for_ever(
    studio, client, run_jobs, stored, connection, shared, counters
):
    correct(studio, stored[0], text="nothing")
    for _ in range(3):
        connection.delete(shared.keyspace.key("looked", "7"))
        setup(client)
        run_jobs()
        for key in connection.keys("rq:job:*"):  # as once failures are forgotten
            connection.delete(key)
    (entry,) = shared.ledger.nothing.newest()
    assert "nothing found" in entry["message"]
    assert shared.ledger.failures.newest() == []
    assert counters.totals()["nothing"] == 1
    once(studio, stored)


def test_a_large_project_rests_longer(stored, connection, shared):
    answered, key = Answered(shared.keyspace), shared.keyspace.key("looked", "7")
    answered.rest("7", 600)
    answered.rest("7", 6)
    assert 590 < connection.ttl(key) <= 600
    assert not answered.may_look("7", 60)


def test_a_look_reads_no_predictions_of_what_is_known_to_be_current(studio, client, run_jobs, stored):
    asked = len(studio.requests)
    setup(client)
    run_jobs()
    paths = [path.partition("?")[0] for _, path in studio.requests[asked:]]
    assert {path for path in paths if "token" not in path} == {"/api/projects/7/", "/api/tasks"}


def test_what_was_answered_at_once_is_known_too(studio, client, run_jobs, stored, shared):
    (third,) = studio.add_tasks(7, texts("left"))  # a mask that is ready
    assert studio.retrieve(client, 7, [third])[0]["result"]
    assert Answered(shared.keyspace).marks("7", [str(third)]) != [None]


def test_settings_changed_while_tasks_were_queued(studio, client, run_jobs, settings, desk, shared):
    (number,) = studio.add_tasks(7, texts("left"))
    desk.queue([replace(request_of(studio.task(number), settings), model_version="refam-tiny-old")])
    run_jobs()
    once(studio, [number])
    assert not shared.ledger.failures.newest()
    assert shared.ledger.progress.state("7").waiting == 0


def test_a_task_that_another_release_queued_is_made_anew(studio, run_jobs, settings, desk, connection, shared):
    (number,) = studio.add_tasks(7, texts("left"))
    request = request_of(studio.task(number), settings)
    job = Job.create("predict", ({"asks": "otherwise"},), connection=connection, serializer=JSONSerializer)
    job.id = request.job_id()
    rq_queue(shared.keyspace, Priority.BATCH).enqueue_job(job)
    desk.outbox.add([request])
    run_jobs()
    run_jobs()
    once(studio, [number])
    assert not shared.ledger.failures.newest()
