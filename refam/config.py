"""Every setting of the method, as data. Imports the standard library only, so that any process may read it."""

import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, NamedTuple, Self, get_args

from refam.errors import ConfigError

__all__ = ["Preset", "RefAMConfig", "parse_blocks"]

PREFIX = "REFAM_"
FOREIGN_PREFIX = "REFAM_BACKEND_"  # the Label Studio backend's own settings
METHOD_REVISION = 3  # raise it when the same settings begin to give other masks (code or embedded weights)
NOT_IN_VERSION = ("device", "text_encoder", "text_cache", "text_cache_dir", "image_cache")
CHOICES = {
    "quantize": ("none", "int8", "int4"),
    "text_encoder": ("device", "cpu", "drop"),
    "average": (None, "probabilities", "logits"),
    "combine": (None, "sum", "product"),
    "agreement": ("correlation", "contrast"),
}


class Preset(NamedTuple):
    """What a model works best with: image side in pixels, noise level t in (0, 1), transformer blocks to read, how
    their attention is averaged, how words' maps are combined, and the smoothing before that in cells."""

    resolution: int
    timestep: float
    blocks: str
    average: str
    combine: str
    smoothing: float


# FLUX's is the paper's; the other was chosen on scenes that are not the evaluation's
TINY_PRESET = Preset(resolution=128, timestep=0.3, blocks="0,4", average="logits", combine="product", smoothing=0.7)
FLUX_PRESET = Preset(
    resolution=1024, timestep=0.5, blocks="10-18", average="probabilities", combine="sum", smoothing=0.0
)


@dataclass(frozen=True, kw_only=True)
class RefAMConfig:
    """Settings of RefAM. Each field `name` is read from the environment variable `REFAM_NAME`.

    Models
        model: "tiny" (embedded), a hub id such as "black-forest-labs/FLUX.1-schnell", or a local diffusers folder.
        revision: branch, tag or commit of the hub id; None is the newest.
        sam: "tiny" (embedded), "none" (the mask is the thresholded heatmap), "vit_b", "vit_l" or "vit_h" (an official
            checkpoint looked up by name), or a checkpoint's path.
        device: "auto", "cpu", "cuda" or "cuda:N". Changes no result on purpose, so it is not part of the version.
        quantize: bits of the weights in the transformer's blocks: "int8" or "int4", with torchao, or "none" for bf16 on
            a GPU and fp32 on a CPU.
        text_encoder: "device" keeps T5 and CLIP beside the transformer, "cpu" in main memory; "drop" loads them into
            main memory for every text that is not in a cache, and drops them after it.
    Forward pass; None means the model's preset
        resolution: side in pixels of the square that the image is squashed to.
        timestep: noise level t of x_t = (1 - t) x_0 + t eps, in (0, 1).
        blocks: transformer blocks whose attention is read, such as "10-18" or "0,2,4-6"; double-stream blocks are
            counted first, single-stream blocks after them.
        average: "probabilities" averages softmaxes over heads and blocks as in the paper, "logits" averages before one
            softmax.
        seed: seed of the noise eps.
    Text
        magnets: words appended as attention magnets, separated by spaces; "" appends none.
        magnet_colours: a magnet among these colours is replaced by the first of them that the expression lacks.
        filter_stop_words, filter_ends, filter_magnets, filter_sinks, filter_sides: leave these tokens out of the
            heatmap; ends are `</s>` and pieces without a letter or digit, sides are words such as "left".
        sink_share: a sink's least share of the text softmax, in units of 1 / N for N text tokens.
        sink_variation: a sink's largest spatial coefficient of variation.
        noun_phrase: keep only the words of the target's noun phrase.
    Heatmap; None means the model's preset
        combine: "sum" of the words' maps as in the paper, or "product", their geometric mean, which is high only where
            all words look (not part of the paper).
        smoothing: standard deviation in cells of a Gaussian over each map before several are combined; 0 is none, as in
            the paper.
    Point
        spatial_bias: positions such as "on the left" bias the choice of the point.
        relation_bias: relations such as "left of the zebra" bias the choice of the point (not part of the paper).
        points: how many peaks of the heatmap are looked at, at most.
        peak_ratio: least height of a further peak, as a fraction of the highest.
    Mask
        choose_by_heatmap: take SAM's candidate that agrees best with the heatmap; else the one SAM itself rates best.
        agreement: "correlation" between mask and heat, or "contrast", the mean heat inside minus outside.
        iou_weight: exponent of the IoU that SAM predicts, by which agreement is multiplied; 0 ignores it.
        suppress_rivals: hot regions without the chosen point count as background when masks are compared with the heat.
        negative_points: peaks on other hot regions prompt SAM as points that the mask must not hold.
    Memory
        text_cache: expressions whose embeddings are kept in memory.
        text_cache_dir: folder in which embeddings are kept, too, up to 1 GiB; None keeps none on disk.
        image_cache: images whose VAE latents and SAM embeddings are kept, and images with a text whose maps are kept.
    """

    model: str = "tiny"
    revision: str | None = None
    sam: str = "tiny"
    device: str = "auto"
    quantize: str = "none"
    text_encoder: str = "device"
    resolution: int | None = None
    timestep: float | None = None
    blocks: str | None = None
    seed: int = 0
    average: str | None = None
    magnets: str = "_ with a the pink"
    magnet_colours: str = "pink purple cyan"
    filter_stop_words: bool = True
    filter_ends: bool = True
    filter_magnets: bool = True
    filter_sinks: bool = True
    filter_sides: bool = True
    sink_share: float = 2.0
    sink_variation: float = 0.15
    noun_phrase: bool = True
    combine: str | None = None
    smoothing: float | None = None
    spatial_bias: bool = True
    relation_bias: bool = True
    points: int = 5
    peak_ratio: float = 0.5
    choose_by_heatmap: bool = True
    agreement: str = "correlation"
    iou_weight: float = 1.0
    suppress_rivals: bool = True
    negative_points: bool = True
    text_cache: int = 256
    text_cache_dir: str | None = None
    image_cache: int = 16

    def __post_init__(self) -> None:
        for name in ("model", "sam"):
            _require(bool(getattr(self, name).strip()), name, getattr(self, name), "a name or a path")
        _require(re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device), "device", self.device, "auto, cpu, cuda or cuda:N")
        for name, choices in CHOICES.items():
            _require(getattr(self, name) in choices, name, getattr(self, name), " or ".join(filter(None, choices)))
        for name in ("resolution", "points", "text_cache", "image_cache"):
            value = getattr(self, name)
            _require(value is None or value >= 1, name, value, "a whole number of 1 or more")
        for name in ("sink_share", "sink_variation", "iou_weight", "smoothing"):
            value = getattr(self, name)
            _require(value is None or value >= 0, name, value, "a number of 0 or more")
        _require(0 <= self.peak_ratio <= 1, "peak_ratio", self.peak_ratio, "a number from 0 to 1")
        _require(self.seed >= 0, "seed", self.seed, "a whole number of 0 or more")
        _require(
            self.timestep is None or 0 < self.timestep < 1,
            "timestep",
            self.timestep,
            "a number between 0 and 1, both excluded",
        )
        if self.blocks is not None:
            parse_blocks(self.blocks)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read `REFAM_*` variables, such as `os.environ`'s. A variable that is absent leaves its field's default; so
        does an empty one, except REFAM_MAGNETS, where it switches the magnets off.

        Raises ConfigError for a value that cannot be used, and for a variable of this prefix that is no setting.
        """
        types = {field.name: field.type for field in fields(cls)}
        values: dict[str, Any] = {}
        for variable, text in environment.items():
            if not variable.startswith(PREFIX) or variable.startswith(FOREIGN_PREFIX):
                continue
            name = variable.removeprefix(PREFIX).lower()
            if name not in types:
                raise ConfigError(f"{variable} is not a setting. {_suggestion(name, list(types))}")
            if text.strip() or name == "magnets":
                values[name] = _parse(name, text.strip(), types[name])
        return cls(**values)

    @property
    def preset(self) -> Preset:
        """What a preset says, as it is used: this configuration's own, else the model's."""
        default = TINY_PRESET if self.model == "tiny" else FLUX_PRESET
        own = {name: getattr(self, name) for name in Preset._fields if getattr(self, name) is not None}
        return default._replace(**own)

    @property
    def block_numbers(self) -> tuple[int, ...]:
        """Numbers of the blocks that are read, ascending."""
        return parse_blocks(self.preset.blocks)

    def model_version(self) -> str:
        """Name of what makes a mask, such as "refam-tiny-b0.4-t0.3-sam.tiny-1a2b3c4d": backbone, blocks, timestep,
        refiner, and a hash of every setting that changes a result. Equal settings have equal names everywhere."""
        resolved = replace(self, **self.preset._asdict())
        results = {name: value for name, value in asdict(resolved).items() if name not in NOT_IN_VERSION}
        results["blocks"] = self.block_numbers
        text = json.dumps([METHOD_REVISION, results], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        blocks = _format_blocks(self.block_numbers)
        return f"refam-{_slug(self.model)}-b{blocks}-t{resolved.timestep:g}-sam.{_slug(self.sam)}-{digest}"


def parse_blocks(text: str) -> tuple[int, ...]:
    """Block numbers of a list such as "0,2,4-6", ascending and without repeats. Raises ConfigError if malformed."""
    numbers: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        _require(first <= last < 1000, "blocks", text, "block numbers such as 10-18 or 0,2,4-6")
        numbers.update(range(first, last + 1))
    return tuple(sorted(numbers))


def _format_blocks(numbers: tuple[int, ...]) -> str:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ".".join(f"{first}-{last}" if last > first else str(first) for first, last in runs)


def _parse(name: str, text: str, kind: Any) -> Any:
    base = next((option for option in get_args(kind) if option is not type(None)), kind)
    if base is bool:
        lowered = text.lower()
        _require(lowered in BOOLEANS, name, text, "true or false")
        return BOOLEANS[lowered]
    try:
        return base(text)
    except ValueError:
        _require(False, name, text, "a whole number" if base is int else "a number")


BOOLEANS = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(("0", "false", "no", "off"), False)


def _require(valid: object, name: str, value: object, expected: str) -> None:
    if not valid:
        raise ConfigError(f"{PREFIX}{name.upper()} is {value!r}; set it to {expected}.")


def _suggestion(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"Did you mean {PREFIX}{close[0].upper()}?"
    return f"Remove it, or use one of {', '.join(PREFIX + known.upper() for known in names)}."


def _slug(model: str) -> str:
    name = re.split(r"[/\\]", model.rstrip("/\\"))[-1].lower()
    return re.sub(r"[^a-z0-9.]+", ".", name).strip(".") or "local"
