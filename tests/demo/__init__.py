"""The demonstration, run as `make run` runs it."""
