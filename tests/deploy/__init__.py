"""deploy/: linted, as it cannot be run where there is no container engine."""
