"""Cross-origin rules: see `luigi_ha.appliance.cors`, which can be had without HTTP."""

from luigi_ha.appliance.cors import Cors

__all__ = ["Cors"]
