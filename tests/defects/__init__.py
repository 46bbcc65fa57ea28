"""Defects on purpose: each is switched on in turn, and a named check must catch it; see `python -m tests.defects`."""
