"""What a device does wrong, told apart by what helps: less work at once, or a new process."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from refam.errors import DeviceBrokenError, DeviceMemoryError

__all__ = ["device_faults"]


@contextmanager
def device_faults() -> Iterator[None]:
    """Turn torch's errors about the device into DeviceMemoryError and DeviceBrokenError; let others pass."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceMemoryError("The device has too little memory for this image.") from error
    except RuntimeError as error:
        if isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error):
            raise DeviceBrokenError("The device failed; only a new process can use it again.") from error
        raise
