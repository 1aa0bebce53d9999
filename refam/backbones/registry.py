"""Which family a model is of, told by the pipeline that its `model_index.json` names."""

import json
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download

from refam.backbones import Backbone
from refam.backbones.flux import FluxBackbone
from refam.config import RefAMConfig
from refam.errors import ModelNotFoundError

__all__ = ["load_backbone"]

INDEX = "model_index.json"
FAMILIES = {
    "FluxPipeline": FluxBackbone,
    "FluxImg2ImgPipeline": FluxBackbone,
    "FluxKontextPipeline": FluxBackbone,
}


def load_backbone(config: RefAMConfig, source: str, device: torch.device) -> Backbone:
    """Load the model in `source`, a folder in diffusers' layout or a hub id.

    Raises ModelNotFoundError if it is not there or of a family that is not supported, and ConfigError.
    """
    pipeline = _pipeline(source, config.revision)
    if pipeline not in FAMILIES:
        raise ModelNotFoundError(
            f"REFAM_MODEL: {source!r} holds a {pipeline}, which is not supported; set it to 'tiny' or to a model of "
            f"one of these pipelines: {', '.join(FAMILIES)}."
        )
    return FAMILIES[pipeline].from_config(config, source, device)


def _pipeline(source: str, revision: str | None) -> str:
    """The pipeline's class by name; FLUX's where nothing says, so that its loader finds out what is missing."""
    try:
        folder = Path(source).expanduser()
        index = folder / INDEX if folder.is_dir() else Path(hf_hub_download(source, INDEX, revision=revision))
        content: Any = json.loads(index.read_text())
        return str(content["_class_name"])
    except Exception:  # noqa: BLE001  # the hub's client raises errors of several libraries
        return "FluxPipeline"
