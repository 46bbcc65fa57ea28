"""The high-availability central scheduler for Luigi.

What pipelines may import, and what stays as it is within a major version: `luigi_ha.targets` and `luigi_ha.client`.
Everything else (`luigi_ha.appliance`, `luigi_ha.ha`, `luigi_ha.worker`) is how luigi-ha is made, and changes.
"""
