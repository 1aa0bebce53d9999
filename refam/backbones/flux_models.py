"""The parts of a FLUX pipeline: where they come from, and whether they are whole."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5Tokenizer

from refam.backbones.flux_attention import blocks_of
from refam.backbones.flux_text import TextEncoders
from refam.backbones.quantization import quantizer
from refam.errors import ConfigError, ModelNotFoundError
from refam.precision import has_fast_bf16, is_half

__all__ = ["FluxModels", "blocks_up_to", "load_flux", "randomised", "require_block"]

PARTS = ("transformer", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
VOCABULARIES = ("tokenizer.json", "spiece.model", "vocab.json")


@dataclass(frozen=True)
class FluxModels:
    """The parts of a FluxPipeline that the method needs, with weights loaded.

    diffusers and transformers set most attributes of their models dynamically, hence Any.
    """

    transformer: Any  # FluxTransformer2DModel
    vae: Any  # AutoencoderKL
    encoders: TextEncoders
    t5_tokenizer: Any  # T5Tokenizer
    clip_tokenizer: Any  # CLIPTokenizer


def load_flux(
    source: str,
    revision: str | None,
    last_block: int,
    device: torch.device,
    *,
    text_encoder: str = "device",
    quantize: str = "none",
    precision: str = "auto",
) -> FluxModels:
    """Load from a diffusers pipeline folder or a hub id, in bf16 or fp32.

    Of the transformer's blocks only those up to number `last_block` are loaded. huggingface_hub's own HF_TOKEN,
    HF_HOME and HF_HUB_OFFLINE apply.
    text_encoder, quantize, precision: where T5 and CLIP lie, the bits of the blocks' weights, and the numbers that are
        computed in; see RefAMConfig. In main memory T5 and CLIP take bf16 only of a processor that multiplies it.
    Raises ModelNotFoundError if something is missing, ConfigError if the transformer has fewer blocks or cannot be
    quantised.
    """
    quantize_blocks = quantizer(quantize, device)
    try:
        folder = _local_folder(source, revision)
        sizes = FluxTransformer2DModel.load_config(folder, subfolder="transformer")
        require_block(last_block, sizes["num_layers"] + sizes["num_single_layers"])
        text_device = device if text_encoder == "device" else torch.device("cpu")
        # the text encoders first: dropped ones leave their memory to the transformer
        dtype = torch.bfloat16 if is_half(precision, device) else torch.float32
        text_dtype = dtype if text_device.type != "cpu" or has_fast_bf16() else torch.float32
        encoders = TextEncoders(partial(_load_encoders, folder, text_device, text_dtype), keep=text_encoder != "drop")
        transformer = _read_model(
            _PartialFluxTransformer, folder, "transformer", dtype, **blocks_up_to(last_block, sizes)
        )
        quantize_blocks(blocks_of(transformer))
        return FluxModels(
            transformer=transformer.to(device),
            vae=_read_model(AutoencoderKL, folder, "vae", dtype).to(device),
            encoders=encoders,
            t5_tokenizer=_load_tokenizer(T5Tokenizer, folder, "tokenizer_2"),
            clip_tokenizer=_load_tokenizer(CLIPTokenizer, folder, "tokenizer"),
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelNotFoundError(
            f"REFAM_MODEL: no FLUX pipeline could be loaded from {source!r} ({error}). Set it to 'tiny', to a folder "
            "in diffusers' layout, or to a hub id; a gated one needs its licence accepted and HF_TOKEN set, and "
            "HF_HUB_OFFLINE allows only what is in the cache."
        ) from error


def randomised(models: FluxModels, seed: int) -> FluxModels:
    """The same architecture with an untrained transformer and T5: what its attention shows was never learned."""
    device, dtype = models.transformer.device, models.transformer.dtype
    with torch.random.fork_rng(), models.encoders.loaded() as (t5, clip):
        torch.manual_seed(seed)
        transformer = FluxTransformer2DModel.from_config(models.transformer.config)
        untrained = T5EncoderModel(t5.config).to(t5.device, t5.dtype).eval(), clip
    return replace(models, transformer=transformer.to(device, dtype).eval(), encoders=TextEncoders(lambda: untrained))


def blocks_up_to(last_block: int, sizes: Mapping[str, Any]) -> dict[str, int]:
    """How many double- and single-stream blocks a transformer of these sizes has up to number `last_block`."""
    double = min(sizes["num_layers"], last_block + 1)
    return {"num_layers": double, "num_single_layers": last_block + 1 - double}


def require_block(number: int, blocks: int) -> None:
    """Raise ConfigError if a model of so many blocks has no block of this number."""
    if number >= blocks:
        raise ConfigError(f"REFAM_BLOCKS asks for block {number}; set it to blocks from 0 to {blocks - 1}.")


class _PartialFluxTransformer(FluxTransformer2DModel):
    """FluxTransformer2DModel that takes the weights of blocks it was not built with as a matter of course."""

    _keys_to_ignore_on_load_unexpected = (r"^(single_)?transformer_blocks\.",)


def _local_folder(source: str, revision: str | None) -> Path:
    """A local pipeline folder as it is; of a hub id, what the cache holds or what is downloaded now.

    diffusers itself asks the hub about sharded weights even when it is offline, so it only ever gets a folder.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if source.startswith(("/", ".", "~")):
        raise FileNotFoundError(f"there is no folder {folder}")
    return Path(snapshot_download(source, revision=revision, allow_patterns=[f"{part}/*" for part in PARTS]))


def _load_encoders(folder: Path, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
    """T5 and CLIP."""
    t5 = _read_model(T5EncoderModel, folder, "text_encoder_2", dtype).to(device)
    return t5, _read_model(CLIPTextModel, folder, "text_encoder", dtype).to(device)


def _read_model(kind: Any, folder: Path, part: str, dtype: torch.dtype, **options: Any) -> Any:
    """A model of diffusers or transformers, still in main memory. They fill what a folder lacks with random weights:
    here that is an error. Weights come from safetensors alone; unpickling others could run code."""
    if not any((folder / part).glob("*.safetensors")):
        raise FileNotFoundError(
            f"{folder / part} has no weights in the format safetensors, and pickled ones such as .bin are not loaded; "
            "where there are some, convert them"
        )
    options |= {"dtype": dtype, "use_safetensors": True}
    try:
        model, info = kind.from_pretrained(folder, subfolder=part, output_loading_info=True, **options)
    except RuntimeError as error:
        raise ValueError(f"the weights in {folder / part} do not fit its config.json") from error
    if info["missing_keys"]:
        raise ValueError(f"the weights in {folder / part} lack {', '.join(sorted(info['missing_keys'])[:3])}")
    return model


def _load_tokenizer(kind: Any, folder: Path, part: str) -> Any:
    """A tokenizer; transformers makes one that knows no word of a folder without a vocabulary: here that is an
    error."""
    if not any((folder / part / name).is_file() for name in VOCABULARIES):
        raise FileNotFoundError(f"{folder / part} has none of {', '.join(VOCABULARIES)}")
    return kind.from_pretrained(folder, subfolder=part)
