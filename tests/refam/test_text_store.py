import os
import resource
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from refam.backbones.text_store import TextStore
from refam.backbones.transformer import TransformerBackbone
from tests.support.models import TEXTS


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


@contextmanager
def full_disk():
    """No file may grow beyond 100 bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_costs_one_warning_and_leaves_no_parts(tmp_path, caplog):
    store = TextStore(tmp_path)
    with full_disk():
        store.put("key", {"a": torch.zeros(1000)})
        store.put("other", {"a": torch.zeros(1000)})
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"REFAM_TEXT_CACHE_DIR: {tmp_path} takes no more embeddings" in record.getMessage()
    assert list(tmp_path.iterdir()) == []
    store.put("key", {"a": torch.zeros(1000)})
    assert store.get("key") is not None


def test_a_folder_that_may_only_be_read_is_read(tmp_path, monkeypatch, caplog):
    TextStore(tmp_path).put("key", {"a": torch.ones(4)})

    def refuse(*_arguments, **_options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr("tempfile.mkstemp", refuse)
    store = TextStore(tmp_path)
    assert torch.equal(store.get("key")["a"], torch.ones(4))
    store.put("other", {"a": torch.ones(4)})
    assert "Read-only file system" in caplog.text


def test_a_file_in_the_place_of_the_folder_costs_no_result(refam, picture, tmp_path, caplog):
    (tmp_path / "file").write_text("not a folder")
    config = replace(refam.config, text_cache_dir=str(tmp_path / "file"))
    backbone = TransformerBackbone(refam.backbone.models, config)
    assert np.array_equal(backbone.token_maps(picture, TEXTS), refam.backbone.token_maps(picture, TEXTS))
    backbone.token_maps(picture, TEXTS[:1])
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_embeddings_come_from_disk_after_a_restart(refam, picture, tmp_path, monkeypatch):
    config = replace(refam.config, text_cache_dir=str(tmp_path))
    maps = TransformerBackbone(refam.backbone.models, config).token_maps(picture, TEXTS)
    assert np.array_equal(maps, refam.backbone.token_maps(picture, TEXTS))

    restarted = TransformerBackbone(refam.backbone.models, config)
    monkeypatch.setattr(restarted.models.texts, "encode", lambda _: pytest.fail("a text was encoded again"))
    assert np.array_equal(restarted.token_maps(picture, TEXTS), maps)


def test_other_weights_read_no_embeddings_of_these(refam, picture, tmp_path):
    config = replace(refam.config, text_cache_dir=str(tmp_path))
    TransformerBackbone(refam.backbone.models, config).token_maps(picture, TEXTS)
    untrained = refam.backbone.models.randomised(seed=1)
    assert untrained.texts.fingerprint != refam.backbone.models.texts.fingerprint
    stored = TransformerBackbone(untrained, config).token_maps(picture, TEXTS)
    assert np.array_equal(stored, TransformerBackbone(untrained, refam.config).token_maps(picture, TEXTS))
