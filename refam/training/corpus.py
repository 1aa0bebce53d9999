"""Scenes rendered ahead for training, as arrays; rendering runs in parallel and follows from the seed alone."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from refam.synthetic.captions import caption
from refam.synthetic.scenes import random_scene

CAPTIONS_PER_SCENE = 6
SCENES_PER_MINUTE = 600  # of training: what it can see several times


@dataclass(frozen=True)
class Corpus:
    """images: uint8 [N, side, side, 3]. captions: `CAPTIONS_PER_SCENE` for each scene.

    masks: for each scene bool [things, side, side].
    """

    images: NDArray[np.uint8]
    captions: list[list[str]]
    masks: list[NDArray[np.bool_]]


def corpus_size(minutes: float, most: int) -> int:
    """How many scenes are worth rendering for so much training."""
    return max(96, min(most, round(SCENES_PER_MINUTE * minutes)))


def render_corpus(seed: int, count: int, side: int, things: tuple[int, int], processes: int = 2) -> Corpus:
    """Render `count` scenes of `things` (from, to) things. Scene i depends on (seed, side, i) only."""
    one = partial(_one, seed, side, things)
    with ProcessPoolExecutor(processes) as pool:
        scenes = list(pool.map(one, range(count), chunksize=64))
    images, captions, masks = zip(*scenes, strict=True)
    return Corpus(np.stack(images), list(captions), [np.unpackbits(m, axis=-1).astype(bool) for m in masks])


def _one(
    seed: int, side: int, things: tuple[int, int], index: int
) -> tuple[NDArray[np.uint8], list[str], NDArray[np.uint8]]:
    rng = np.random.default_rng((seed, side, index))
    scene = random_scene(rng, side, things)
    captions = [caption(rng, scene) for _ in range(CAPTIONS_PER_SCENE)]
    return np.asarray(scene.image), captions, np.packbits([thing.mask for thing in scene.things], axis=-1)
