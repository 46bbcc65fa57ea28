"""Targets: written once, at once, verified."""
