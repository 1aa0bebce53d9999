"""`refam-backend report`: predictions beside what annotators submitted."""
