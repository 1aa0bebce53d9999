import pytest
import torch

from refam.errors import DeviceBrokenError, DeviceMemoryError
from refam.faults import device_faults


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), DeviceMemoryError),
        (torch.AcceleratorError("an illegal memory access was encountered"), DeviceBrokenError),
        (RuntimeError("CUDA error: device-side assert triggered"), DeviceBrokenError),
        (RuntimeError("shapes do not match"), RuntimeError),
    ],
)
def test_faults_are_told_apart_by_what_helps(error, expected):
    with pytest.raises(expected) as caught, device_faults():
        raise error
    assert caught.type is expected
