"""Whether torch, the model and Segment Anything are there, and have room."""

import importlib
import importlib.metadata
import importlib.util
import shutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from backend.commands.doctor.finding import Finding, Verdict
from refam.config import RefAMConfig
from refam.errors import RefAMError
from refam.tiny import FLUX_FOLDER, NOTICE, SAM_FOLDER, SWITCH

__all__ = ["device", "disk_space", "gpu_memory", "model", "sam", "torchvision"]

LATER = "the first worker downloads it, or `refam-backend download`."


def device(config: RefAMConfig) -> Finding:
    """Whether torch imports, and has the device."""
    try:
        import torch  # noqa: PLC0415  # a broken installation must not break the doctor

        importlib.import_module("diffusers")
    except (ImportError, OSError, RuntimeError) as error:
        return Finding("torch", "wrong", f"it does not import: {error}", "Run `pip install -r requirements.txt` anew.")
    from refam.pipeline import choose_device  # noqa: PLC0415  # imports torch

    try:
        device = choose_device(config.device)
    except RefAMError as error:
        return Finding("torch", "wrong", str(error), "Correct REFAM_DEVICE, or install torch for your GPU.")
    return Finding("torch", "ok", f"version {torch.__version__}, device {device}")


def torchvision() -> Finding:
    """Whether a torchvision that is there fits torch."""
    if importlib.util.find_spec("torchvision") is None:
        return Finding("torchvision", "ok", "not installed, and not needed")
    try:
        importlib.import_module("torchvision")
    except (ImportError, OSError, RuntimeError) as error:
        return Finding(
            "torchvision",
            "wrong",
            f"it is installed, but does not fit torch ({error}); diffusers then fails to import, too.",
            "Run `pip uninstall torchvision`, or install the build that belongs to your torch.",
        )
    return Finding("torchvision", "ok", f"version {importlib.metadata.version('torchvision')}")


def model(config: RefAMConfig) -> Finding:
    """Whether the diffusion transformer is there and of a family that is supported, or can be had."""
    from refam.backbones.registry import describe, family_of  # noqa: PLC0415  # imports torch
    from refam.model_files import is_local  # noqa: PLC0415

    name = config.model
    if name == "tiny":
        return Finding("model", "note", f"{NOTICE} It lies in {FLUX_FOLDER}.", SWITCH)
    if name == "none":
        return Finding("model", "ok", "none: SAM 3 works alone")
    try:
        family = family_of(name, describe(name, config.revision))
    except RefAMError as error:
        return Finding("model", "wrong", str(error), "Correct REFAM_MODEL.")
    if is_local(name):
        return Finding("model", "ok", f"{name}, of the family {family.name}")
    return _of_the_hub("model", "REFAM_MODEL", config)


def sam(config: RefAMConfig) -> Iterator[Finding]:
    """Whether Segment Anything, and SAM 3 if it proposes, are there, or can be had."""
    from refam.model_files import is_local  # noqa: PLC0415

    yield _sam(config)
    if config.proposer == "sam3":
        if is_local(config.sam3):
            verdict: Verdict = "ok" if Path(config.sam3).expanduser().is_dir() else "wrong"
            yield Finding("sam 3", verdict, config.sam3, "" if verdict == "ok" else "Correct REFAM_SAM3.")
        else:
            yield _of_the_hub("sam 3", "REFAM_SAM3", config)


def _sam(config: RefAMConfig) -> Finding:
    from refam.downloads import checkpoint  # noqa: PLC0415
    from refam.sam.loading import is_path  # noqa: PLC0415

    name, path = config.sam, checkpoint(config)
    if name == "none":
        return Finding("sam", "ok", "none: masks are thresholded heatmaps, or what SAM 3 proposes")
    if name == "tiny":
        found = (SAM_FOLDER / "model.safetensors").is_file()
        remedy = "" if found else "Install this project again, or run `refam train-tiny`."
        return Finding("sam", "ok" if found else "wrong", f"tiny in {SAM_FOLDER}", remedy)
    if path is not None:
        said = f"{name} in {path.parent}" if path.exists() else f"{name} is not in {path.parent}; {LATER}"
        return Finding("sam", "ok" if path.exists() else "note", said)
    if Path(name).expanduser().exists():
        return Finding("sam", "ok", name)
    if is_path(name):
        return Finding("sam", "wrong", f"there is no checkpoint {name}.", "Correct REFAM_SAM.")
    return _of_the_hub("sam", "REFAM_SAM", config)


def _of_the_hub(subject: str, setting: str, config: RefAMConfig) -> Finding:
    """Whether what a setting names has been downloaded, or can be."""
    from refam.downloads import wanted  # noqa: PLC0415

    (each,) = (one for one in wanted(config) if one.setting == setting)
    if each.is_there:
        return Finding(subject, "ok", f"{each.source} has been downloaded")
    try:
        offer = each.ask()
    except RefAMError as error:
        return Finding(subject, "wrong", str(error), f"Correct {setting}, or do what is said there.")
    return Finding(
        subject,
        "note",
        f"{each.source} ({offer.missing / 1e9:.1f} GB to go, licence {offer.licence}) is accessible; {LATER}",
    )


def disk_space(config: RefAMConfig) -> Iterator[Finding]:
    """Whether what is yet to be downloaded has room, all of it together."""
    needed: dict[int, float] = defaultdict(float)  # by disk
    for what, folder, size in _missing(config):
        place = _existing(folder)
        free = shutil.disk_usage(place).free
        disk = place.stat().st_dev
        needed[disk] += size
        together = f" (with what else is missing {needed[disk] / 1e9:.1f} GB)" if needed[disk] > size else ""
        said = f"{what} takes {size / 1e9:.1f} GB{together} in {folder}, where {free / 1e9:.1f} GB are free."
        if free < needed[disk]:
            yield Finding("disk", "wrong", said, "Make room, or set HF_HOME or TORCH_HOME to another disk.")
        else:
            yield Finding("disk", "ok", said)


def gpu_memory(config: RefAMConfig) -> Finding | None:
    """Whether the models fit the GPU, and which settings would; None where there is no GPU."""
    import torch  # noqa: PLC0415

    from refam.memory import WORKING, alternatives, weights  # noqa: PLC0415
    from refam.pipeline import choose_device  # noqa: PLC0415

    place = choose_device(config.device)
    if place.type != "cuda":
        return None
    total = torch.cuda.get_device_properties(place).total_memory / 1e9
    held = weights(config, place)
    parts = ", ".join(f"{name} {size:.1f}" for name, size in held.items())
    said = f"the models need about {sum(held.values()) + WORKING:.1f} GB of {place}'s {total:.1f} GB ({parts})."
    if sum(held.values()) + WORKING <= total:
        return Finding("gpu memory", "ok", said)
    fitting = [
        " ".join(f"REFAM_{name.upper()}={value}" for name, value in each.items())
        for each in alternatives(config, place, total)
    ]
    advice = f"One of these would fit: {'; '.join(fitting)}." if fitting else "Choose smaller models."
    return Finding("gpu memory", "wrong", said, f"{advice} docs/models.md has a table.")


def _missing(config: RefAMConfig) -> Iterator[tuple[str, Path, float]]:
    """What the first worker downloads: (what, where to, bytes)."""
    from huggingface_hub import constants  # noqa: PLC0415

    from refam.downloads import checkpoint, wanted  # noqa: PLC0415
    from refam.sam.loading import SIZES  # noqa: PLC0415

    for each in {each.source: each for each in wanted(config)}.values():
        if not each.is_there:
            yield each.source, Path(constants.HF_HUB_CACHE), each.ask().missing
    path = checkpoint(config)
    if path is not None and not path.exists():
        yield config.sam, path.parent, SIZES[config.sam] * 1e9


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(path for path in (folder, *folder.parents) if path.exists())
