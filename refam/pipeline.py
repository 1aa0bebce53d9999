"""RefAM from end to end: image and expression in, mask out."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
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
from refam.confidence import ALONE, Signals, margin, presence
from refam.config import RefAMConfig
from refam.errors import ClickError, ConfigError, DeviceError, ExpressionError
from refam.faults import device_faults
from refam.heatmap import bias, combine, find_points, heat_of, keep
from refam.instances import Detector, InstanceProposer, Instances
from refam.naming import Named, with_one_name_each
from refam.picture import Picture
from refam.precision import is_half
from refam.proposals import PROPOSERS, Proposal, Proposer, RegionProposer, Sought
from refam.refine import best_clicked, score, threshold_mask, to_grid
from refam.results import Grounding, Mask, Segmentation, Selection
from refam.sam import SegmentAnything
from refam.sam.detector import Sam3Detector
from refam.sam.loading import load_segment_anything
from refam.sinks import find_sinks
from refam.text import Text, Tokenize, read_names, read_text, split_words
from refam.tiles import joined_maps, tiles_of
from refam.tiny import FLUX_FOLDER

__all__ = ["Grounding", "RefAM", "Segmentation", "Selection", "choose_device"]

NOTHING = Signals(0.0, 0.0)


class _Choice(NamedTuple):
    """The things that are meant, the best first, with what tells whether they are right; and what led to them, if the
    transformer ran."""

    grounding: Grounding | None
    things: list[Proposal]
    signals: list[Signals]
    warnings: tuple[str, ...] = ()


class RefAM:
    """The method with its models loaded. `RefAM.from_config(config)` loads them. Not to be shared between threads, but
    for `prepare`."""

    def __init__(
        self,
        config: RefAMConfig,
        backbone: Backbone | None,
        sam: SegmentAnything | None,
        proposer: Proposer | None = None,
        detector: Detector | None = None,
    ) -> None:
        """backbone: None only beside a detector, which then works alone.
        proposer: what finds whole things; as the configuration says if absent, or hot regions without a SAM.
        detector: what finds them instead, by their nouns.
        """
        self.config = config
        self.backbone = backbone
        self.sam = sam
        self._proposer = proposer or (PROPOSERS[config.proposer](sam, config) if sam else RegionProposer(config))
        self._detector = detector
        by_noun = backbone is not None
        self._instances = InstanceProposer(detector, config, by_noun=by_noun) if detector else None
        self._groundings: LRUCache[list[Grounding]] = LRUCache(config.image_cache)

    @classmethod
    def from_config(cls, config: RefAMConfig) -> Self:
        """Load the models. Raises ModelNotFoundError, DeviceError or ConfigError, each with the remedy."""
        device = choose_device(config.device)
        source = str(FLUX_FOLDER) if config.model == "tiny" else config.model
        how = {"half": is_half(config.precision, device), "compiled": config.compile == "on"}
        sam = None if config.sam == "none" else load_segment_anything(config.sam, device, config.image_cache, **how)
        detector: Detector | None = None
        if config.proposer == "sam3":
            detector = Sam3Detector.from_source(config.sam3, device, config.image_cache, half=how["half"])
        if config.model == "none":
            return cls(config, None, sam, detector=detector)
        backbone = load_backbone(config, source, device)
        return cls(backbone.config, backbone, sam, detector=detector)

    def with_settings(self, **changes: Any) -> Self:
        """The same weights under other settings, such as `noun_phrase=False`. Settings that choose weights or a device
        have no effect here, and blocks must be among those loaded (else ConfigError)."""
        config = replace(self.config, **changes)
        return type(self)(config, self._transformer.with_config(config), self.sam, detector=self._detector)

    def with_detector(self, detector: Detector) -> Self:
        """The same with another one that finds whole things by their nouns."""
        return type(self)(self.config, self.backbone, self.sam, detector=detector)

    def untrained(self, seed: int) -> Self:
        """The same architecture with a transformer that never learned anything; SAM stays as it is."""
        return type(self)(self.config, self._transformer.randomised(seed), self.sam)

    @property
    def _transformer(self) -> Backbone:
        if self.backbone is None:
            raise ConfigError("REFAM_MODEL is 'none', so there is no attention; set it to a transformer.")
        return self.backbone

    @property
    def computed(self) -> dict[str, int]:
        """How many heatmaps and image_embeddings (SAM's) were computed so far; whatever was kept costs none."""
        embedded = sum(each.embedded for each in (self.sam, self._detector) if each)
        return {"heatmaps": self._groundings.made, "image_embeddings": embedded}

    def free_memory(self) -> None:
        """Forget what is kept of images and texts, and give the device's unused memory back."""
        self._groundings.clear()
        for each in (self.backbone, self._proposer, self.sam, self._detector):
            if each:
                each.forget()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @property
    def side(self) -> int:
        """Pixels that the models take of an image, at most, on each axis."""
        return max(each.side for each in (self.backbone, self.sam, self._detector) if each)

    @device_faults()
    def read(self, expressions: Sequence[str]) -> None:
        """Encode expressions that will be asked for, all in one go; those without a usable word are left out."""
        texts: list[Sequence[str]] = []
        for expression in expressions:
            with suppress(ExpressionError):
                texts.append(self._text(expression).strings)
        if self.backbone:
            self.backbone.encode(texts)

    def prepare(self, picture: Picture) -> None:
        """Do beforehand what an image takes without the device, unless it is known. Any thread may."""
        for tile in tiles_of(picture, self.config.preset.tiles):
            for each in (self.backbone, self._detector):
                if each:
                    each.prepare(tile.picture)
        if self.sam:
            self.sam.prepare(picture)

    def _text(self, expression: str) -> Text:
        return read_text(expression, self._tokenize, self.config.magnets, self.config.magnet_colours)

    def _names(self, names: Sequence[str]) -> list[Text]:
        return read_names(names, self._tokenize, self.config.magnets, self.config.magnet_colours)

    @property
    def _tokenize(self) -> Tokenize:
        return self.backbone.tokenize if self.backbone else split_words

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
        backbone = self._transformer
        maps = joined_maps(picture, config.preset.tiles, lambda tile: backbone.token_maps(tile, strings))
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
        if self.config.preset.choice == "point":
            return self._segment_at_point(picture, self.ground(picture, expression))
        text = self._text(expression)
        choice = self._choose(picture, text, lambda: self.ground(picture, expression))
        if choice is None and self._instances is None and text.phrase.target.is_one:
            return self._segment_by_threshold(picture, self.ground(picture, expression))
        return self._answer(picture, text, choice)

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
            picture, texts = self._picture(image), self._names(names)

            def ground(number: int) -> Grounding:
                return self._groundings.get((picture.key, tuple(names)), lambda: self._ground(picture, texts))[number]

            choices = [self._choose(picture, text, partial(ground, number)) for number, text in enumerate(texts)]
            named = with_one_name_each(
                Named(number, thing, signals)
                for number, choice in enumerate(choices)
                if choice is not None
                for thing, signals in zip(choice.things, choice.signals, strict=True)
            )
            for number, (text, choice) in enumerate(zip(texts, choices, strict=True)):
                own = [each for each in named if each.name == number]
                signals = [each.signals._replace(margin=ALONE) for each in own]
                kept = choice and choice._replace(things=[each.thing for each in own], signals=signals)
                yield self._answer(picture, text, kept)

    def _answer(self, picture: Picture, text: Text, choice: _Choice | None) -> Segmentation:
        """What was chosen, drawn; nothing if there is none of it."""
        if choice is None or not choice.things:
            return Segmentation(choice and choice.grounding, text, [], picture.size, NOTHING, _warnings(text))
        masks, warnings = [thing.draw() for thing in choice.things], (*_warnings(text), *choice.warnings)
        return Segmentation(choice.grounding, text, masks, picture.size, choice.signals[0], warnings)

    def _choose(self, picture: Picture, text: Text, ground: Callable[[], Grounding]) -> _Choice | None:
        """Of the whole things in the image those that are meant; None if nothing was proposed."""
        if self._instances is not None and (text.phrase.target.noun or self.backbone is None):
            return self._choose_instances(self._instances.find(picture, text.phrase), text, ground)
        grounding = ground()
        proposals = self._proposer.propose(picture, self._sought(grounding))
        return self._choose_among(proposals, text, grounding) if proposals else None

    def _choose_instances(self, found: Instances, text: Text, ground: Callable[[], Grounding]) -> _Choice | None:
        """The same of instances of nouns. The transformer runs where these do not tell what is meant."""
        if not found.instances_of(text.phrase.target).any():
            return None
        grounding = ground() if self.backbone and found.need_heat else None
        choice = self._choose_among([each.proposal for each in found.found], text, grounding, found)
        return choice._replace(warnings=found.warnings)

    def _choose_among(
        self, proposals: list[Proposal], text: Text, grounding: Grounding | None, nouns: Instances | None = None
    ) -> _Choice:
        target = text.phrase.target
        maps, tokens = (grounding.maps, grounding.tokens) if grounding else (None, [])
        chooser = Chooser([each.mask for each in proposals], maps, tokens, self.config, nouns)
        chosen = chooser.choose(target, grounding.heatmap if grounding else None)
        certain = margin(chosen.values, chosen.indices) if chosen.indices else 0.0
        scores = np.ones(len(proposals)) if nouns is None else nouns.instances_of(target)
        signals = [
            Signals(
                presence(chooser.covers[index], grounding.maps, grounding.tokens, target) if grounding else None,
                certain,
                float(scores[index]),
            )
            for index in chosen.indices
        ]
        return _Choice(grounding, [proposals[index] for index in chosen.indices], signals)

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
        return self._segment_one(picture, grounding, best.coarse, best.full_mask(picture.size))

    def _segment_by_threshold(self, picture: Picture, grounding: Grounding) -> Segmentation:
        mask = threshold_mask(grounding.focus, grounding.points[0], picture.size)
        return self._segment_one(picture, grounding, mask, mask)

    def _segment_one(self, picture: Picture, grounding: Grounding, coarse: Mask, mask: Mask) -> Segmentation:
        """A single mask that nothing was compared with. coarse: it at any size."""
        cover = to_grid(coarse, grounding.heatmap.shape)
        present = presence(cover, grounding.maps, grounding.tokens, grounding.text.phrase.target)
        signals, text = Signals(present, ALONE), grounding.text
        return Segmentation(grounding, text, [mask], picture.size, signals, _warnings(text))

    @device_faults()
    def select(self, image: Image | Picture, clicks: Clicks, expression: str | None = None) -> Selection:
        """Mask of what is clicked on; with an expression, the clicks refine what it found. On an image that was
        segmented or selected from lately, this costs no more than SAM's decoder.

        Raises ExpressionError, ClickError where nothing is named, DeviceMemoryError and DeviceBrokenError.
        """
        config, picture = self.config, self._picture(image)
        focus = None
        if expression and self.backbone:
            focus = clicked_focus(self.ground(picture, expression).focus, clicks, picture.size)
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
        return Selection(focus, best.full_mask(picture.size), confidence, candidates)

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
