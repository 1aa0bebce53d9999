"""`refam-backend download`: all models that the settings name, so that `up` finds them."""

from rich.console import Console
from rich.markup import escape

from backend.commands.doctor.model import disk_space
from backend.errors import ProgramError
from refam.config import RefAMConfig
from refam.downloads import checkpoint, wanted
from refam.sam.loading import download_checkpoint

__all__ = ["download"]


def download(config: RefAMConfig, console: Console) -> None:
    """Look at size, free disk, licence and access first, then fetch what is missing; files that are whole stay.

    Raises ModelNotFoundError where something cannot be had, ProgramError where there is no room for it.
    """
    by_source = {each.source: each for each in wanted(config)}  # SAM 3 may be both refiner and proposer
    missing = [each for each in by_source.values() if not each.is_there]
    offers = [each.ask() for each in missing]
    for each, offer in zip(missing, offers, strict=True):
        size = f"{offer.missing / 1e9:.2f} of {offer.size / 1e9:.2f} GB"
        console.print(f"{each.setting}: {escape(each.source)}, {size} to download, licence {escape(offer.licence)}")
    for finding in disk_space(config):
        if finding.verdict == "wrong":
            raise ProgramError(f"{finding.message} {finding.remedy}")
    for each in missing:
        console.print(f"{each.setting}: {escape(each.source)} lies in {each.get()}")
    path = checkpoint(config)
    if path is not None and not path.exists():
        try:
            console.print(f"REFAM_SAM: {config.sam} lies in {download_checkpoint(config.sam)}")
        except OSError as error:
            raise ProgramError(
                f"REFAM_SAM: {config.sam} was not downloaded ({error}). Run the command again."
            ) from error
    console.print("All models that the settings name are there: `refam-backend up` finds them.")
