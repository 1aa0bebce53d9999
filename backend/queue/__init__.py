"""What lies in Redis between the processes: jobs on RQ, and what is kept beside them."""
