"""Segment Anything: embeds an image once, prompts it many times."""

import json
import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from refam.cache import LRUCache
from refam.clicks import Box
from refam.compilation import compile_blocks
from refam.errors import ModelNotFoundError
from refam.heatmap import Point
from refam.picture import Picture
from refam.pixels import PreparedPixels, tensor_of
from refam.precision import fast_fp32
from refam.sam_attention import table_positions
from refam.tiny import SAM_FOLDER
from refam.torchvision_standins import import_segment_anything

__all__ = ["Candidate", "SegmentAnything"]

logger = logging.getLogger(__name__)

OFFICIAL = "https://dl.fbaipublicfiles.com/segment_anything/"
CHECKPOINTS = {"vit_b": "sam_vit_b_01ec64.pth", "vit_l": "sam_vit_l_0b3195.pth", "vit_h": "sam_vit_h_4b8939.pth"}
BAND = 2**20  # pixels of a mask that are stretched at a time, so that a processor's cache holds them
WIDTHS = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}  # of the image encoder


@dataclass(frozen=True)
class Candidate:
    """One of SAM's answers.

    Attributes:
        coarse: [h, w] bool over the whole image, as fine as SAM's decoder draws it: a quarter of its input each way.
        predicted_iou: the IoU that SAM itself predicts for it.
        low: [l, l] float32 on SAM's device, the decoder's logits over SAM's square input of `side` pixels, of which the
            image covers `shape`, (height, width). The mask is where they are above the threshold.
    """

    coarse: NDArray[np.bool_]
    predicted_iou: float
    low: Tensor
    side: int
    shape: tuple[int, int]
    threshold: float

    @property
    def logits(self) -> Tensor:
        """[h, w] float32 on SAM's device, over the whole image at the size of SAM's input; the mask is where they are
        above SAM's threshold."""
        height, width = self.shape
        return _interpolated(self.low[None], (self.side, self.side))[0, :height, :width]

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """[h, w] bool over the whole image, whose longer side is that of SAM's input."""
        mask: NDArray[np.bool_] = (self.logits > self.threshold).cpu().numpy()
        return mask


@dataclass(frozen=True)
class _Embedding:
    """features: [1, C, grid, grid] float32; shape: (height, width) of the image in SAM's square input."""

    features: Tensor
    shape: tuple[int, int]


class SegmentAnything:
    """A SAM model with the embeddings of the last `image_cache` images. Not to be shared between threads.

    half: whether its image encoder computes in fp16, or in bf16 once an image goes beyond what fp16 holds; on a GPU,
        the small rest then multiplies in TF32.
    compiled: whether the image encoder's blocks are compiled. Raises ConfigError where that cannot be.
    """

    def __init__(self, model: Any, image_cache: int, *, half: bool = False, compiled: bool = False) -> None:
        table_positions(model.image_encoder)
        if compiled:
            compile_blocks(model.image_encoder.blocks)
        self._model = model
        self._half = half
        if half:
            model.image_encoder.to(torch.float16)
        self._embeddings: LRUCache[_Embedding] = LRUCache(image_cache)
        self._prepared = PreparedPixels()

    @property
    def side(self) -> int:
        """Of its square input, in pixels."""
        return int(self._model.image_encoder.img_size)

    @property
    def embedded(self) -> int:
        """How many images were embedded so far."""
        return self._embeddings.made

    def forget(self) -> None:
        """Keep nothing of the images so far."""
        self._embeddings.clear()

    @classmethod
    def from_name(
        cls, name: str, device: torch.device, image_cache: int, *, half: bool = False, compiled: bool = False
    ) -> Self:
        """Load "tiny", "vit_b", "vit_l", "vit_h", a checkpoint's path, or a folder with config.json and
        model.safetensors. An official checkpoint that is not in torch's hub folder yet is downloaded to it.

        Raises ModelNotFoundError if it is not there, cannot be had, or is no SAM checkpoint.
        """
        try:
            model = _load_folder(_folder(name)) if _folder(name).is_dir() else _load_checkpoint(_checkpoint(name))
        except (OSError, EOFError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise ModelNotFoundError(
                f"REFAM_SAM: no Segment Anything model could be loaded from {name!r} ({error}). Set it to 'tiny', "
                "'none', 'vit_b', 'vit_l', 'vit_h', or to the path of a checkpoint."
            ) from error
        return cls(model.to(device).eval(), image_cache, half=half, compiled=compiled)

    def prepare(self, picture: Picture) -> None:
        """Resize an unknown image beforehand. Any thread may."""
        if picture.key not in self._embeddings and picture.key not in self._prepared:
            self._prepared.put(picture.key, self._pixels(picture))

    @torch.inference_mode()
    def candidates(self, picture: Picture, points: Sequence[Point], box: Box | None = None) -> list[Candidate]:
        """SAM's masks for one prompt: points, positive where the target is and negative on rivals, a box, or both."""
        return self._answers(picture, [points], box)[0]

    @torch.inference_mode()
    def candidates_of_each(self, picture: Picture, points: Sequence[Point]) -> list[list[Candidate]]:
        """SAM's masks for each of some points alone, at least one, decoded together."""
        return self._answers(picture, [[point] for point in points], None)

    @torch.inference_mode()
    def full_mask(self, candidate: Candidate, size: tuple[int, int]) -> NDArray[np.bool_]:
        """A candidate's mask [H, W] at an image's size (width, height).

        Its logits are stretched bilinearly, but only around what it holds: elsewhere none is above the threshold.
        """
        (width, height), coarse = size, candidate.mask
        mask = np.zeros((height, width), dtype=bool)
        if coarse.any():
            logits = candidate.logits
            rows = _reach(np.flatnonzero(coarse.any(axis=1)), coarse.shape[0], height)
            columns = _reach(np.flatnonzero(coarse.any(axis=0)), coarse.shape[1], width)
            step = max(1, BAND // (columns.stop - columns.start))
            for top in range(rows.start, rows.stop, step):
                band = slice(top, min(top + step, rows.stop))
                part = _window(logits, (height, width), band, columns)
                mask[band, columns] = (part > self._model.mask_threshold).cpu().numpy()
        return mask

    def _answers(self, picture: Picture, prompts: Sequence[Sequence[Point]], box: Box | None) -> list[list[Candidate]]:
        """For each prompt, of equally many points, SAM's masks; a box belongs to a single one."""
        with fast_fp32(self._half):
            embedding = self._embeddings.get(picture.key, lambda: self._embed(picture))
            low, ious = self._decode(embedding, picture.size, prompts, box)
        threshold = float(self._model.mask_threshold)
        height, width = (max(1, math.ceil(length * low.shape[-1] / self.side)) for length in embedding.shape)
        coarse = (low[..., :height, :width] > threshold).cpu().numpy()
        return [
            [
                Candidate(mask, iou, logits.clone(), self.side, embedding.shape, threshold)
                for mask, iou, logits in zip(*parts, strict=True)
            ]
            for parts in zip(coarse, ious.tolist(), low, strict=True)
        ]

    def _decode(
        self, embedding: _Embedding, size: tuple[int, int], prompts: Sequence[Sequence[Point]], box: Box | None
    ) -> tuple[Tensor, Tensor]:
        """Logits [B, 3, h, w] of the decoder for B prompts, over the padded square, and the IoUs [B, 3] that it
        predicts."""
        model = self._model
        scale = torch.tensor([embedding.shape[1] / size[0], embedding.shape[0] / size[1]], dtype=torch.float64)

        def scaled(places: list[Any]) -> Tensor:
            return (torch.tensor(places, dtype=torch.float64) * scale).float().to(model.device)

        labels = torch.tensor([[int(point.on_target) for point in points] for points in prompts], device=model.device)
        sparse, dense = model.prompt_encoder(
            points=(scaled([[(point.x, point.y) for point in points] for points in prompts]), labels)
            if prompts[0]
            else None,
            boxes=scaled([(box.left, box.top), (box.right, box.bottom)]).reshape(1, 4) if box else None,
            masks=None,
        )
        logits, ious = model.mask_decoder(
            image_embeddings=embedding.features,
            image_pe=model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
        return logits, ious

    def _embed(self, picture: Picture) -> _Embedding:
        pixels = self._prepared.take(picture.key, lambda: self._pixels(picture))
        square = self._model.preprocess(pixels.to(self._model.device, non_blocking=True))
        height, width = pixels.shape[-2:]
        return _Embedding(self._encode(square), (height, width))

    def _pixels(self, picture: Picture) -> Tensor:
        """The image at the size of SAM's input before padding, uint8 [1, 3, h, w]."""
        height, width = _resized_shape(*picture.size[::-1], self.side)
        return tensor_of(picture.resized((width, height), Image.Resampling.BILINEAR), self._model.device)

    def _encode(self, square: Tensor) -> Tensor:
        """Features [1, C, grid, grid] in fp32 of a normed image [1, 3, side, side] in fp32."""
        encoder = self._model.image_encoder
        number = next(encoder.parameters()).dtype
        features: Tensor = encoder(square.to(number)).float()
        if number is torch.float16 and not features.isfinite().all():
            logger.warning("REFAM_PRECISION: SAM's numbers go beyond fp16; from now on it computes in bf16.")
            encoder.to(torch.bfloat16)
            return self._encode(square)
        return features


def _interpolated(maps: Tensor, shape: tuple[int, int]) -> Tensor:
    """Maps [N, h, w] stretched to a shape, bilinearly. A batch of one-channel images is what a CPU is fastest at."""
    return functional.interpolate(maps[:, None], shape, mode="bilinear", align_corners=False)[:, 0]


def _reach(found: NDArray[np.intp], cells: int, length: int) -> slice:
    """Of `length` pixels over so many cells, those on which the cells from the first to the last that was found have an
    influence."""
    first, last = (found[0] - 0.5) * length / cells, (found[-1] + 1.5) * length / cells
    return slice(max(0, int(first)), min(length, int(last) + 1))


def _window(logits: Tensor, shape: tuple[int, int], rows: slice, columns: slice) -> Tensor:
    """The part [rows, columns] of logits [h, w] stretched bilinearly to a shape: what torch's `interpolate` gives there
    with `align_corners` off."""
    (above, below, down), (left, right, across) = (
        _neighbours(part, cells, length, logits.device)
        for part, cells, length in zip((rows, columns), logits.shape, shape, strict=True)
    )
    first = int(above[0])
    coarse = logits[first : int(below[-1]) + 1]
    wide = torch.lerp(coarse[:, left], coarse[:, right], across)
    return torch.lerp(wide[above - first], wide[below - first], down[:, None])


def _neighbours(part: slice, cells: int, length: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For each of a part of `length` pixels over so many cells: the two cells whose centres it lies between, and how
    far it is from the first to the second, in [0, 1]."""
    pixels = torch.arange(part.start, part.stop, device=device, dtype=torch.float64)
    places = ((pixels + 0.5) * (cells / length) - 0.5).clamp(0, cells - 1)
    first = places.long()
    return first, (first + 1).clamp(max=cells - 1), (places - first).float()


def _resized_shape(height: int, width: int, longest: int) -> tuple[int, int]:
    """Size (height, width) that SAM resizes an image to: as its own, but at least 1, which a needle's would not be."""
    scale = longest / max(height, width)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def _folder(name: str) -> Path:
    return SAM_FOLDER if name == "tiny" else Path(name).expanduser()


def _load_folder(folder: Path) -> Any:
    """A small SAM of this project's own making."""
    from refam.tiny.sam import build_sam  # noqa: PLC0415 - only a small SAM needs it

    model = build_sam(json.loads((folder / "config.json").read_text()))
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model


def _checkpoint(name: str) -> Path:
    """Where a checkpoint lies, after downloading an official one that is not there."""
    if name not in CHECKPOINTS:
        return Path(name).expanduser()
    path = Path(torch.hub.get_dir()) / "checkpoints" / CHECKPOINTS[name]
    if not path.exists():
        url = OFFICIAL + CHECKPOINTS[name]
        if os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "on", "yes", "true"}:
            raise FileNotFoundError(f"HF_HUB_OFFLINE is set and {path} is missing; download it from {url}")
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path))
    return path


def _load_checkpoint(path: Path) -> Any:
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
