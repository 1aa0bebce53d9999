"""The sample project, shown over HTTP (`refam-backend demo`) and in a Label Studio of one's own (`.. studio`)."""
