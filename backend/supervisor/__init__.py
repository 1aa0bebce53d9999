"""What starts the others and keeps them alive: the process of `refam-backend up`."""
