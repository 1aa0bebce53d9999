"""Every setting of the method, as data. Imports the standard library only, so that any process may read it."""

import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import Field, asdict, dataclass, field, fields
from typing import Any, Self, get_args

from refam.errors import ConfigError
from refam.presets import FAMILIES, METHODS, Preset

__all__ = ["RefAMConfig", "parse_blocks"]

PREFIX = "REFAM_"
FOREIGN_PREFIX = "REFAM_BACKEND_"  # the Label Studio backend's own settings
METHOD_REVISION = 5  # raise it when the same settings begin to give other masks (code or embedded weights)
NOT_IN_VERSION = ("family", "device", "text_encoder", "text_cache", "text_cache_dir", "image_cache")
CHOICES = {
    "precision": ("auto", "half", "float32"),
    "compile": ("off", "on"),
    "quantize": ("none", "int8"),
    "text_encoder": ("device", "cpu", "drop"),
    "text_padding": ("none", "512"),
    "image_as": (None, "noised", "reference"),
    "average": (None, "probabilities", "logits"),
    "combine": (None, "sum", "product"),
    "method": ("best", "faithful"),
    "proposer": ("peaks", "grid", "sam3"),
    "choice": (None, "things", "point"),
}


def setting(default: Any, description: str) -> Any:
    """A field of RefAMConfig with its description, in Markdown."""
    return field(default=default, metadata={"description": description})


@dataclass(frozen=True, kw_only=True)
class RefAMConfig:
    """Settings of RefAM. Each field `name` is read from the environment variable `REFAM_NAME`.

    Its description says what it is; see `describe`. None means the preset of the model's family, or of the method.

    Attributes:
        family: which of `refam.presets.FAMILIES` the model is of. No setting: its files tell, once it is loaded.
    """

    family: str = ""

    method: str = setting(
        "best",
        "`best` proposes whole things and has the heatmap choose among them; `faithful` is the paper's way: its "
        "highest point prompts Segment Anything. Each sets the defaults of settings below, which can still be changed.",
    )
    # models
    model: str = setting(
        "tiny",
        "`tiny` (embedded), or a FLUX.1, Chroma1 or FLUX.2-klein: a hub id such as "
        "`black-forest-labs/FLUX.2-klein-4B`, or a local diffusers folder; or, with REFAM_PROPOSER=sam3, `none`.",
    )
    revision: str | None = setting(None, "Branch, tag or commit of the hub id.")
    sam: str = setting(
        "tiny",
        "`tiny` (embedded), `none` (the thresholded heatmap), `vit_b`, `vit_l`, `vit_h` (official checkpoints of the "
        "first Segment Anything), a checkpoint's path, or a SAM 2.1 or SAM 3 in transformers' format, by hub id or "
        "folder, such as `facebook/sam2.1-hiera-large`.",
    )
    device: str = setting("auto", "`auto`, `cpu`, `cuda` or `cuda:N`.")
    precision: str = setting(
        "auto",
        "Numbers that models compute in: `half` is bf16 for the transformer and its encoders and fp16 for SAM's image "
        "encoder, `float32` what they say, and `auto` is `half` on a GPU and `float32` on a CPU.",
    )
    compile: str = setting(
        "off",
        "`on` has the transformer's and SAM's blocks compiled, for a GPU that works for hours. It takes a C++ "
        "compiler, and the first image of each start takes a minute or more.",
    )
    quantize: str = setting(
        "none",
        "Weights of the transformer's blocks: `int8`, with torchao (`pip install -r "
        "requirements-quantize.txt`), or `none`: as REFAM_PRECISION says.",
    )
    text_encoder: str = setting(
        "device",
        "`device` keeps T5 and CLIP beside the transformer, `cpu` in main memory; `drop` loads them into main "
        "memory for every text that is in no cache, and drops them after it.",
    )
    # forward pass
    resolution: int | None = setting(
        None,
        "Side in pixels of the square the image is squashed to. Default: 128 for `tiny`, else 1024.",
    )
    timestep: float | None = setting(
        None,
        "Noise level t of the one forward pass, above 0 and up to 1, pure noise. Default: 0.3 for `tiny`, 0.5 for "
        "FLUX.1 and Chroma, 1 where the image is a reference.",
    )
    blocks: str | None = setting(
        None,
        "Transformer blocks whose attention is read, double-stream blocks first. Default: `0,4` for `tiny`, "
        "`10-18` for FLUX.1 and Chroma, `5-14` for FLUX.2-klein.",
    )
    image_as: str | None = setting(
        None,
        "How the transformer sees the image: `noised`, as what it draws, or `reference`, clean beside what it draws, "
        "which takes twice the tokens. Default: `reference` for models that edit (FLUX.1-Kontext, FLUX.2-klein), "
        "`noised` for the others, which know nothing else.",
    )
    tiles: int | None = setting(
        None,
        "Most squares, a pass each, in which an image is read that is more than twice as long as wide; 1 squashes it. "
        "Default: 8 for `best`, 1 for `faithful`.",
    )
    seed: int = setting(0, "Seed of the noise.")
    average: str | None = setting(
        None,
        "`probabilities` averages softmaxes over heads and blocks, `logits` averages before one softmax. "
        "Default: `logits` for `tiny`, else, as in the paper, `probabilities`.",
    )
    # text
    text_padding: str = setting(
        "none",
        "`none` gives the transformer the text alone, `512` fills it up to 512 tokens with padding, as pipelines that "
        "draw do; its attention to them is left out. For models that mask padding, such as Chroma, `none` is all there "
        "is.",
    )
    magnets: str = setting("_ with a the pink", "Words appended as attention magnets. Set but empty: none.")
    magnet_colours: str = setting(
        "pink purple cyan",
        "A magnet colour that the expression holds is replaced by the first of these that it lacks.",
    )
    filter_stop_words: bool = setting(True, "Leave stop words out of the heatmap.")
    filter_ends: bool = setting(True, "Leave `</s>` and pieces without a letter or digit out.")
    filter_magnets: bool = setting(True, "Leave magnets out.")
    filter_sinks: bool = setting(True, "Leave global attention sinks out.")
    filter_sides: bool = setting(True, 'Leave side words such as "left" out.')
    sink_share: float = setting(2.0, "A sink's least share of the text softmax, in units of 1/N for N tokens.")
    sink_variation: float = setting(0.15, "A sink's largest spatial coefficient of variation.")
    noun_phrase: bool = setting(True, "Keep only the target's noun phrase.")
    # heatmap
    combine: str | None = setting(
        None,
        "`sum` of the words' maps, or `product`, their geometric mean: high only where all words look. Default: "
        "`product` for `tiny` (ours, not the paper's), else `sum`.",
    )
    smoothing: float | None = setting(
        None,
        "Standard deviation, in cells, of a Gaussian over each word's map before several are combined. Default: "
        "0.7 for `tiny`, else, as in the paper, 0.",
    )
    # point
    spatial_bias: bool = setting(True, 'Positions such as "on the left" bias the choice of the point.')
    relation_bias: bool | None = setting(
        None,
        "Relations such as 'left of the zebra' bias the choice of the point. Default: on for `best`; the paper has "
        "none.",
    )
    points: int | None = setting(
        None, "Most peaks of the heatmap that are looked at. Default: 8 for `best`, 1 for `faithful`."
    )
    peak_ratio: float | None = setting(
        None,
        "Least height of a further peak, as a fraction of the highest. Default: 0.2 for `best`, 0.5 for `faithful`.",
    )
    # mask
    choice: str | None = setting(
        None,
        "`things`: of the whole things that are proposed at the heatmap's peaks, those that the text means; `point`: "
        "Segment Anything's own favourite for the highest point. Default: `things` for `best`, `point` for `faithful`.",
    )
    sizes_by_area: bool | None = setting(
        None,
        "Size words are left out of the heatmap, and the areas of the things that the other words mean answer them. "
        "Default: on for `best`.",
    )
    proposer: str = setting(
        "peaks",
        "What finds the whole things to choose among: `peaks`, Segment Anything at the heatmap's peaks; `grid`, at "
        "8 x 8 points, for a GPU; or `sam3`, SAM 3's detector, which knows nouns.",
    )
    sam3: str = setting(
        "facebook/sam3", "Where REFAM_PROPOSER=sam3 finds SAM 3: a hub id, or a folder in transformers' format."
    )
    # memory
    text_cache: int = setting(256, "Texts, expressions and magnets, whose embeddings are kept in memory.")
    text_cache_dir: str | None = setting(
        None,
        "Folder in which embeddings of texts are kept, too, so that a restart encodes none again; up to 1 GiB. "
        "Empty: none.",
    )
    image_cache: int = setting(
        16,
        "Images whose latents and SAM embeddings are kept in memory, and images with a text whose maps are kept.",
    )

    def __post_init__(self) -> None:
        for name in ("model", "sam"):
            _require(bool(getattr(self, name).strip()), name, getattr(self, name), "a name or a path")
        _require(re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device), "device", self.device, "auto, cpu, cuda or cuda:N")
        for name, choices in CHOICES.items():
            _require(getattr(self, name) in choices, name, getattr(self, name), " or ".join(filter(None, choices)))
        for name in ("resolution", "tiles", "points", "text_cache", "image_cache"):
            value = getattr(self, name)
            _require(value is None or value >= 1, name, value, "a whole number of 1 or more")
        for name in ("sink_share", "sink_variation", "smoothing"):
            value = getattr(self, name)
            _require(value is None or value >= 0, name, value, "a number of 0 or more")
        _require(
            self.peak_ratio is None or 0 <= self.peak_ratio <= 1, "peak_ratio", self.peak_ratio, "a number from 0 to 1"
        )
        _require(self.seed >= 0, "seed", self.seed, "a whole number of 0 or more")
        _require(
            self.timestep is None or 0 < self.timestep <= 1,
            "timestep",
            self.timestep,
            "a number above 0, and 1 at most",
        )
        if self.blocks is not None:
            parse_blocks(self.blocks)
        if self.model == "none" and self.proposer != "sam3":
            raise ConfigError("REFAM_MODEL is 'none', which only REFAM_PROPOSER=sam3 does without; set one of the two.")
        if self.proposer != "peaks" and self.preset.choice == "point":
            raise ConfigError(
                f"REFAM_PROPOSER is {self.proposer!r}, and with REFAM_CHOICE=point, as of REFAM_METHOD=faithful, there "
                "is nothing to propose; set it to peaks, or REFAM_CHOICE to things."
            )
        if self.proposer == "grid" and self.sam == "none":
            raise ConfigError(
                "REFAM_PROPOSER is 'grid', and REFAM_SAM is 'none'; set one of the two to something else."
            )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read `REFAM_*` variables, such as `os.environ`'s. A variable that is absent leaves its field's default; so
        does an empty one, except REFAM_MAGNETS, where it switches the magnets off.

        Raises ConfigError for a value that cannot be used, and for a variable of this prefix that is no setting.
        """
        types = {each.name: each.type for each in cls._settings()}
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

    @classmethod
    def describe(cls) -> dict[str, tuple[Any, str]]:
        """Environment variable -> (default, description), of every setting, in order."""
        return {
            f"{PREFIX}{each.name.upper()}": (each.default, str(each.metadata["description"]))
            for each in cls._settings()
        }

    @classmethod
    def _settings(cls) -> "list[Field[Any]]":
        return [each for each in fields(cls) if each.metadata]

    @property
    def preset(self) -> Preset:
        """What depends on family and method, as it is used: this configuration's own, else the method's, else the
        family's; FLUX.1's while no file has told the family."""
        family = "tiny" if self.model == "tiny" else self.family or "flux1"
        return Preset(**{**FAMILIES[family], **METHODS[self.method], **self._own})

    @property
    def _own(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in Preset._fields if getattr(self, name) is not None}

    @property
    def block_numbers(self) -> tuple[int, ...]:
        """Numbers of the blocks that are read, ascending."""
        return parse_blocks(self.preset.blocks)

    @property
    def is_demonstration(self) -> bool:
        """Whether the embedded transformer is in use, which understands no photographs."""
        return self.model == "tiny"

    def model_version(self) -> str:
        """Name of what makes a mask, such as "refam-tiny-sam.tiny-1a2b3c4d": transformer, refiner, and a hash of every
        setting that changes a result. Equal settings have equal names everywhere, also where the model's files are not:
        what depends on its family is not resolved."""
        results = {name: value for name, value in asdict(self).items() if name not in NOT_IN_VERSION}
        results |= (FAMILIES["tiny"] if self.model == "tiny" else {}) | METHODS[self.method] | self._own
        if results["blocks"] is not None:
            results["blocks"] = parse_blocks(results["blocks"])
        text = json.dumps([METHOD_REVISION, results], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        return f"refam-{_slug(self.model)}-sam.{_slug(self.sam)}-{digest}"


def parse_blocks(text: str) -> tuple[int, ...]:
    """Block numbers of a list such as "0,2,4-6", ascending and without repeats. Raises ConfigError if malformed."""
    numbers: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        _require(first <= last < 1000, "blocks", text, "block numbers such as 10-18 or 0,2,4-6")
        numbers.update(range(first, last + 1))
    return tuple(sorted(numbers))


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
