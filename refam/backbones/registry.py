"""Which family a model is of, told by a few kilobytes of its files, before anything large is downloaded."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from refam.backbones.chroma import Chroma
from refam.backbones.family import Family
from refam.backbones.flux1 import Flux1
from refam.backbones.flux2 import Flux2
from refam.backbones.latents import PATCH
from refam.backbones.transformer import TransformerBackbone, load_models
from refam.config import RefAMConfig
from refam.errors import ModelNotFoundError
from refam.model_files import CONFIG, fetch, read_json, reason

__all__ = ["FAMILIES", "Description", "describe", "family_of", "load_backbone", "patterns_of"]

INDEX = "model_index.json"
REMEDY = (
    "Set REFAM_MODEL to 'tiny', to a folder in diffusers' layout, or to a hub id; a gated one needs its licence "
    "accepted and HF_TOKEN set, and HF_HUB_OFFLINE allows only what is in the cache."
)
KINDS = ("*.json", "*.safetensors", "*.txt", "*.model")  # of files that are needed: no pickled weights

FAMILIES: dict[str, Family] = {
    "FluxPipeline": Flux1(),
    "FluxImg2ImgPipeline": Flux1(),
    "FluxKontextPipeline": Flux1(edits=True),
    "ChromaPipeline": Chroma(),
    "Flux2KleinPipeline": Flux2(),
}
SUPPORTED = (
    "supported are FLUX.1 (schnell, dev, Krea, Kontext), Chroma1 and FLUX.2-klein, as pipelines of diffusers "
    f"({', '.join(FAMILIES)})"
)


def load_backbone(config: RefAMConfig, source: str, device: torch.device) -> TransformerBackbone:
    """Load the model in `source`, a folder in diffusers' layout or a hub id.

    Raises ModelNotFoundError if it is not there or of a family that is not supported, and ConfigError.
    """
    family = family_of(source, describe(source, config.revision))
    config = replace(config, family=family.name)
    try:
        folder = fetch(source, config.revision, patterns_of(family))
    except (OSError, ValueError) as error:
        message = f"REFAM_MODEL: {source!r} cannot be downloaded: {reason(error)}. {REMEDY}"
        raise ModelNotFoundError(message) from error
    return TransformerBackbone(load_models(family, folder, config, device), config)


@dataclass(frozen=True)
class Description:
    """What a pipeline says of itself in a few kilobytes.

    Attributes:
        pipeline: the class of diffusers that its `model_index.json` names.
        transformer, vae: their `config.json`; empty where they have none.
    """

    pipeline: str
    transformer: dict[str, Any] = field(default_factory=dict)
    vae: dict[str, Any] = field(default_factory=dict)


def describe(source: str, revision: str | None) -> Description:
    """Read what tells a model's family, of a folder or a hub id, without its weights. Raises ModelNotFoundError."""
    try:
        index = read_json(source, revision, INDEX)
        if index is None:
            raise ModelNotFoundError(f"REFAM_MODEL: {source!r} {_what_else(source, revision)} {REMEDY}")
        configs = (read_json(source, revision, f"{part}/{CONFIG}") or {} for part in ("transformer", "vae"))
        return Description(str(index.get("_class_name")), *configs)
    except (OSError, ValueError) as error:
        message = f"REFAM_MODEL: {source!r} cannot be read: {reason(error)}. {REMEDY}"
        raise ModelNotFoundError(message) from error


def patterns_of(family: Family) -> list[str]:
    """The names of the files that are needed of a pipeline, with wildcards."""
    return [INDEX, *(f"{part}/{kind}" for part in family.parts for kind in KINDS)]


def family_of(source: str, description: Description) -> Family:
    """The family of a pipeline. Raises ModelNotFoundError, with those that are supported."""

    def refused(why: str) -> ModelNotFoundError:
        return ModelNotFoundError(f"REFAM_MODEL: {source!r} {why}; {SUPPORTED}. 'tiny' is the embedded model.")

    family = FAMILIES.get(description.pipeline)
    if family is None:
        raise refused(f"holds a {description.pipeline}, which is not supported")
    for part, config, kind in (
        ("transformer", description.transformer, family.transformer),
        ("vae", description.vae, family.vae),
    ):
        if not config:
            raise refused(f"has no {part}/config.json")
        named = config.get("_class_name")
        if named != kind.__name__:
            raise refused(f"is a {description.pipeline} whose {part} is a {named}, where a {kind.__name__} belongs")
    channels, latents = description.transformer.get("in_channels"), description.vae.get("latent_channels")
    if latents is None or channels != PATCH**2 * latents:
        raise refused(
            f"has a transformer that takes {channels} channels, and latents of {latents}: it was made to fill "
            "in, or to be led by another picture, not to draw from words alone"
        )
    return family


def _what_else(source: str, revision: str | None) -> str:
    """What a model without an index is."""
    config = read_json(source, revision, CONFIG) or {}
    kinds: Sequence[Any] = config.get("architectures") or []
    named = f": its {CONFIG} says {', '.join(map(str, kinds))}" if kinds else ""
    return f"has no {INDEX}, and so is no pipeline of diffusers{named}."
