"""How the embedded model is trained: `refam train-tiny`. Nothing here is needed to use it."""
