"""`python -m backend` is `refam-backend`."""

from backend.cli import app

app(prog_name="refam-backend")
