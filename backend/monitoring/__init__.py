"""What an operator sees of the running system, and the two things that can be done about it: retry and cancel."""
