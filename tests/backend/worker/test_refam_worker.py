"""The real worker with the real method on small random weights: no mask of use, but every part in its place."""

import numpy as np
import pytest
from label_studio_sdk.converter.brush import decode_rle

from backend.queue.priorities import Priority
from backend.queue.shared_state import SharedState
from tests.support.models import save_pipeline
from tests.support.tasks import data_uri, png, request_of, task


@pytest.mark.parametrize("family", ["flux1", "chroma", "flux2"])
def test_the_real_worker_makes_predictions(configure, connection, processes, environment, tmp_path, family):
    save_pipeline(tmp_path / "model", family)
    for name, value in {"MODEL": tmp_path / "model", "SAM": "none", "RESOLUTION": 32, "BLOCKS": "0-4"}.items():
        environment.setenv(f"REFAM_{name}", str(value))
    settings = configure()
    queue = SharedState.over(connection, settings).jobs
    picture = data_uri(png(60, 40))
    texts = ["a largest orange goldfish", ["the red ball", "zebra on the left"], "the of"]
    requests = [request_of(task(number, text, picture), settings) for number, text in enumerate(texts)]
    queue.submit(requests, Priority.BATCH)

    assert processes.start("-m", "backend", "worker", "--burst").wait(120) == 0, processes.log.read_text()

    one, two, unusable = queue.submit(requests, Priority.BATCH)
    assert one.prediction, one.failure
    assert one.prediction["model_version"] == settings.model_version
    assert [len(outcome.prediction["result"]) for outcome in (one, two)] == [1, 2]
    (region,) = one.prediction["result"]
    mask = decode_rle(region["value"]["rle"]).reshape(40, 60, 4)[..., 3]
    assert (region["original_width"], region["original_height"]) == (60, 40)
    assert set(np.unique(mask)) == {0, 255}
    assert 0 <= one.prediction["score"] <= 1
    assert unusable.failure["field"] == "text"
