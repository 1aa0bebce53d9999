"""`refam-backend download` and doctor, with the hub's own client against a stand-in of the hub."""

import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console

from backend.commands.download import download
from backend.errors import ProgramError
from refam.config import RefAMConfig
from refam.downloads import Offer, Wanted
from tests.support.hub import running_hub
from tests.support.models import save_pipeline
from tests.support.sams import save_sam2, save_sam3

pytestmark = pytest.mark.process


@pytest.fixture
def hub(tmp_path):
    save_pipeline(tmp_path / "chroma", "chroma")
    save_sam2(tmp_path / "sam2")
    save_sam3(tmp_path / "sam3")
    (tmp_path / "chroma" / "single-file.safetensors").write_bytes(bytes(2**20))
    with running_hub() as hub:
        hub.repositories = {f"org/{name}": tmp_path / name for name in ("chroma", "sam3")}
        hub.repositories["org/sam2.1-small"] = tmp_path / "sam2"
        yield hub


@pytest.fixture
def run(hub, tmp_path):
    variables = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "REFAM_MODEL": "org/chroma",
        "REFAM_SAM": "org/sam2.1-small",
        "REFAM_PROPOSER": "sam3",
        "REFAM_SAM3": "org/sam3",
    }

    def run(command, **more):
        ended = subprocess.run(
            [sys.executable, "-m", "backend", command],
            env={**os.environ, **variables, **more},
            capture_output=True,
            text=True,
            check=False,
        )
        return ended.returncode, ended.stdout + ended.stderr

    return run


def test_everything_is_downloaded_once_and_found(hub, run):
    code, said = run("doctor")
    assert "org/chroma (0.0 GB to go, licence apache-2.0) is accessible; the first worker downloads it" in said
    code, said = run("download")
    assert code == 0, said
    assert "REFAM_MODEL: org/chroma, " in said
    assert "licence apache-2.0" in said
    assert "All models that the settings name are there" in said
    assert "org/chroma/single-file.safetensors" not in hub.asked
    sent = hub.sent
    code, said = run("download", HF_HUB_OFFLINE="1")
    assert (code, hub.sent) == (0, sent), said
    _, said = run("doctor", HF_HUB_OFFLINE="1")
    for name in ("chroma", "sam2.1-small", "sam3"):
        assert f"org/{name} has been downloaded" in said


def test_after_an_interruption_whole_files_stay(hub, run):
    hub.breaks_at = 50_000
    code, said = run("download", HF_HUB_DOWNLOAD_TIMEOUT="2")
    assert code == 1, said
    assert "was not downloaded to its end" in said
    assert "files that are whole stay" in said
    whole = {name for name, sent in hub.asked.items() if "safetensors" in name and sent < hub.breaks_at}
    assert whole
    hub.breaks_at = None
    hub.asked.clear()
    code, said = run("download")
    assert code == 0, said
    assert "org/sam2.1-small/model.safetensors" in hub.asked
    assert not whole & hub.asked.keys()


def test_a_gate_is_told_before_anything_is_downloaded(hub, run):
    hub.gated = {"org/sam3"}
    code, said = run("download")
    assert code == 1
    assert "REFAM_SAM3: 'org/sam3': it is gated, and you have no access. Accept the licence" in said
    assert hub.sent < 10_000


def test_a_full_disk_is_told_before_anything_is_downloaded(monkeypatch, tmp_path):
    wanted = [Wanted(name, f"org/{name}", None, ("*",), ("",)) for name in ("one", "other")]
    for module in ("refam.downloads", "backend.commands.download"):
        monkeypatch.setattr(f"{module}.wanted", lambda _: wanted)
    monkeypatch.setattr(Wanted, "ask", lambda _: Offer(10**9, 10**9, "mit"))
    monkeypatch.setattr(Wanted, "get", lambda _: pytest.fail("a download has begun"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_900_000_000))
    with pytest.raises(
        ProgramError, match=r"org/other takes 1\.0 GB \(with what else is missing 2\.0 GB\) .* 1\.9 GB are"
    ):
        download(RefAMConfig(), Console())


def test_a_checkpoint_that_cannot_be_had_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    with pytest.raises(ProgramError, match=r"REFAM_SAM: vit_b was not downloaded \(HF_HUB_OFFLINE is set"):
        download(RefAMConfig(sam="vit_b"), Console())
