"""The REST API for workers in any language, for who has work to be done, and for operators."""

from luigi_ha.appliance.api.rest.service import Rest

__all__ = ["Rest"]
