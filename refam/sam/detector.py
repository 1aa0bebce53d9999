"""SAM 3's detector: every instance of what a short noun phrase names, such as "mug" or "traffic light"."""

from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from transformers import CLIPTokenizer, Sam3Config, Sam3Model

from refam.cache import LRUCache
from refam.errors import ModelNotFoundError
from refam.model_files import CONFIG, fetch, read_json, read_model, read_tokenizer, reason
from refam.picture import Picture
from refam.pixels import PreparedPixels, tensor_of
from refam.precision import fast_fp32
from refam.sam.later import SAM3, computing_in_its_numbers
from refam.sam.model import in_numbers_that_hold
from refam.sam.segmenter import THRESHOLD, Candidate

__all__ = ["PATTERNS", "Detection", "Sam3Detector", "parts_of"]

LEAST = 0.5  # of an instance's score, as in SAM 3's own code
EMBEDDINGS = 2  # images whose features are kept, of some 100 MB each; what was found is kept for longer
NOUNS = 8  # for each image that is kept
CONFIGS = {"sam3", "sam3_video"}  # what a config.json may call itself
PATTERNS = ("*.json", "*.safetensors", "*.txt")  # the files that are needed of a hub id


class Detection(NamedTuple):
    """presence: in [0, 1], whether there is any at all. instances: their masks, each with the chance that it is one as
    `predicted_iou`; the most certain first."""

    presence: float
    instances: list[Candidate]


class Sam3Detector:
    """SAM 3's detector with what it found for the last nouns on the last `image_cache` images. Not to be shared between
    threads.

    model: a Sam3Model. half: whether its vision encoder computes in 16 bits.
    """

    def __init__(self, model: Any, tokenizer: Any, image_cache: int, *, half: bool = False) -> None:
        self.inner = model
        self.side = int(model.config.vision_config.image_size)
        self._longest = int(model.config.text_config.max_position_embeddings)
        self._tokenizer = tokenizer
        self._half = half
        self._mean, self._deviation = (torch.tensor(each).view(1, 3, 1, 1) for each in (SAM3.mean, SAM3.deviation))
        self._prepared = PreparedPixels()
        self._features: LRUCache[Any] = LRUCache(EMBEDDINGS)
        self._found: LRUCache[Detection] = LRUCache(NOUNS * image_cache)
        computing_in_its_numbers(model.vision_encoder, half=half)

    @classmethod
    def from_source(cls, source: str, device: torch.device, image_cache: int, *, half: bool = False) -> Self:
        """Load from a folder in transformers' format or a hub id. Raises ModelNotFoundError."""
        try:
            config = read_json(source, None, CONFIG)
            kind = str((config or {}).get("model_type"))
            if config is None or kind not in CONFIGS:
                raise ValueError(f"its {CONFIG} says {kind}" if config else f"it has no {CONFIG}")
            folder = fetch(source, None, PATTERNS)
            tokenizer = read_tokenizer(CLIPTokenizer, Path(folder), "")
            own = Sam3Config(**parts_of(config.get("detector_config") or config))
            model = read_model(Sam3Model, folder, "", torch.float32, config=own)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise ModelNotFoundError(
                f"REFAM_SAM3: no SAM 3 could be loaded from {source!r}: {reason(error)}. Set it to a folder in "
                "transformers' format or to a hub id such as 'facebook/sam3', whose licence has to be accepted and "
                "HF_TOKEN set; or set REFAM_PROPOSER to peaks."
            ) from error
        return cls(model.to(device).eval(), tokenizer, image_cache, half=half)

    @property
    def embedded(self) -> int:
        """How many images were embedded so far."""
        return self._features.made

    def prepare(self, picture: Picture) -> None:
        """Squash an unknown image beforehand. Any thread may."""
        if picture.key not in self._features and picture.key not in self._prepared:
            self._prepared.put(picture.key, self._pixels(picture))

    def forget(self) -> None:
        """Keep nothing of the images so far."""
        self._features.clear()
        self._found.clear()

    @torch.inference_mode()
    def find(self, picture: Picture, noun: str) -> Detection:
        """All instances of what a noun phrase names."""
        return self._found.get((picture.key, noun), lambda: self._find(picture, noun))

    def _find(self, picture: Picture, noun: str) -> Detection:
        with fast_fp32(self._half):
            text = self._tokenizer(
                noun, padding="max_length", truncation=True, max_length=self._longest, return_tensors="pt"
            )
            found = self.inner(
                vision_embeds=self._features.get(picture.key, lambda: self._embed(picture)),
                **text.to(self.inner.device),
            )
        presence = found.presence_logits[0].float().sigmoid().reshape(())
        scores = found.pred_logits[0].float().sigmoid() * presence
        order = [int(number) for number in scores.argsort(descending=True) if scores[number] >= LEAST]
        whole = (self.side, self.side)
        instances = [
            Candidate((low > THRESHOLD).cpu().numpy(), float(scores[number]), low, self.side, whole)
            for number, low in ((number, found.pred_masks[0, number].float().clone()) for number in order)
        ]
        return Detection(float(presence), [each for each in instances if each.coarse.any()])

    def _embed(self, picture: Picture) -> Any:
        pixels = self._prepared.take(picture.key, lambda: self._pixels(picture))
        fractions = pixels.to(self.inner.device, non_blocking=True).float() / 255
        normed = (fractions - self._mean.to(fractions)) / self._deviation.to(fractions)
        kept: list[Any] = []

        def encode() -> tuple[Tensor, ...]:
            kept.append(self.inner.get_vision_features(normed))
            return tuple(kept[-1].fpn_hidden_states)

        in_numbers_that_hold(self.inner.vision_encoder, encode)
        return kept[-1]

    def _pixels(self, picture: Picture) -> Tensor:
        """The image squashed to the square, uint8 [1, 3, side, side]."""
        squashed = picture.resized((self.side, self.side), Image.Resampling.BILINEAR)
        return tensor_of(squashed, self.inner.device)


def parts_of(content: dict[str, Any]) -> dict[str, Any]:
    """Of a config the configs of the model's parts."""
    return {name: value for name, value in content.items() if name.endswith("_config")}
