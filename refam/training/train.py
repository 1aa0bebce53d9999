"""Train the embedded weights: VAE, Segment Anything, then text encoder and transformer."""

import json
import logging
import platform
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from refam.errors import ConfigError
from refam.training.train_sam import train_sam
from refam.training.train_transformer import train_transformer
from refam.training.train_vae import train_vae

__all__ = ["train", "write_record"]

Curve = list[dict[str, float]]

SHARES = {"vae": 0.06, "sam": 0.12, "transformer": 0.82}  # of the minutes given, where several parts are trained
TRAINERS: dict[str, Callable[..., Curve]] = {"vae": train_vae, "sam": train_sam, "transformer": train_transformer}


def train(folder: Path, seed: int, minutes: float, *, part: str | None = None, go_on: bool = False) -> None:
    """Train for `minutes` in all, rendering not counted; save `flux/`, `sam/` and `record.json` to `folder`.

    part: train this key of `TRAINERS` alone.
    go_on: train SAM and the transformer with its text encoder further, from the weights that an earlier run left in
    `folder`. The VAE stays as it is, since the transformer is used to its latents.
    The steps that fit into the time depend on the machine, so the same seed gives equal scenes but not equal weights.
    Raises ConfigError for the VAE with go_on.
    """
    if go_on and part == "vae":
        raise ConfigError("The VAE cannot go on: leave --go-on out to train it anew, and the transformer after it.")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    folder.mkdir(parents=True, exist_ok=True)
    parts = [part] if part else ["sam", "transformer"] if go_on else list(TRAINERS)
    if not part and not go_on:
        (folder / "record.json").unlink(missing_ok=True)
    whole = sum(SHARES[each] for each in parts)
    options = {"go_on": True} if go_on else {}
    curves = {each: TRAINERS[each](seed, minutes * SHARES[each] / whole, folder, **options) for each in parts}
    flags = (f" --part {part}" if part else "") + (" --go-on" if go_on else "")
    write_record(folder, f"refam train-tiny --folder {folder} --seed {seed} --minutes {minutes:g}{flags}", curves)


def write_record(folder: Path, command: str, curves: dict[str, Curve]) -> None:
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
