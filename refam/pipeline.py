"""RefAM from end to end: image and expression in, mask out."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image

from refam.backbones import Backbone
from refam.backbones.registry import load_backbone
from refam.cache import LRUCache
from refam.choice import Chooser
from refam.clicks import Clicks, click_prompts, clicked_focus
from refam.confidence import ALONE, Signals, confidence, margin, presence
from refam.config import RefAMConfig
from refam.errors import ClickError, DeviceError, ExpressionError
from refam.faults import device_faults
from refam.heatmap import Point, bias, combine, find_points, heat_of, keep
from refam.naming import Named, with_one_name_each
from refam.picture import Picture
from refam.precision import is_half
from refam.proposals import PointProposer, Proposal, Proposer, RegionProposer, Sought
from refam.refine import best_clicked, score, threshold_mask, to_grid
from refam.sam import Candidate, SegmentAnything
from refam.sam.loading import load_segment_anything
from refam.sinks import find_sinks
from refam.text import Text, Token, read_names, read_text
from refam.tiles import joined_maps, tiles_of
from refam.tiny import FLUX_FOLDER

Mask = NDArray[np.bool_]
__all__ = ["Grounding", "RefAM", "Segmentation", "Selection", "choose_device"]


@dataclass(frozen=True)
class Grounding:
    """Where an expression points to in an image.

    Attributes:
        tokens: the N text tokens with their roles: which are sinks, and which are kept.
        maps: [N, h, w] float32, each token's attention over the patches; they sum to 1 in every patch.
        heatmap: [h, w] float32, the kept maps combined.
        focus: [h, w] float32 in [0, 1], the heatmap stretched and biased towards the positions and the relations that
            the expression names.
        points: peaks of the focus in image pixels; the first is the highest.
        text: what the transformer read, and what it says.
    """

    tokens: list[Token]
    maps: NDArray[np.float32]
    heatmap: NDArray[np.float32]
    focus: NDArray[np.float32]
    points: list[Point]
    text: Text


@dataclass(frozen=True)
class Segmentation:
    """The masks of what an expression refers to.

    Attributes:
        grounding: what led to them.
        masks: each [H, W] bool, at the image's size: one for each thing that is meant, or none.
        size: (width, height) of the image.
        signals: what tells whether they are right.
        warnings: what of the expression was not understood.
    """

    grounding: Grounding
    masks: list[Mask]
    size: tuple[int, int]
    signals: Signals
    warnings: tuple[str, ...] = ()

    @property
    def score(self) -> float:
        """In [0, 1], how sure it is that this is what is meant: see `refam.confidence`."""
        return confidence(self.signals) if self.masks else 0.0

    @cached_property
    def mask(self) -> Mask:
        """[H, W] bool: all masks as one."""
        mask = np.zeros(self.size[::-1], dtype=bool)
        for each in self.masks:
            mask |= each
        return mask


@dataclass(frozen=True)
class Selection:
    """The mask of what clicks select.

    Attributes:
        focus: [h, w] float32, the text's focus as far as the clicks mean it; None where the clicks decide alone.
        mask: [H, W] bool, at the image's size.
        score: in [0, 1]: the IoU that SAM predicts, times the mask's correlation with the focus, if there is one.
        candidates: SAM's masks it was chosen from; empty where the heatmap was thresholded, since there is no SAM or it
            found nothing.
        warnings: what of the expression was not understood.
    """

    focus: NDArray[np.float32] | None
    mask: Mask
    score: float
    candidates: list[Candidate]
    warnings: tuple[str, ...] = ()

    @property
    def masks(self) -> list[Mask]:
        """The mask, as a Segmentation has them."""
        return [self.mask]


class _Choice(NamedTuple):
    """The things that are meant, the best first, and how present what names them is at each; and by how much they fit
    better than others: see `refam.confidence`."""

    things: list[Proposal]
    presences: list[float]
    margin: float


class RefAM:
    """The method with its models loaded. `RefAM.from_config(config)` loads them. Not to be shared between threads, but
    for `prepare`."""

    def __init__(
        self, config: RefAMConfig, backbone: Backbone, sam: SegmentAnything | None, proposer: Proposer | None = None
    ) -> None:
        """proposer: what finds whole things; Segment Anything at the heatmap's peaks if absent, else hot regions."""
        self.config = config
        self.backbone = backbone
        self.sam = sam
        self._proposer = proposer or (PointProposer(sam, config) if sam else RegionProposer(config))
        self._groundings: LRUCache[list[Grounding]] = LRUCache(config.image_cache)

    @classmethod
    def from_config(cls, config: RefAMConfig) -> Self:
        """Load the models. Raises ModelNotFoundError, DeviceError or ConfigError, each with the remedy."""
        device = choose_device(config.device)
        source = str(FLUX_FOLDER) if config.model == "tiny" else config.model
        how = {"half": is_half(config.precision, device), "compiled": config.compile == "on"}
        sam = None if config.sam == "none" else load_segment_anything(config.sam, device, config.image_cache, **how)
        backbone = load_backbone(config, source, device)
        return cls(backbone.config, backbone, sam)

    def with_settings(self, **changes: Any) -> Self:
        """The same weights under other settings, such as `noun_phrase=False`. Settings that choose weights or a device
        have no effect here, and blocks must be among those loaded (else ConfigError)."""
        config = replace(self.config, **changes)
        return type(self)(config, self.backbone.with_config(config), self.sam)

    def with_proposer(self, proposer: Proposer) -> Self:
        """The same with another way to find the whole things that the heatmap chooses among."""
        return type(self)(self.config, self.backbone, self.sam, proposer)

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
        self._proposer.forget()
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
        texts: list[Sequence[str]] = []
        for expression in expressions:
            with suppress(ExpressionError):
                texts.append(self._text(expression).strings)
        self.backbone.encode(texts)

    def prepare(self, picture: Picture) -> None:
        """Do beforehand what an image takes without the device, unless it is known. Any thread may."""
        for tile in tiles_of(picture, self.config.preset.tiles):
            self.backbone.prepare(tile.picture)
        if self.sam:
            self.sam.prepare(picture)

    def _text(self, expression: str) -> Text:
        return read_text(expression, self.backbone.tokenize, self.config.magnets, self.config.magnet_colours)

    def _names(self, names: Sequence[str]) -> list[Text]:
        return read_names(names, self.backbone.tokenize, self.config.magnets, self.config.magnet_colours)

    def ground(self, image: Image | Picture, expression: str) -> Grounding:
        """Heatmap and points of what the expression refers to; the last ones are kept. Raises ExpressionError."""
        picture = self._picture(image)
        (grounding,) = self._groundings.get(
            (picture.key, expression), lambda: self._ground(picture, [self._text(expression)])
        )
        return grounding

    def _ground(self, picture: Picture, texts: Sequence[Text]) -> list[Grounding]:
        """The groundings of one text, or of several with the same strings, from one pass."""
        strings, config = texts[0].strings, self.config
        maps = joined_maps(picture, config.preset.tiles, lambda tile: self.backbone.token_maps(tile, strings))
        sinks = find_sinks(maps, config.sink_share, config.sink_variation)
        return [self._grounding(picture, text, maps, sinks) for text in texts]

    def _grounding(
        self, picture: Picture, text: Text, maps: NDArray[np.float32], sinks: NDArray[np.bool_]
    ) -> Grounding:
        config = self.config
        tokens = [replace(token, sink=bool(sink)) for token, sink in zip(text.tokens, sinks, strict=True)]
        kept = keep(tokens, text.phrase, config)
        tokens = [replace(token, kept=flag) for token, flag in zip(tokens, kept, strict=True)]

        heatmap = combine(maps[kept], config)
        focus = bias(heatmap, maps, tokens, text.phrase.target, config)
        points = find_points(focus, picture.size, config.preset.points, config.preset.peak_ratio)
        return Grounding(tokens, maps, heatmap, focus, points, text)

    @device_faults()
    def segment(self, image: Image | Picture, expression: str) -> Segmentation:
        """Masks of what the expression refers to. Raises ExpressionError, DeviceMemoryError, DeviceBrokenError."""
        picture = self._picture(image)
        grounding = self.ground(picture, expression)
        if self.config.preset.choice == "point":
            return self._segment_at_point(picture, grounding)
        choice = self._choose(picture, grounding)
        if choice is None and grounding.text.phrase.target.is_one:
            return self._segment_by_threshold(picture, grounding)
        if choice is None or not choice.things:
            return self._segmentation(grounding, picture, [], Signals(0.0, 0.0))
        signals = Signals(choice.presences[0], choice.margin)
        return self._segmentation(grounding, picture, [thing.draw() for thing in choice.things], signals)

    def segment_names(self, image: Image | Picture, names: Sequence[str]) -> Iterator[Segmentation]:
        """Masks of all things that each of several names calls, such as "mug" and "traffic light", from one pass. A
        thing that several names fit has the one that is most present there.

        names: at least one, none twice; see `read_names`. Yields a segmentation for each, one by one, since many masks
        of a large image take much memory; it has no masks where nothing bears the name. Raises ExpressionError,
        DeviceMemoryError, DeviceBrokenError.
        """
        if self.config.preset.choice == "point":
            raise ExpressionError("REFAM_CHOICE is 'point', which does not look for all that has a name; set 'things'.")
        with device_faults():
            picture = self._picture(image)
            groundings = self._groundings.get(
                (picture.key, tuple(names)), lambda: self._ground(picture, self._names(names))
            )
            choices = [self._choose(picture, grounding) for grounding in groundings]
            named = with_one_name_each(
                Named(number, thing, present)
                for number, choice in enumerate(choices)
                if choice is not None
                for thing, present in zip(choice.things, choice.presences, strict=True)
            )
            for number, grounding in enumerate(groundings):
                own = [each for each in named if each.name == number]
                signals = Signals(own[0].presence if own else 0.0, ALONE)
                yield self._segmentation(grounding, picture, [each.thing.draw() for each in own], signals)

    def _choose(self, picture: Picture, grounding: Grounding) -> _Choice | None:
        """Of the whole things in the image those that are meant; None if nothing was proposed."""
        target = grounding.text.phrase.target
        proposals = self._proposer.propose(picture, self._sought(grounding))
        if not proposals:
            return None
        chooser = Chooser([each.mask for each in proposals], grounding.maps, grounding.tokens, self.config)
        chosen = chooser.choose(target, grounding.heatmap)
        return _Choice(
            [proposals[index] for index in chosen.indices],
            [presence(chooser.covers[index], grounding.maps, grounding.tokens, target) for index in chosen.indices],
            margin(chosen.values, chosen.indices) if chosen.indices else 0.0,
        )

    def _sought(self, grounding: Grounding) -> list[Sought]:
        """What must be proposed to answer an expression: its target, anchors, and what it leaves out."""
        phrase, maps, tokens = grounding.text.phrase, grounding.maps, grounding.tokens
        target, *others = phrase.target.and_others()
        heats = [(target, grounding.heatmap)]
        heats += [
            (each, heat) for each in others if (heat := heat_of(each.words, maps, tokens, self.config)) is not None
        ]
        return [Sought(phrase.name_of(thing), heat) for thing, heat in heats]

    def _segment_at_point(self, picture: Picture, grounding: Grounding) -> Segmentation:
        """As the paper does it: the highest point prompts Segment Anything, whose own favourite it is."""
        if not grounding.text.phrase.target.is_one:
            raise ExpressionError(
                "REFAM_CHOICE is 'point', as with REFAM_METHOD=faithful, which finds one thing: it neither counts nor "
                "leaves anything out. Set it to 'things', or describe one thing by what and where it is."
            )
        candidates = self.sam.candidates(picture, grounding.points[:1]) if self.sam else []
        found = [candidate for candidate in candidates if candidate.coarse.any()]
        if not (self.sam and found):
            return self._segment_by_threshold(picture, grounding)
        best = max(found, key=lambda candidate: candidate.predicted_iou)
        return self._segment_one(picture, grounding, best.coarse, self.sam.full_mask(best, picture.size))

    def _segment_by_threshold(self, picture: Picture, grounding: Grounding) -> Segmentation:
        mask = threshold_mask(grounding.focus, grounding.points[0], picture.size)
        return self._segment_one(picture, grounding, mask, mask)

    def _segment_one(self, picture: Picture, grounding: Grounding, coarse: Mask, mask: Mask) -> Segmentation:
        """A single mask that nothing was compared with. coarse: it at any size."""
        cover = to_grid(coarse, grounding.heatmap.shape)
        present = presence(cover, grounding.maps, grounding.tokens, grounding.text.phrase.target)
        return self._segmentation(grounding, picture, [mask], Signals(present, ALONE))

    def _segmentation(
        self, grounding: Grounding, picture: Picture, masks: list[Mask], signals: Signals
    ) -> Segmentation:
        return Segmentation(grounding, masks, picture.size, signals, _warnings(grounding.text))

    @device_faults()
    def select(self, image: Image | Picture, clicks: Clicks, expression: str | None = None) -> Selection:
        """Mask of what is clicked on; with an expression, the clicks refine what it found. On an image that was
        segmented or selected from lately, this costs no more than SAM's decoder.

        Raises ExpressionError, ClickError where nothing is named, DeviceMemoryError and DeviceBrokenError.
        """
        config, picture = self.config, self._picture(image)
        focus = clicked_focus(self.ground(picture, expression).focus, clicks, picture.size) if expression else None
        peaks = (
            [] if focus is None else find_points(focus, picture.size, config.preset.points, config.preset.peak_ratio)
        )
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
        best = best_clicked(candidates, clicks, picture.size, focus)
        trust = best.predicted_iou
        confidence = float(np.clip(trust, 0, 1)) if focus is None else score(best.mask, focus, trust)
        return Selection(focus, self.sam.full_mask(best, picture.size), confidence, candidates)

    def _picture(self, image: Image | Picture) -> Picture:
        return image if isinstance(image, Picture) else Picture.of(image, self.side)


def _warnings(text: Text) -> tuple[str, ...]:
    if not text.unknown:
        return ()
    words = ", ".join(repr(word) for word in text.unknown)
    return (f"The model does not know {words}, and looked for the rest alone.",)


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
