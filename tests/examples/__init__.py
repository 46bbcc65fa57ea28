"""The examples, each run on a real node."""
