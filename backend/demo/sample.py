"""The sample project: rendered pictures with texts and true masks, for the demonstration."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from refam.synthetic.referrals import refer

__all__ = ["SampleTask", "write_sample"]

SEED = 20250926
SCALE = 4  # pixels to the unit: pictures of 512 x 512
KINDS = {"noun": 6, "colour_noun": 6, "colour": 3, "position": 5, "relation": 2, "size": 2}


@dataclass(frozen=True)
class SampleTask:
    """One task with its answer.

    mask: bool [H, W], True on what the text refers to.
    """

    id: int
    kind: str
    text: str
    picture: Path
    mask: NDArray[np.bool_]

    @property
    def image(self) -> Image.Image:
        """The picture, RGB [H, W]."""
        return Image.open(self.picture).convert("RGB")


def write_sample(folder: Path, count: int) -> list[SampleTask]:
    """Render the first `count` tasks, their kinds mixed, as PNG files and a `tasks.json` that Label Studio imports.

    The `image` of tasks.json is the file's name; put it behind the address under which the folder is served.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kinds = [kind for kind, times in KINDS.items() for _ in range(times)]
    kinds = [kinds[i] for i in np.random.default_rng(SEED).permutation(len(kinds))]
    tasks = []
    for number in range(count):
        kind = kinds[number % len(kinds)]
        referral = refer(np.random.default_rng((SEED, number)), kind, SCALE)
        picture = folder / f"{number + 1:03}.png"
        referral.scene.image.save(picture)
        mask = referral.truth
        tasks.append(SampleTask(number + 1, kind, referral.expression, picture, mask))
    data = [{"data": {"image": task.picture.name, "text": task.text}} for task in tasks]
    (folder / "tasks.json").write_text(json.dumps(data, indent=2) + "\n")
    return tasks
