"""The embedded default: a small FLUX pipeline and SAM, and their weights."""

from pathlib import Path

__all__ = ["FLUX_FOLDER", "NOTICE", "SAM_FOLDER", "SWITCH", "WEIGHTS"]

WEIGHTS = Path(__file__).parent / "weights"
FLUX_FOLDER, SAM_FOLDER = WEIGHTS / "flux", WEIGHTS / "sam"

# Said wherever somebody might take the embedded model's masks for more
NOTICE = (
    "This is the demonstration model: it understands rendered scenes and about a hundred words, and no photographs."
)
SWITCH = "For photographs, on a GPU: export REFAM_MODEL=black-forest-labs/FLUX.1-schnell REFAM_SAM=vit_h"
