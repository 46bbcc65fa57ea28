"""A fleet of `luigi-ha worker` through failovers, outages and its own deaths; see `python -m drills.fleet --help`."""
