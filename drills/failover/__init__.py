"""Failovers of a real cluster in a lab, measured from a client; see `python -m drills.failover --help`."""
