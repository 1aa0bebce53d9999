"""What of FLUX.1's weights is held. Computed from its configuration, on the meta device."""

import torch
from diffusers import FluxTransformer2DModel
from torch import nn

from refam.backbones.blocks import blocks_up_to
from refam.config import RefAMConfig
from tests.bench.flux_shape import FLUX1_DEV
from tests.bench.measurement import Measurement

GB = 1e9
BYTES = 2  # of a weight in bf16


def weights_resident(_toy: bool) -> list[Measurement]:
    """The transformer's weights that are loaded, over all of them."""
    last_block = RefAMConfig(model="black-forest-labs/FLUX.1-dev").block_numbers[-1]
    with torch.device("meta"):
        whole = FluxTransformer2DModel.from_config(FLUX1_DEV)
        loaded = FluxTransformer2DModel.from_config(FLUX1_DEV | blocks_up_to(last_block, FLUX1_DEV))
    value, baseline = (BYTES * parameters(model) / GB for model in (loaded, whole))
    conditions = f"FLUX.1-dev's configuration, bf16, blocks up to {last_block}; computed"
    return [
        Measurement("weights_resident", value, "GB", "the whole transformer", baseline, value / baseline, conditions)
    ]


def parameters(model: nn.Module) -> int:
    """Number of weights."""
    return sum(weight.numel() for weight in model.parameters())


BENCHMARKS = {"weights_resident": weights_resident}
