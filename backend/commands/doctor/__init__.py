"""`refam-backend doctor`."""
