"""`python -m refam` is the command `refam`."""

from refam.cli import app

app()
