"""The embedded default: a small FLUX pipeline and SAM, and their weights."""

from pathlib import Path

__all__ = ["FLUX_FOLDER", "SAM_FOLDER", "WEIGHTS"]

WEIGHTS = Path(__file__).parent / "weights"
FLUX_FOLDER, SAM_FOLDER = WEIGHTS / "flux", WEIGHTS / "sam"
