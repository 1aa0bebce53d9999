"""What runs beside the device, job after job: the process of `refam-backend worker`."""
