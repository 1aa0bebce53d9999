"""RefAM from end to end: image and expression in, mask out."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image

from refam.backbones import Backbone
from refam.backbones.registry import load_backbone
from refam.cache import LRUCache
from refam.clicks import Clicks, click_prompts, clicked_focus
from refam.config import RefAMConfig
from refam.errors import ClickError, DeviceError, ExpressionError
from refam.faults import device_faults
from refam.heatmap import Point, bias, combine, find_points, keep
from refam.phrase import Phrase
from refam.picture import Picture
from refam.precision import is_half
from refam.refine import best_candidate, best_clicked, propose, score, threshold_mask
from refam.sam import Candidate, SegmentAnything
from refam.sinks import find_sinks
from refam.text import Text, Token, read_text
from refam.tiny import FLUX_FOLDER

__all__ = ["Grounding", "RefAM", "Segmentation", "Selection", "choose_device"]


@dataclass(frozen=True)
class Grounding:
    """Where an expression points to in an image.

    Attributes:
        tokens: the N text tokens with their roles: which are sinks, and which are kept.
        maps: [N, h, w] float32, each token's attention over the patches; they sum to 1 in every patch.
        heatmap: [h, w] float32, the kept maps combined.
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
        candidates: SAM's masks it was chosen from; empty where the heatmap was thresholded, since there is no SAM or it
            found nothing.
    """

    grounding: Grounding
    mask: NDArray[np.bool_]
    score: float
    candidates: list[Candidate]


@dataclass(frozen=True)
class Selection:
    """The mask of what clicks select.

    Attributes:
        focus: [h, w] float32, the text's focus as far as the clicks mean it; None where the clicks decide alone.
        mask: [H, W] bool, at the image's size.
        score: in [0, 1]: the IoU that SAM predicts, times the mask's correlation with the focus, if there is one.
        candidates: SAM's masks it was chosen from; empty where the heatmap was thresholded, since there is no SAM or it
            found nothing.
    """

    focus: NDArray[np.float32] | None
    mask: NDArray[np.bool_]
    score: float
    candidates: list[Candidate]


class RefAM:
    """The method with its models loaded. `RefAM.from_config(config)` loads them. Not to be shared between threads, but
    for `prepare`."""

    def __init__(self, config: RefAMConfig, backbone: Backbone, sam: SegmentAnything | None) -> None:
        self.config = config
        self.backbone = backbone
        self.sam = sam
        self._groundings: LRUCache[Grounding] = LRUCache(config.image_cache)

    @classmethod
    def from_config(cls, config: RefAMConfig) -> Self:
        """Load the models. Raises ModelNotFoundError, DeviceError or ConfigError, each with the remedy."""
        device = choose_device(config.device)
        source = str(FLUX_FOLDER) if config.model == "tiny" else config.model
        how = {"half": is_half(config.precision, device), "compiled": config.compile == "on"}
        sam = None if config.sam == "none" else SegmentAnything.from_name(config.sam, device, config.image_cache, **how)
        return cls(config, load_backbone(config, source, device), sam)

    def with_settings(self, **changes: Any) -> Self:
        """The same weights under other settings, such as `noun_phrase=False`. Settings that choose weights or a device
        have no effect here, and blocks must be among those loaded (else ConfigError)."""
        config = replace(self.config, **changes)
        return type(self)(config, self.backbone.with_config(config), self.sam)

    def untrained(self, seed: int) -> Self:
        """The same architecture with a transformer that never learned anything; SAM stays as it is."""
        return type(self)(self.config, self.backbone.randomised(seed), self.sam)

    @property
    def computed(self) -> dict[str, int]:
        """How many heatmaps and image_embeddings (SAM's) were computed so far; whatever was kept costs none."""
        return {"heatmaps": self._groundings.made, "image_embeddings": self.sam.embedded if self.sam else 0}

    def free_memory(self) -> None:
        """Forget what is kept of images and texts, and give the device's unused memory back."""
        self._groundings.clear()
        self.backbone.forget()
        if self.sam:
            self.sam.forget()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @property
    def side(self) -> int:
        """Pixels that the models take of an image, at most, on each axis."""
        return max(self.backbone.side, self.sam.side if self.sam else 0)

    @device_faults()
    def read(self, expressions: Sequence[str]) -> None:
        """Encode expressions that will be asked for, all in one go; those without a usable word are left out."""
        strings: list[str] = []
        for expression in expressions:
            with suppress(ExpressionError):
                strings += self._text(expression).strings
        self.backbone.encode(strings)

    def prepare(self, picture: Picture) -> None:
        """Do beforehand what an image takes without the device, unless it is known. Any thread may."""
        self.backbone.prepare(picture)
        if self.sam:
            self.sam.prepare(picture)

    def _text(self, expression: str) -> Text:
        return read_text(expression, self.backbone.tokenize, self.config.magnets, self.config.magnet_colours)

    def ground(self, image: Image | Picture, expression: str) -> Grounding:
        """Heatmap and points of what the expression refers to; the last ones are kept. Raises ExpressionError."""
        picture = self._picture(image)
        return self._groundings.get((picture.key, expression), lambda: self._ground(picture, expression))

    def _ground(self, picture: Picture, expression: str) -> Grounding:
        config = self.config
        text = self._text(expression)

        maps = self.backbone.token_maps(picture, text.strings)

        sinks = find_sinks(maps, config.sink_share, config.sink_variation)
        tokens = [replace(token, sink=bool(sink)) for token, sink in zip(text.tokens, sinks, strict=True)]
        kept = keep(tokens, text.phrase, config)
        tokens = [replace(token, kept=flag) for token, flag in zip(tokens, kept, strict=True)]

        heatmap = combine(maps[kept], config)
        focus = bias(heatmap, maps, tokens, text.phrase, config)
        points = find_points(focus, picture.size, config.points, config.peak_ratio)
        return Grounding(tokens, maps, heatmap, focus, points, text.phrase)

    @device_faults()
    def segment(self, image: Image | Picture, expression: str) -> Segmentation:
        """Mask of what the expression refers to. Raises ExpressionError, DeviceMemoryError, DeviceBrokenError."""
        picture = self._picture(image)
        grounding = self.ground(picture, expression)
        focus, points = grounding.focus, grounding.points
        candidates = propose(picture, points, self.sam, self.config) if self.sam else []
        if not (self.sam and candidates):
            mask = threshold_mask(focus, points[0], picture.size)
            return Segmentation(grounding, mask, score(mask, focus), [])
        best = best_candidate(candidates, focus, self.config)
        trust = score(best.mask, focus, best.predicted_iou)
        return Segmentation(grounding, self.sam.full_mask(best, picture.size), trust, candidates)

    @device_faults()
    def select(self, image: Image | Picture, clicks: Clicks, expression: str | None = None) -> Selection:
        """Mask of what is clicked on; with an expression, the clicks refine what it found. On an image that was
        segmented or selected from lately, this costs no more than SAM's decoder.

        Raises ExpressionError, ClickError where nothing is named, DeviceMemoryError and DeviceBrokenError.
        """
        config, picture = self.config, self._picture(image)
        focus = clicked_focus(self.ground(picture, expression).focus, clicks, picture.size) if expression else None
        peaks = [] if focus is None else find_points(focus, picture.size, config.points, config.peak_ratio)
        prompts = click_prompts(clicks, [peak for peak in peaks if peak.on_target])
        if not prompts:
            raise ClickError("The clicks only say where the mask is not; click also on what it holds, or describe it.")
        if self.sam is None:
            if focus is None:
                raise ClickError("REFAM_SAM is 'none', so clicks alone select nothing; set it to a Segment Anything.")
            mask = threshold_mask(focus, (clicks.positive or peaks)[0], picture.size)
            return Selection(focus, mask, score(mask, focus), [])
        candidates = [
            candidate for prompt in prompts for candidate in self.sam.candidates(picture, prompt.points, prompt.box)
        ]
        best = best_clicked(candidates, clicks, picture.size, focus, config)
        trust = best.predicted_iou
        confidence = float(np.clip(trust, 0, 1)) if focus is None else score(best.mask, focus, trust)
        return Selection(focus, self.sam.full_mask(best, picture.size), confidence, candidates)

    def _picture(self, image: Image | Picture) -> Picture:
        return image if isinstance(image, Picture) else Picture.of(image, self.side)


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
