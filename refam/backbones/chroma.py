"""Chroma1: FLUX.1-schnell's blocks, told the noise level by a small network for all of them at once, and no CLIP."""

from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, ChromaTransformer2DModel
from torch import Tensor, nn
from transformers import T5EncoderModel, T5Tokenizer

from refam.backbones.family import ImageTokens, TextOptions
from refam.backbones.flux1 import inputs_of, scaled_by_config
from refam.backbones.t5 import T5Reader
from refam.backbones.texts import Conditioning, TextEncoders
from refam.errors import ConfigError
from refam.model_files import read_model, read_tokenizer

__all__ = ["Chroma"]

PADS = 1  # tokens of padding behind the text that ChromaPipeline leaves unmasked


class Chroma:
    """See refam.backbones.family.Family."""

    name = "chroma"
    transformer: Any = ChromaTransformer2DModel
    vae: Any = AutoencoderKL
    parts: tuple[str, ...] = ("transformer", "vae", "text_encoder", "tokenizer")
    edits = False

    def read_texts(self, folder: Path, options: TextOptions) -> T5Reader:
        """T5 alone. Raises ConfigError for padding, all of which but one token the model was trained without."""
        if options.slots is not None:
            raise ConfigError("REFAM_TEXT_PADDING is '512', but Chroma masks padding; set it to none.")

        def read_encoder() -> tuple[Any]:
            return (read_model(T5EncoderModel, folder, "text_encoder", options.dtype).to(options.device),)

        encoders = TextEncoders(read_encoder, keep=options.keep)
        return T5Reader(encoders, read_tokenizer(T5Tokenizer, folder, "tokenizer"), pads=PADS)

    def fill_up(self, transformer: Any, sizes: dict[str, Any]) -> None:
        """Its small network gives modulations by their number, those of single-stream blocks first: blocks that are not
        there keep their places."""
        double, single = sizes["num_layers"], sizes["num_single_layers"]
        for blocks, count in (
            (transformer.transformer_blocks, double),
            (transformer.single_transformer_blocks, single),
        ):
            blocks.extend(nn.Identity() for _ in range(count - len(blocks)))
        transformer.time_text_embed = type(transformer.time_text_embed)(
            num_channels=transformer.config.approximator_num_channels // 4, out_dim=3 * single + 2 * 6 * double + 2
        )

    def scaled(self, vae: Any, patches: Tensor) -> Tensor:
        """Shifted and scaled, as its config says."""
        return scaled_by_config(vae, patches)

    def forward(self, transformer: Any, image: ImageTokens, text: Conditioning, timestep: float) -> Tensor:
        """One pass."""
        velocity: Tensor = transformer(**inputs_of(image, text, timestep))[0]
        return velocity
