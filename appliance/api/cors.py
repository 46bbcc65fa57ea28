"""Cross-origin rules: see `appliance.cors`, which can be had without HTTP."""

from appliance.cors import Cors

__all__ = ["Cors"]
