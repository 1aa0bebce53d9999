"""The embedded default: a small FLUX pipeline and SAM, and their weights."""
