"""What Label Studio and browsers ask over HTTP: the process of `refam-backend serve`."""
