"""Every bound, and the table of them in docs/bounds.md: `python -m tests.bounds` writes it.

Numbers and settings are read from the code; what happens beyond a bound, and the test that shows it, is told here.
"""

from pathlib import Path
from typing import NamedTuple

from backend.images import decoding, loader, structure
from backend.label_studio import interaction, label_config, mask_encoding, task_reading
from backend.queue import progress, silent_hosts, takeover
from backend.settings import LARGE_BODIES, SMALL_BODIES, SMALL_BODY, defaults
from backend.supervisor import redis_keeper, redis_server
from backend.timings import Timings
from backend.web import bodies, large_bodies, webhook
from backend.worker import post_predictions, predict, predictor, rq_worker
from refam.config import RefAMConfig
from refam.text import MAX_CHARACTERS, MAX_TOKENS

__all__ = ["BOUNDS", "TABLE", "Bound", "table"]

TABLE = Path(__file__).parents[1] / "docs" / "bounds.md"
HEAD = """# Bounds

Made by `python -m tests.bounds`, which reads the numbers from the code. A setting's number is its default. Tests are in
`tests/backend`, unless another folder is named. [guarantees.md](guarantees.md) says what was measured.

| of | bound | setting | beyond it | test |
|---|---|---|---|---|
"""


class Bound(NamedTuple):
    """bound: a number, or the variable of a setting that holds it. test: a file, or file::function."""

    of: str
    bound: int | float | str
    beyond: str
    test: str


TEXT, CONFIG, TASK = "an expression", "a label config", "a task"
FAILS, REFUSED = "the task fails, with its reason", "refused, with its reason"
WAITS, FORGOTTEN = "waits", "the oldest is forgotten"
BOUNDS = [
    Bound(f"{TEXT}: characters", "REFAM_BACKEND_MAX_TEXT_LENGTH", FAILS, "label_studio/test_task_reading.py"),
    Bound(f"{TEXT}: characters, whoever asks the method", MAX_CHARACTERS, REFUSED, "tests/refam/test_text.py"),
    Bound(f"{TEXT}, or all names of labels: tokens", MAX_TOKENS, REFUSED, "tests/refam/test_naming.py"),
    Bound(f"{TASK}: expressions, or names of labels", "REFAM_BACKEND_MAX_EXPRESSIONS", FAILS,
          "label_studio/test_label_names.py"),
    Bound(f"{TASK}: labels", label_config.MOST_LABELS, FAILS, "label_studio/test_label_choice.py"),
    Bound(f"{TASK}: results, expressions times tags that have their label", task_reading.MOST_RESULTS, FAILS,
          "label_studio/test_task_reading.py::test_results_are_bounded_before_anything_is_made"),
    Bound(f"{TASK}: key points", interaction.MOST_CLICKS, "the annotator reads it below the prompt",
          "web/test_suggestions.py::test_key_points_are_bounded"),
    Bound(f"{TASK}: pixels of its masks together, an eighth of a byte each", predictor.MOST_PIXELS, FAILS,
          "worker/test_predictor.py::test_the_masks_of_a_task_are_bounded_together"),
    Bound(f"{TASK}: bytes of its results, before they are JSON", mask_encoding.MOST_NUMBERS, FAILS,
          "label_studio/test_mask_encoding.py::test_a_prediction_is_bounded"),
    Bound(f"{TASK}: seconds that it takes", "REFAM_BACKEND_JOB_TIMEOUT", FAILS, "test_processes.py"),
    Bound(f"{TASK}: workers that die of it", takeover.MAX_DEATHS, FAILS, "queue/test_takeover.py"),
    Bound(f"{CONFIG}: characters", label_config.MAX_CONFIG_LENGTH, REFUSED, "tests/corpus/test_corpus.py"),
    Bound(f"{CONFIG}: levels of tags", label_config.MAX_DEPTH, REFUSED, "tests/corpus/test_corpus.py"),
    Bound("a polygon that is drawn: corners", interaction.MOST_CORNERS, "it is no prompt",
          "label_studio/test_interaction.py"),
    Bound("an image: bytes of its file", "REFAM_BACKEND_IMAGE_MAX_BYTES", FAILS, "images/test_loader.py"),
    Bound("an image: pixels", "REFAM_BACKEND_IMAGE_MAX_PIXELS", FAILS, "images/test_decoding.py"),
    Bound("an image: segments, chunks, strips", structure.MOST_PARTS, FAILS, "tests/corpus/test_corpus.py"),
    Bound("a JPEG: scans", decoding.MAX_SCANS, FAILS, "images/test_decoding.py"),
    Bound("an image: seconds of its download, the look-up of its host's name included",
          "REFAM_BACKEND_IMAGE_TIMEOUT", "tried again, then the task fails",
          "images/test_loader.py::test_looking_a_name_up_is_within_the_time_of_a_download"),
    Bound("an image: seconds until its host takes the connection", loader.CONNECT, "tried again, then the task fails",
          "images/test_loader.py::test_a_host_that_takes_no_connection_is_given_up_sooner"),
    Bound("an image's host: downloads in a row that run out of time", silent_hosts.IN_A_ROW, "it rests, its tasks wait",
          "worker/test_silent_hosts.py::test_it_is_asked_three_times_and_the_others_do_not_wait"),
    Bound("an image's host: seconds that it rests", silent_hosts.LONGEST, "a task asks it again",
          "worker/test_silent_hosts.py::test_one_task_asks_again_and_the_host_rests_for_longer"),
    Bound(f"{TASK}: seconds that it waits for a host that rests", predict.PATIENCE, FAILS,
          "worker/test_silent_hosts.py::test_a_task_does_not_wait_for_ever"),
    Bound("an image: redirects", loader.MAX_REDIRECTS, FAILS, "images/test_loader.py::test_endless_redirects_end"),
    Bound("a request: bytes", "REFAM_BACKEND_REQUEST_MAX_BYTES", "413", "web/test_app.py"),
    Bound("a request: tasks", bodies.MOST_TASKS, "413", "tests/corpus/test_corpus.py"),
    Bound("a request: objects in what was drawn; objects and lists in a field", bodies.MOST_BRACKETS, "413",
          "tests/corpus/test_corpus.py"),
    Bound("a request: commas in a field of the task's data that is read", bodies.MOST_ENTRIES, "413",
          "tests/corpus/test_corpus.py"),
    Bound("a request: bytes that the web process reads itself", large_bodies.LARGE, "another process reads it",
          "web/test_large_bodies.py"),
    Bound("a request: seconds that its body takes to arrive", Timings().body, "408",
          "web/test_intake.py::test_a_body_that_does_not_arrive_gives_its_room_back"),
    Bound("bodies of at most 1 MiB in memory together: bytes", SMALL_BODIES * SMALL_BODY,
          f"they wait for {Timings().room:g} s, then get 503",
          "web/test_intake.py::test_small_requests_are_bounded_too"),
    Bound("bodies of strangers in memory together: bytes", SMALL_BODIES * SMALL_BODY,
          f"they wait for {Timings().room:g} s, then get 503",
          "web/test_intake.py::test_what_they_send_is_bounded_together"),
    Bound("larger bodies in memory together: times REFAM_BACKEND_REQUEST_MAX_BYTES", LARGE_BODIES,
          f"they wait for {Timings().room:g} s, then get 503", "web/test_intake.py"),
    Bound("requests that wait for a mask at once", "REFAM_BACKEND_INLINE_WAITERS", "answered with what is ready",
          "queue/test_job_queue.py"),
    Bound("seconds that a request waits for a mask", "REFAM_BACKEND_INLINE_SECONDS", "the mask is written later",
          "commands/test_prelabel.py"),
    Bound("a webhook without a password: bytes", webhook.HINT_MAX_BYTES, "413", "web/test_webhook.py"),
    Bound("a webhook: tasks", bodies.MAX_HINTED, "422", "web/test_webhook.py"),
    Bound("webhooks that wait: jobs of 100 tasks", webhook.MAX_HINTS, "503",
          "web/test_webhook.py::test_too_many_are_refused"),
    Bound("tasks that are queued, of each priority", "REFAM_BACKEND_MAX_QUEUED",
          "numbers wait in pages of 100, `prelabel` waits, other tasks fail",
          "web/test_ml_backend.py::test_a_full_queue_takes_no_further_task_whoever_asks"),
    Bound("Redis: bytes in use, for tasks to be queued", "REFAM_BACKEND_REDIS_MAX_BYTES", "as above",
          "queue/test_job_queue.py::test_a_full_queue_is_known"),
    Bound("the private Redis: times REFAM_BACKEND_REDIS_MAX_BYTES", redis_server.SPARE, "requests get 503",
          "supervisor/test_redis_server.py"),
    Bound("the private Redis: seconds without an answer", redis_keeper.FROZEN_SECONDS, "it is replaced",
          "supervisor/test_redis_keeper.py::test_a_frozen_one_is_replaced"),
    Bound("its disk: free bytes", redis_keeper.LEAST_FREE, "with less it is not started",
          "supervisor/test_redis_keeper.py::test_a_full_disk_is_waited_for_and_said_once"),
    Bound("an import into Label Studio: predictions", rq_worker.TOGETHER, "the others are written next",
          "worker/test_post_predictions.py"),
    Bound("an import of several predictions: numbers of their masks", post_predictions.MOST_NUMBERS,
          "the others are written next", "worker/test_post_predictions.py::test_no_request_grows_beyond_its_bound"),
    Bound("results: seconds that they are kept", "REFAM_BACKEND_RESULT_TTL", FORGOTTEN, "worker/test_studio_jobs.py"),
    Bound("failures that are listed", "REFAM_BACKEND_MAX_FAILURES", FORGOTTEN, "web/test_status_page.py"),
    Bound("projects with a pace of their own", progress.MAX_PROJECTS, FORGOTTEN, "web/test_status_page.py"),
    Bound("thumbnails", "REFAM_BACKEND_THUMBNAILS", FORGOTTEN, "web/test_status_page.py"),
    Bound("decoded images in a worker: bytes", "REFAM_BACKEND_IMAGE_CACHE_BYTES", FORGOTTEN,
          "images/test_cache.py::test_the_least_used_goes_first_and_the_bound_holds"),
    Bound("images whose latents and embeddings a worker keeps", "REFAM_IMAGE_CACHE", FORGOTTEN,
          "tests/refam/test_pipeline.py"),
    Bound("texts whose embeddings a worker keeps", "REFAM_TEXT_CACHE", FORGOTTEN, "tests/refam/test_families.py"),
]  # fmt: skip


def table() -> str:
    """docs/bounds.md."""
    known = {**defaults(), **{name: default for name, (default, _) in RefAMConfig.describe().items()}}
    rows = []
    for each in BOUNDS:
        setting = each.bound if isinstance(each.bound, str) else ""
        number = known[setting] if setting else each.bound
        shown = f"`{setting}`" if setting else ""
        rows.append(f"| {each.of} | {number:,} | {shown} | {each.beyond} | `{each.test}` |\n")
    return HEAD + "".join(rows)


if __name__ == "__main__":
    TABLE.write_text(table())
