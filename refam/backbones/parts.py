"""The parts of a diffusers pipeline's folder: whether they are whole, and loading them."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from refam.errors import ConfigError

__all__ = ["blocks_up_to", "part_of", "read_model", "read_tokenizer", "require_block", "require_config"]

VOCABULARIES = ("tokenizer.json", "spiece.model", "vocab.json")


def blocks_up_to(last_block: int, sizes: Mapping[str, Any]) -> dict[str, int]:
    """How many double- and single-stream blocks a transformer of these sizes has up to number `last_block`."""
    double = min(sizes["num_layers"], last_block + 1)
    return {"num_layers": double, "num_single_layers": last_block + 1 - double}


def require_block(number: int, blocks: int) -> None:
    """Raise ConfigError if a model of so many blocks has no block of this number."""
    if number >= blocks:
        raise ConfigError(f"REFAM_BLOCKS asks for block {number}; set it to blocks from 0 to {blocks - 1}.")


def part_of(kind: Any, *ignored: str) -> Any:
    """A class of diffusers or transformers that takes weights it has no place for as a matter of course, if their names
    match one of these patterns: those of blocks that it was not built with."""
    return type(f"PartOf{kind.__name__}", (kind,), {"_keys_to_ignore_on_load_unexpected": list(ignored)})


def require_config(folder: Path, part: str) -> None:
    """Raise FileNotFoundError where a part says nothing of its sizes: transformers would take some of its own."""
    if not (folder / part / "config.json").is_file():
        raise FileNotFoundError(f"{folder / part} has no config.json")


def read_model(kind: Any, folder: Path, part: str, dtype: torch.dtype, **options: Any) -> Any:
    """A model of diffusers or transformers, still in main memory. They fill what a folder lacks with random weights:
    here that is an error. Weights come from safetensors alone; unpickling others could run code.

    Raises OSError, ValueError.
    """
    require_config(folder, part)
    if not any((folder / part).glob("*.safetensors")):
        raise FileNotFoundError(
            f"{folder / part} has no weights in the format safetensors, and pickled ones such as .bin are not loaded; "
            "where there are some, convert them"
        )
    options |= {"dtype": dtype, "use_safetensors": True}
    try:
        model, info = kind.from_pretrained(folder, subfolder=part, output_loading_info=True, **options)
    except RuntimeError as error:
        raise ValueError(f"the weights in {folder / part} do not fit its config.json") from error
    if info["missing_keys"]:
        raise ValueError(f"the weights in {folder / part} lack {', '.join(sorted(info['missing_keys'])[:3])}")
    return model


def read_tokenizer(kind: Any, folder: Path, part: str) -> Any:
    """A tokenizer; transformers makes one that knows no word of a folder without a vocabulary: here that is an
    error."""
    if not any((folder / part / name).is_file() for name in VOCABULARIES):
        raise FileNotFoundError(f"{folder / part} has none of {', '.join(VOCABULARIES)}")
    old = (folder / part / "spiece.model").is_file() and not (folder / part / "tokenizer.json").is_file()
    if old and importlib.util.find_spec("sentencepiece") is None:
        raise ValueError(
            f"{folder / part} has an old vocabulary alone, spiece.model; `pip install sentencepiece` reads it"
        )
    return kind.from_pretrained(folder, subfolder=part)
