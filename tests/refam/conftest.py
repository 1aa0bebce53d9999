"""Folders and models with small random weights, made once."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from refam.config import RefAMConfig
from refam.picture import Picture
from refam.pipeline import RefAM
from tests.support.models import save_pipeline
from tests.support.sams import SAVE


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The pipeline folder of a family."""

    @cache
    def make(family: str) -> Path:
        folder = tmp_path_factory.mktemp(family)
        save_pipeline(folder, family)
        return folder

    return make


@pytest.fixture(scope="session")
def flux_folder(folder_of: Callable[[str], Path]) -> Path:
    """A FLUX.1 pipeline's folder."""
    return folder_of("flux1")


@pytest.fixture(scope="session")
def sam_folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a Segment Anything of a generation."""

    @cache
    def make(generation: str) -> Path:
        folder = tmp_path_factory.mktemp(generation)
        SAVE[generation](folder)
        return folder

    return make


@pytest.fixture(scope="session")
def sam_folder(sam_folder_of: Callable[[str], Path]) -> Path:
    """A small SAM's folder, of the first generation."""
    return sam_folder_of("original")


@pytest.fixture(scope="session")
def config(flux_folder: Path, sam_folder: Path) -> RefAMConfig:
    """Settings that read every block of the random models."""
    return RefAMConfig(model=str(flux_folder), sam=str(sam_folder), device="cpu", resolution=32, blocks="0-4")


@pytest.fixture(scope="session")
def refam(config: RefAMConfig) -> RefAM:
    """The whole method on random weights."""
    return RefAM.from_config(config)


@pytest.fixture(scope="session")
def image() -> Image.Image:
    """A picture of noise, 60 wide and 40 high."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))


@pytest.fixture(scope="session")
def picture(image: Image.Image) -> Picture:
    """The same, as models take it."""
    return Picture.of(image, 64)
