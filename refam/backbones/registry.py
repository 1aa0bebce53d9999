"""Which family a model is of, told by a few kilobytes of its files, before anything large is downloaded."""

from dataclasses import replace

import torch

from refam.backbones.chroma import Chroma
from refam.backbones.family import Family
from refam.backbones.flux1 import Flux1
from refam.backbones.flux2 import Flux2
from refam.backbones.hub import Description, describe, fetch
from refam.backbones.latents import PATCH
from refam.backbones.transformer import TransformerBackbone, load_models
from refam.config import RefAMConfig
from refam.errors import ModelNotFoundError

__all__ = ["FAMILIES", "family_of", "load_backbone"]

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
    models = load_models(family, fetch(source, config.revision, family.parts), config, device)
    return TransformerBackbone(models, config)


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
