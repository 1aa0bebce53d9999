"""RefAM from end to end: image and expression in, mask out."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image

from refam.backbones import Backbone
from refam.backbones.flux import FluxBackbone
from refam.config import RefAMConfig
from refam.errors import DeviceError
from refam.heatmap import Point, bias, find_points, keep
from refam.phrase import Phrase
from refam.refine import best_candidate, propose, score, threshold_mask
from refam.sam import Candidate, SegmentAnything
from refam.sinks import find_sinks
from refam.text import Token, read_text

__all__ = ["Grounding", "RefAM", "Segmentation", "choose_device"]

TINY = Path(__file__).parent / "tiny" / "weights" / "flux"


@dataclass(frozen=True)
class Grounding:
    """Where an expression points to in an image.

    Attributes:
        tokens: the N text tokens with their roles: which are sinks, and which are kept.
        maps: [N, h, w] float32, each token's attention over the patches; they sum to 1 in every patch.
        heatmap: [h, w] float32, the sum of the kept maps.
        focus: [h, w] float32 in [0, 1], the heatmap stretched and biased towards the positions and the relation that
            the expression names. It chooses the points and the mask.
        points: peaks of the focus in image pixels; the first is the chosen one.
        phrase: what the expression says.
    """

    tokens: list[Token]
    maps: NDArray[np.float32]
    heatmap: NDArray[np.float32]
    focus: NDArray[np.float32]
    points: list[Point]
    phrase: Phrase


@dataclass(frozen=True)
class Segmentation:
    """The mask of what an expression refers to.

    Attributes:
        grounding: what led to it.
        mask: [H, W] bool, at the image's size.
        score: in [0, 1]: the mask's correlation with the focus, times the IoU that SAM predicts for it.
        candidates: SAM's masks it was chosen from; empty without SAM.
    """

    grounding: Grounding
    mask: NDArray[np.bool_]
    score: float
    candidates: list[Candidate]


class RefAM:
    """The method with its models loaded. `RefAM.from_config(config)` loads them. Not to be shared between threads."""

    def __init__(self, config: RefAMConfig, backbone: Backbone, sam: SegmentAnything | None) -> None:
        self.config = config
        self.backbone = backbone
        self.sam = sam

    @classmethod
    def from_config(cls, config: RefAMConfig) -> Self:
        """Load the models. Raises ModelNotFoundError, DeviceError or ConfigError, each with the remedy."""
        device = choose_device(config.device)
        source = str(TINY) if config.model == "tiny" else config.model
        sam = None if config.sam == "none" else SegmentAnything.from_name(config.sam, device, config.image_cache)
        return cls(config, FluxBackbone.from_config(config, source, device), sam)

    def with_settings(self, **changes: Any) -> Self:
        """The same weights under other settings, such as `noun_phrase=False`. Settings that choose weights or a device
        have no effect here, and blocks must be among those loaded (else ConfigError)."""
        config = replace(self.config, **changes)
        backbone = self.backbone
        if isinstance(backbone, FluxBackbone):
            backbone = FluxBackbone(backbone.models, config)
        return type(self)(config, backbone, self.sam)

    def ground(self, image: Image, expression: str) -> Grounding:
        """Heatmap and points of what the expression refers to. Raises ExpressionError."""
        config = self.config
        text = read_text(expression, self.backbone.tokenize, config.magnets, config.magnet_colours)

        maps = self.backbone.token_maps(image, text.strings)

        sinks = find_sinks(maps, config.sink_share, config.sink_variation)
        tokens = [replace(token, sink=bool(sink)) for token, sink in zip(text.tokens, sinks, strict=True)]
        kept = keep(tokens, text.phrase, config)
        tokens = [replace(token, kept=flag) for token, flag in zip(tokens, kept, strict=True)]

        heatmap = maps[kept].sum(axis=0)
        focus = bias(heatmap, maps, tokens, text.phrase, config)
        points = find_points(focus, image.size, config.points, config.peak_ratio)
        return Grounding(tokens, maps, heatmap, focus, points, text.phrase)

    def segment(self, image: Image, expression: str) -> Segmentation:
        """Mask of what the expression refers to. Raises ExpressionError."""
        grounding = self.ground(image, expression)
        focus, points = grounding.focus, grounding.points
        if self.sam is None:
            mask = threshold_mask(focus, points[0], image.size)
            return Segmentation(grounding, mask, score(mask, focus), [])
        candidates = propose(image, points, self.sam, self.config)
        best = best_candidate(candidates, focus, self.config)
        return Segmentation(grounding, best.mask, score(best.mask, focus, best.predicted_iou), candidates)


def choose_device(name: str) -> torch.device:
    """The torch device of a setting: "auto" is the first GPU where there is one, else the CPU. Raises DeviceError."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"REFAM_DEVICE is {name!r}, but torch sees {torch.cuda.device_count()} CUDA devices; set it to 'auto' or "
            "'cpu', or install a CUDA build of torch and check the driver."
        )
    return device
