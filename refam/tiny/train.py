"""Train the embedded weights: VAE, Segment Anything, then text encoder and transformer."""

import json
import logging
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from .train_sam import train_sam
from .train_transformer import train_transformer
from .train_vae import train_vae

__all__ = ["train", "write_record"]

SHARES = {"vae": 0.06, "sam": 0.12, "transformer": 0.82}  # of the minutes given
Curves = dict[str, list[dict[str, float]]]


def train(folder: Path, seed: int, minutes: float, *, go_on: bool = False) -> None:
    """Train for `minutes` in all, rendering not counted; save `flux/`, `sam/` and `record.json` to `folder`.

    go_on: train only the text encoder and transformer further, from the weights that an earlier run left in `folder`.
    The steps that fit into the time depend on the machine, so the same seed gives equal scenes but not equal weights.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    folder.mkdir(parents=True, exist_ok=True)
    curves: Curves
    if go_on:
        curves = {"transformer": train_transformer(seed, minutes, folder, go_on=True)}
    else:
        (folder / "record.json").unlink(missing_ok=True)
        curves = {
            "vae": train_vae(seed, minutes * SHARES["vae"], folder),
            "sam": train_sam(seed, minutes * SHARES["sam"], folder),
            "transformer": train_transformer(seed, minutes * SHARES["transformer"], folder),
        }
    flag = " --go-on" if go_on else ""
    write_record(folder, f"refam train-tiny --folder {folder} --seed {seed} --minutes {minutes:g}{flag}", curves)


def write_record(folder: Path, command: str, curves: Curves) -> None:
    """Add a run to `folder`/record.json, the list of the runs that made the weights: command (with seed and time),
    commit, versions and learning curves."""
    path = folder / "record.json"
    runs: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    run = {
        "command": command,
        "commit": _commit(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers", "segment-anything")},
        "curves": curves,
    }
    path.write_text(json.dumps([*runs, run], indent=1) + "\n")


def _commit() -> str:
    """The checkout's commit, or "unknown" outside of one."""
    here = Path(__file__).parent
    try:
        found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, check=True)  # noqa: S607
        return found.stdout.decode().strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
