"""Pipelines of packages built on luigi, unchanged, through a failover; see `python -m drills.compat --help`."""
