"""What the worker puts together."""

from rq.timeouts import JobTimeoutException

from backend.queue.priorities import Priority
from tests.support.tasks import request_of, task


def test_a_timeout_in_the_midst_of_decoding_is_not_laid_to_the_image(queue, settings, run_jobs, monkeypatch):
    def interrupted(*_):
        raise JobTimeoutException

    monkeypatch.setattr("backend.images.decoding.upright", interrupted)
    request = request_of(task(1, "left"), settings)
    queue.submit([request], Priority.BATCH)
    run_jobs()
    (outcome,) = queue.submit([request], Priority.BATCH)
    assert "took longer" in outcome.failure["message"]
