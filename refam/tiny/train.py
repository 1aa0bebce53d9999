"""Train the embedded weights from nothing: VAE, Segment Anything, then text encoder and transformer."""

import json
import logging
import platform
import subprocess
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from .train_sam import train_sam
from .train_transformer import STAGES, train_transformer
from .train_vae import train_vae

__all__ = ["train"]

SHARES = {"vae": 0.06, "sam": 0.12, "transformer": 0.82}  # of the minutes given


def train(folder: Path, seed: int, minutes: float) -> None:
    """Train for `minutes` in all, rendering not counted; save `flux/`, `sam/` and `record.json` to `folder`.

    The steps that fit into the time depend on the machine, so the same seed gives equal scenes but not equal weights.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    folder.mkdir(parents=True, exist_ok=True)
    given = {stage: minutes * share for stage, share in SHARES.items()}
    curves = {
        "vae": train_vae(seed, given["vae"], folder),
        "sam": train_sam(seed, given["sam"], folder),
        "transformer": train_transformer(seed, given["transformer"], folder),
    }
    command = f"refam train-tiny --folder {folder} --seed {seed} --minutes {minutes:g}"
    write_record(folder, command, seed, given, curves)


def write_record(
    folder: Path, command: str, seed: int, minutes: dict[str, float], curves: dict[str, list[dict[str, float]]]
) -> None:
    """Write how the weights came about to `folder`/record.json: command, seed, commit, minutes, curves."""
    record: dict[str, Any] = {
        "command": command,
        "seed": seed,
        "commit": _commit(),
        "minutes": {stage: round(spent, 1) for stage, spent in minutes.items()},
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers", "segment-anything")},
        "stages": [asdict(stage) for stage in STAGES],
        "curves": curves,
    }
    (folder / "record.json").write_text(json.dumps(record, indent=1) + "\n")


def _commit() -> str:
    """The checkout's commit, or "unknown" outside of one."""
    here = Path(__file__).parent
    command = ["git", "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, cwd=here, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
