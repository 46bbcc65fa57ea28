"""The options of `luigi-ha serve`: what they are, where they come from, and whether they fit together."""

from luigi_ha.appliance.config.errors import ConfigError
from luigi_ha.appliance.config.load import Loaded, load
from luigi_ha.appliance.config.options import Options, Serve

__all__ = ["ConfigError", "Loaded", "Options", "Serve", "load"]
