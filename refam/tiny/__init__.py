"""The embedded default: rendered scenes, and a small FLUX pipeline and SAM trained on them."""
