"""What can go wrong in refam, as one family. Every message names what is wrong and what to do about it.

RefAMError
├── ExpressionError         the text cannot be looked for: empty, without a usable word, too long
├── ClickError              the clicks name nothing to mask
├── DeviceMemoryError       the device has too little memory for the image
├── DeviceBrokenError       the device failed; only a new process can use it again
└── ConfigError             a setting cannot be used
    ├── ModelNotFoundError  the weights a setting names are not there, or not readable
    └── DeviceError         the device a setting names is not there
"""

__all__ = [
    "ClickError",
    "ConfigError",
    "DeviceBrokenError",
    "DeviceError",
    "DeviceMemoryError",
    "ExpressionError",
    "ModelNotFoundError",
    "RefAMError",
]


class RefAMError(Exception):
    """Base of all errors that refam raises on purpose."""


class ExpressionError(RefAMError):
    """The referring expression is empty, holds no word to look for, or is longer than the text encoder reads."""


class ClickError(RefAMError):
    """The clicks name nothing: they are all negative and no text helps, or there is no Segment Anything to ask."""


class DeviceMemoryError(RefAMError):
    """The device ran out of memory. RefAM.free_memory() may help."""


class DeviceBrokenError(RefAMError):
    """The device failed in a way that lasts until the process ends, such as an illegal memory access."""


class ConfigError(RefAMError):
    """A setting is malformed, unknown, or does not fit the model."""


class ModelNotFoundError(ConfigError):
    """The weights that a setting names could not be found or loaded."""


class DeviceError(ConfigError):
    """The device that a setting names is not available."""
