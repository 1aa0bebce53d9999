import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from refam.backbones.flux import FluxBackbone
from refam.backbones.flux_models import randomised
from refam.backbones.text_store import TextStore, fingerprint
from tests.refam.test_flux import TEXTS


def test_what_was_put_is_got_by_every_store_of_the_folder(tmp_path):
    tensors = {"a": torch.randn(1, 3), "b": torch.ones(2, dtype=torch.bfloat16)}
    TextStore(tmp_path / "new").put("key", tensors)
    got = TextStore(tmp_path / "new").get("key")
    assert got is not None
    assert {name: tensor.dtype for name, tensor in got.items()} == {"a": torch.float32, "b": torch.bfloat16}
    assert all(torch.equal(got[name], tensors[name]) for name in tensors)
    assert TextStore(tmp_path / "new").get("other") is None
    assert [path.suffix for path in (tmp_path / "new").iterdir()] == [".safetensors"]


def test_a_damaged_file_is_none_and_is_written_anew(tmp_path):
    store = TextStore(tmp_path)
    store.put("key", {"a": torch.ones(4)})
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-3])
    assert store.get("key") is None
    store.put("key", {"a": torch.ones(4)})
    assert store.get("key") is not None


def test_the_folder_is_bounded_and_keeps_what_was_read_lately(tmp_path):
    store = TextStore(tmp_path, limit=3000)
    for age, key in enumerate(("old", "older", "oldest")):
        store.put(key, {"a": torch.zeros(200)})
        (file,) = set(tmp_path.iterdir()) - {store._path(other) for other in ("old", "older", "oldest") if other != key}
        os.utime(file, (1000 - age, 1000 - age))
    assert store.get("oldest") is not None
    store.put("new", {"a": torch.zeros(200)})
    assert [key for key in ("old", "older", "oldest", "new") if store.get(key) is None] == ["older"]


def test_embeddings_come_from_disk_after_a_restart(refam, image, tmp_path, monkeypatch):
    config = replace(refam.config, text_cache_dir=str(tmp_path))
    maps = FluxBackbone(refam.backbone.models, config).token_maps(image, TEXTS)
    assert np.array_equal(maps, refam.backbone.token_maps(image, TEXTS))

    restarted = FluxBackbone(refam.backbone.models, config)
    monkeypatch.setattr(restarted, "_encode_texts", lambda _: pytest.fail("a text was encoded again"))
    assert np.array_equal(restarted.token_maps(image, TEXTS), maps)


def test_other_weights_read_no_embeddings_of_these(refam, image, tmp_path):
    config = replace(refam.config, text_cache_dir=str(tmp_path))
    FluxBackbone(refam.backbone.models, config).token_maps(image, TEXTS)
    untrained = randomised(refam.backbone.models, seed=1)
    assert fingerprint(untrained.t5) != fingerprint(refam.backbone.models.t5)
    stored = FluxBackbone(untrained, config).token_maps(image, TEXTS)
    assert np.array_equal(stored, FluxBackbone(untrained, refam.config).token_maps(image, TEXTS))
