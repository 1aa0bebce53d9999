"""The whole path, from Label Studio to a mask in it, with other models than the embedded ones: small and random, in the
layout of the published ones, so that masks are of no use, but each in its place."""

import pytest

from backend.demo.programs import backend_running, free_port
from backend.settings import PREFIX
from refam.config import RefAMConfig
from tests.e2e.editor import read_mask
from tests.e2e.running import run_command
from tests.support.models import save_pipeline
from tests.support.sams import SAVE


@pytest.mark.parametrize(("family", "generation"), [("flux2", "sam2"), ("chroma", "sam3")])
def test_masks_of_other_models_arrive(backend, studio, sample, api, unconnected, tmp_path, family, generation):
    save_pipeline(tmp_path / family, family)
    SAVE[generation](tmp_path / generation)
    entry = next(each for each in sample if each.text == "the goldfish")
    (task,) = api.import_tasks(unconnected, [{"image": studio.file_address(entry.picture.name), "text": entry.text}])
    own = {
        "REFAM_MODEL": str(tmp_path / family),
        "REFAM_SAM": str(tmp_path / generation),
        "REFAM_RESOLUTION": "32",
        "REFAM_BLOCKS": "0-4",
        f"{PREFIX}STATE_DIR": str(tmp_path),
        f"{PREFIX}PORT": str(free_port()),
    }
    variables = {**backend.variables, **own}
    with backend_running(variables, tmp_path / "backend.log"):
        code, said = run_command(variables, "prelabel", str(unconnected))
    assert code == 0, said
    (prediction,) = api.predictions(task)
    assert prediction["model_version"] == RefAMConfig.from_environment(own).model_version()
    assert family in prediction["model_version"]
    mask = read_mask(prediction["result"][0])
    assert mask.shape == entry.mask.shape
    assert mask.any()
