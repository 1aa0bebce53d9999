"""How much memory a configuration's weights take on its device, computed from the models' configurations alone."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, CLIPTextModel, Sam3Config, Sam3Model, T5EncoderModel

from refam.backbones.attention_reading import blocks_of
from refam.backbones.blocks import blocks_up_to
from refam.backbones.qwen import LAYERS, QwenLayers
from refam.backbones.registry import describe, family_of
from refam.config import RefAMConfig
from refam.model_files import CONFIG, read_json
from refam.precision import is_half
from refam.sam.detector import parts_of
from refam.sam.later import KINDS
from refam.sam.loading import SIZES, config_of, is_path
from refam.tiny import FLUX_FOLDER

__all__ = ["WORKING", "alternatives", "weights"]

WORKING = 3.5  # GB on top of the weights: a peak measured with FLUX.1 and vit_h at 1024 x 1024 on an H100
INT8 = 0.51  # of a bf16 block, the scales of its rows included
TEXT_MODELS = {"t5": T5EncoderModel, "clip_text_model": CLIPTextModel, "qwen3": QwenLayers}
SAVING: tuple[dict[str, Any], ...] = (
    {"text_encoder": "cpu"},
    {"quantize": "int8"},
    {"quantize": "int8", "text_encoder": "cpu"},
)


def weights(config: RefAMConfig, device: torch.device) -> dict[str, float]:
    """GB that each model takes on the device: "transformer", "text encoders", "VAE", "SAM", "SAM 3's detector".

    Reads some kilobytes of the models' folders, or of the hub. Raises ModelNotFoundError, OSError, ValueError.
    """
    half = is_half(config.precision, device)
    found = dict(_transformer(config, 2 if half else 4)) if config.model != "none" else {}
    if config.sam not in {"none", "tiny"}:
        found["SAM"] = _sam(config.sam, half)
    if config.proposer == "sam3":
        content = read_json(config.sam3, None, CONFIG) or {}
        model = _empty(Sam3Model, Sam3Config(**parts_of(content.get("detector_config") or content)))
        found["SAM 3's detector"] = _with_half_encoder(model, half)
    return found


def alternatives(config: RefAMConfig, device: torch.device, available: float) -> Iterator[dict[str, Any]]:
    """Settings that would take `available` GB at most, those that cost least time first. Raises as `weights` does."""
    for saving in SAVING:
        if sum(weights(replace(config, **saving), device).values()) + WORKING <= available:
            yield saving


def _transformer(config: RefAMConfig, size: int) -> Iterator[tuple[str, float]]:
    """Of the pipeline, with `size` bytes to a number."""
    source = str(FLUX_FOLDER) if config.model == "tiny" else config.model
    described = describe(source, config.revision)
    family = family_of(source, described)
    sizes = described.transformer
    last = replace(config, family=family.name).block_numbers[-1]
    transformer = _built(lambda: family.transformer.from_config({**sizes, **blocks_up_to(last, sizes)}))
    whole, blocks = _count(transformer), sum(map(_count, blocks_of(transformer)))
    kept = INT8 * 2 / size if config.quantize == "int8" else 1.0
    yield "transformer", size * (whole - blocks + kept * blocks) / 1e9
    if config.text_encoder == "device":
        models = (
            _text_model(source, config.revision, part) for part in family.parts if part.startswith("text_encoder")
        )
        yield "text encoders", size * sum(map(_count, models)) / 1e9
    yield "VAE", size * _count(_built(lambda: family.vae.from_config(described.vae))) / 1e9


def _text_model(source: str, revision: str | None, part: str) -> Any:
    content = dict(read_json(source, revision, f"{part}/{CONFIG}") or {})
    kind = str(content.pop("model_type"))
    config = AutoConfig.for_model(kind, **content)
    if kind == "qwen3":
        config.num_hidden_layers, config.layer_types = LAYERS[-1], config.layer_types[: LAYERS[-1]]
    return _empty(TEXT_MODELS[kind], config)


def _sam(name: str, half: bool) -> float:
    path = Path(name).expanduser()
    content: Mapping[str, Any] = {}
    if name not in SIZES and not path.is_file():
        content = read_json(str(path) if is_path(name) else name, None, CONFIG) or {}
    if "model_type" not in content:  # of the first generation, whose files are in fp32
        files = [path] if path.is_file() else path.glob("*.safetensors")
        size = SIZES.get(name) or sum(each.stat().st_size for each in files) / 1e9
        return size / (2 if half else 1)
    kind = KINDS[str(content["model_type"])]
    return _with_half_encoder(_empty(kind.model, config_of(kind.config, dict(content))), half)


def _with_half_encoder(model: Any, half: bool) -> float:
    """GB of a SAM, whose vision encoder alone is in half precision."""
    encoder = _count(model.vision_encoder)
    return (4 * (_count(model) - encoder) + (2 if half else 4) * encoder) / 1e9


def _empty(kind: Any, config: Any) -> Any:
    return _built(lambda: kind(config))


def _built(build: Callable[[], Any]) -> Any:
    with torch.device("meta"):
        return build()


def _count(model: Any) -> int:
    return sum(weight.numel() for weight in model.parameters())
