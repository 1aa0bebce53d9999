"""segment-anything without torchvision.

segment-anything 1.0 imports four functions of torchvision and needs two of them for prompting. PyPI's torchvision does
not import beside a CPU build of torch, and breaks diffusers and transformers as long as it is installed, so this
project does not require it. Where it is missing or broken, stand-ins take its place during that one import.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

from PIL import Image

__all__ = ["import_segment_anything"]


def import_segment_anything() -> Any:
    """The module `segment_anything`, with torchvision's own functions where that imports, else with stand-ins."""
    if "segment_anything" in sys.modules or _torchvision_imports():
        return import_module("segment_anything")
    with _standins():
        return import_module("segment_anything")


def _torchvision_imports() -> bool:
    before = set(sys.modules)
    try:
        import_module("torchvision.transforms.functional")
        import_module("torchvision.ops.boxes")
    except (ImportError, RuntimeError):  # RuntimeError: its C++ operators do not fit this torch
        for name in set(sys.modules) - before:
            if name.partition(".")[0] == "torchvision":
                del sys.modules[name]
        return False
    return True


@contextmanager
def _standins() -> Iterator[None]:
    """Put the stand-ins into sys.modules, and take them out again: no other library may ever see them."""
    # diffusers and transformers look for torchvision when they are imported: that must be over
    import_module("diffusers")
    import_module("transformers")
    contents: dict[str, dict[str, Any]] = {
        "torchvision": {},
        "torchvision.transforms": {},
        "torchvision.transforms.functional": {"resize": _resize, "to_pil_image": Image.fromarray},
        "torchvision.ops": {},
        "torchvision.ops.boxes": {"batched_nms": _unavailable, "box_area": _unavailable},
    }
    for name, members in contents.items():
        module = ModuleType(name)
        vars(module).update(members)
        sys.modules[name] = module
    try:
        yield
    finally:
        for name in contents:
            del sys.modules[name]


def _resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """torchvision's resize of a PIL image to (height, width), bilinear: the same pixels."""
    return image.resize(size[::-1], Image.Resampling.BILINEAR)


def _unavailable(*_: Any, **__: Any) -> Any:
    raise NotImplementedError("This function of segment-anything needs torchvision; install one that fits this torch.")
