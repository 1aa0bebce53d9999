"""What the worker puts together."""

from rq.timeouts import JobTimeoutException

from backend.label_studio.label_config import read_label_config
from backend.queue.job_queue import Priority
from tests.backend.conftest import CONFIG, task


def test_a_timeout_in_the_midst_of_decoding_is_not_laid_to_the_image(queue, settings, run_jobs, monkeypatch):
    def interrupted(image):
        raise JobTimeoutException

    monkeypatch.setattr("PIL.ImageOps.exif_transpose", interrupted)
    request = read_label_config(CONFIG).request(task(1, "left"), settings, "7")
    queue.submit([request], Priority.BATCH)
    run_jobs()
    (outcome,) = queue.submit([request], Priority.BATCH)
    assert "took longer" in outcome.failure["message"]
