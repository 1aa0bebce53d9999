"""Which Segment Anything a name means, and loading it."""

import os
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from refam.errors import ModelNotFoundError
from refam.model_files import CONFIG, fetch, is_local, read_json, read_model, reason
from refam.sam.later import KINDS, LaterSam
from refam.sam.model import SamModel
from refam.sam.original import OriginalSam
from refam.sam.segmenter import SegmentAnything
from refam.tiny import SAM_FOLDER
from refam.torchvision_standins import import_segment_anything

__all__ = [
    "CHECKPOINTS",
    "PATTERNS",
    "SIZES",
    "checkpoint_path",
    "config_of",
    "download_checkpoint",
    "is_path",
    "load_segment_anything",
]

OFFICIAL = "https://dl.fbaipublicfiles.com/segment_anything/"
CHECKPOINTS = {"vit_b": "sam_vit_b_01ec64.pth", "vit_l": "sam_vit_l_0b3195.pth", "vit_h": "sam_vit_h_4b8939.pth"}
SIZES = {"vit_b": 0.375, "vit_l": 1.249, "vit_h": 2.564}  # GB of the checkpoints, fp32
WIDTHS = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}  # of the image encoder
PATTERNS = (CONFIG, "*.safetensors", "*.safetensors.index.json")  # the files that are needed of a hub id
REMEDY = (
    "Set it to 'tiny', 'none', 'vit_b', 'vit_l', 'vit_h', to the path of such a checkpoint, or to the hub id or folder "
    "of a SAM 2.1 or SAM 3 in transformers' format, such as 'facebook/sam2.1-hiera-large'."
)


def load_segment_anything(
    name: str, device: torch.device, image_cache: int, *, half: bool = False, compiled: bool = False
) -> SegmentAnything:
    """Load what REFAM_SAM names: "tiny", "vit_b", "vit_l", "vit_h", a checkpoint's path, a folder or a hub id. An
    official checkpoint that is not in torch's hub folder yet is downloaded to it.

    Raises ModelNotFoundError if it is not there, cannot be had, or is no Segment Anything.
    """
    how = {"half": half, "compiled": compiled}
    try:
        return SegmentAnything(_load(name, device, **how), image_cache)
    except (OSError, EOFError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelNotFoundError(
            f"REFAM_SAM: no Segment Anything could be loaded from {name!r}: {reason(error)}. {REMEDY}"
        ) from error


def is_path(name: str) -> bool:
    """Whether a name is a path, of a checkpoint or a folder; else it is a hub id, which may hold a point, too."""
    return is_local(name) or Path(name).suffix in {".pth", ".pt"} or Path(name).expanduser().exists()


def _load(name: str, device: torch.device, **how: bool) -> SamModel:
    path = SAM_FOLDER if name == "tiny" else Path(name).expanduser()
    if name in CHECKPOINTS or (is_path(name) and not path.is_dir()):
        checkpoint = download_checkpoint(name) if name in CHECKPOINTS else path
        return OriginalSam(_read_checkpoint(checkpoint).to(device).eval(), **how)
    config = read_json(str(path) if path.is_dir() else name, None, CONFIG)
    if config is None:
        raise FileNotFoundError(f"it has no {CONFIG}")
    if "model_type" not in config:
        return OriginalSam(_read_small(path, config).to(device).eval(), answers_clearly=False, **how)
    kind = KINDS.get(str(config["model_type"]))
    if kind is None:
        raise ValueError(f"its {CONFIG} says {config['model_type']}, and {', '.join(KINDS)} are supported")
    folder = fetch(str(path) if path.is_dir() else name, None, PATTERNS)
    model = read_model(kind.model, folder, "", torch.float32, config=config_of(kind.config, config))
    return LaterSam(model.to(device).eval(), kind, **how)


def config_of(kind: Any, content: dict[str, Any]) -> Any:
    """Of the config of a model for videos the part for images."""
    parts = ("vision_config", "prompt_encoder_config", "mask_decoder_config")
    content = content.get("tracker_config") or content
    return kind(**{part: content[part] for part in parts if part in content})


def _read_small(folder: Path, config: dict[str, Any]) -> Any:
    """A small SAM of this project's own making."""
    from refam.tiny.sam import build_sam  # noqa: PLC0415 - only a small SAM needs it

    model = build_sam(config)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model


def checkpoint_path(name: str) -> Path:
    """Where torch keeps an official checkpoint."""
    return Path(torch.hub.get_dir()) / "checkpoints" / CHECKPOINTS[name]


def download_checkpoint(name: str) -> Path:
    """Where an official checkpoint lies, after downloading it if it is not there. Raises OSError."""
    path = checkpoint_path(name)
    if not path.exists():
        url = OFFICIAL + CHECKPOINTS[name]
        if os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "on", "yes", "true"}:
            raise FileNotFoundError(f"HF_HUB_OFFLINE is set and {path} is missing; download it from {url}")
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path))
    return path


def _read_checkpoint(path: Path) -> Any:
    """An official checkpoint; its architecture is told by the width of its image encoder."""
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ValueError("it is not a file of tensors alone") from error
    width = weights["image_encoder.pos_embed"].shape[-1]
    if width not in WIDTHS:
        raise ValueError(f"its image encoder has width {width}, which is none of SAM's")
    model = import_segment_anything().sam_model_registry[WIDTHS[width]]()
    model.load_state_dict(weights)
    return model
