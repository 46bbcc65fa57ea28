"""Luigi's own tests, run against this scheduler instead of Luigi's."""
