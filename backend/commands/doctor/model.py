"""Whether torch, the model and Segment Anything are there, and have room."""

import importlib
import importlib.metadata
import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from backend.commands.doctor.finding import Finding
from refam.config import RefAMConfig
from refam.errors import RefAMError
from refam.tiny import FLUX_FOLDER, NOTICE, SAM_FOLDER, SWITCH

__all__ = ["device", "disk_space", "gpu_memory", "model", "sam", "torchvision"]

LICENCE_REMEDY = "Accept the licence on the model's page, then log in with `hf auth login` or set HF_TOKEN."
GIB = 2**30
SAM_SIZES = {"vit_b": 0.36, "vit_l": 1.25, "vit_h": 2.57}  # GB of the official checkpoints, in fp32
BITS = {"none": 1.0, "int8": 0.51}  # of the transformer's bf16 size, as docs/models.md computes
READ = 13.0 / 23.8  # the part of FLUX.1's transformer that is loaded: up to the last block that is read
ACTIVATIONS = 2.0  # GB


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
    """Whether the diffusion transformer is there, or can be had."""
    name = config.model
    folder = FLUX_FOLDER if name == "tiny" else Path(name).expanduser()
    if name == "tiny" or folder.exists():
        if (folder / "model_index.json").is_file():
            if name == "tiny":
                return Finding("model", "note", f"{NOTICE} It lies in {folder}.", SWITCH)
            return Finding("model", "ok", f"{name} in {folder}")
        return Finding("model", "wrong", f"{folder} holds no diffusers pipeline.", "Correct REFAM_MODEL.")
    return _hub_model(name, config.revision)


def _hub_model(name: str, revision: str | None) -> Finding:
    from huggingface_hub import HfApi, constants, try_to_load_from_cache  # noqa: PLC0415  # only this check needs it
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError  # noqa: PLC0415

    remedy = "Correct REFAM_MODEL."
    try:
        if isinstance(try_to_load_from_cache(name, "model_index.json", revision=revision), str):
            return Finding("model", "ok", f"{name} has been downloaded")
        if not constants.HF_HUB_OFFLINE:
            HfApi().auth_check(name)
            return Finding("model", "note", f"{name} is accessible; the first worker downloads it.")
        message, remedy = f"{name} has not been downloaded, and the hub is offline.", "Unset HF_HUB_OFFLINE once."
    except GatedRepoError:
        message, remedy = f"{name} is gated, and you have no access.", LICENCE_REMEDY
    except HFValidationError:
        message = f"{name} is neither a folder nor a hub id."
    except HfHubHTTPError as error:
        code = error.response.status_code if error.response is not None else "none"
        message = f"the hub has no {name} for you (status {code})."
    except Exception as error:  # noqa: BLE001  # its client's own: connections, proxies, certificates, time-outs
        message = f"the hub cannot be reached ({type(error).__name__})."
        remedy = "Check the network, or set REFAM_MODEL to a local folder."
    return Finding("model", "wrong", message, remedy)


def sam(config: RefAMConfig) -> Finding:
    """Whether Segment Anything is there, or can be had."""
    name = config.sam
    if name == "none":
        return Finding("sam", "ok", "none: masks are thresholded heatmaps")
    if name == "tiny":
        found = (SAM_FOLDER / "model.safetensors").is_file()
        remedy = "" if found else "Install this project again, or run `refam train-tiny`."
        return Finding("sam", "ok" if found else "wrong", f"tiny in {SAM_FOLDER}", remedy)
    if name in ("vit_b", "vit_l", "vit_h"):
        home = _sam_folder()
        if list(home.glob(f"sam_{name}_*.pth")):
            return Finding("sam", "ok", f"{name} in {home}")
        return Finding("sam", "note", f"{name} has not been downloaded to {home}; the first worker does that.")
    if Path(name).expanduser().exists():
        return Finding("sam", "ok", name)
    return Finding("sam", "wrong", f"there is no checkpoint {name}.", "Correct REFAM_SAM.")


def disk_space(config: RefAMConfig) -> Iterator[Finding]:
    """Whether what is yet to be downloaded has room."""
    for what, folder, size in _missing(config):
        free = shutil.disk_usage(_existing(folder)).free
        said = f"{what} takes {size / GIB:.1f} GiB in {folder}, where {free / GIB:.1f} GiB are free."
        if free < size:
            yield Finding("disk", "wrong", said, "Make room, or set HF_HOME or TORCH_HOME to another disk.")
        else:
            yield Finding("disk", "ok", said)


def gpu_memory(config: RefAMConfig) -> Finding | None:
    """Whether the weights fit the GPU; None where there is none, or nobody knows their size."""
    import torch  # noqa: PLC0415

    from refam.pipeline import choose_device  # noqa: PLC0415

    place = choose_device(config.device)
    needed = _weights(config)
    if place.type != "cuda" or needed is None:
        return None
    total = torch.cuda.get_device_properties(place).total_memory
    said = f"the model needs about {needed:.1f} GB of {place}'s {total / 1e9:.1f} GB."
    if needed > total / 1e9:
        remedy = "Set REFAM_QUANTIZE=int8, REFAM_TEXT_ENCODER=cpu or REFAM_SAM=vit_b: docs/models.md has a table."
        return Finding("gpu memory", "wrong", said, remedy)
    return Finding("gpu memory", "ok", said)


def _missing(config: RefAMConfig) -> Iterator[tuple[str, Path, float]]:
    """What the first worker downloads: (what, where to, bytes)."""
    if model(config).verdict == "note" and config.model != "tiny":
        from huggingface_hub import HfApi, constants  # noqa: PLC0415

        about = HfApi().model_info(config.model, revision=config.revision, files_metadata=True)
        inside = [entry for entry in about.siblings or [] if "/" in entry.rfilename]
        yield config.model, Path(constants.HF_HUB_CACHE), float(sum(entry.size or 0 for entry in inside))
    if config.sam in SAM_SIZES and sam(config).verdict == "note":
        yield config.sam, _sam_folder(), SAM_SIZES[config.sam] * 1e9


def _weights(config: RefAMConfig) -> float | None:
    """GB that the weights and a pass take on the GPU, from the sizes of its files, if they are there."""
    folder = _folder(config)
    if folder is None:
        return None
    parts = {
        part.name: sum(file.stat().st_size for file in part.rglob("*.safetensors")) / 1e9 for part in folder.iterdir()
    }
    encoders = parts.get("text_encoder", 0) + parts.get("text_encoder_2", 0) if config.text_encoder == "device" else 0
    transformer = parts["transformer"] * READ * BITS[config.quantize]
    whole = 2 if config.precision == "float32" else 1  # the files are in bf16, those of SAM in fp32
    sam_part = SAM_SIZES.get(config.sam, 0) / 2
    return whole * (transformer + encoders + parts.get("vae", 0) + sam_part) + ACTIVATIONS


def _folder(config: RefAMConfig) -> Path | None:
    """The folder of the model's files, given or downloaded; None while they are not there."""
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415
    from huggingface_hub.errors import HFValidationError  # noqa: PLC0415

    folder = Path(config.model).expanduser()
    if (folder / "transformer").is_dir():
        return folder
    try:
        index = try_to_load_from_cache(config.model, "model_index.json", revision=config.revision)
    except HFValidationError:
        return None
    return Path(index).parent if isinstance(index, str) and (Path(index).parent / "transformer").is_dir() else None


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _sam_folder() -> Path:
    return Path(os.environ.get("TORCH_HOME") or Path.home() / ".cache" / "torch") / "hub" / "checkpoints"
