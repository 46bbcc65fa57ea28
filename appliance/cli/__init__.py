"""The command `luigi-ha`: thin, one function per command."""

from luigi_ha.appliance.cli.entry import main

__all__ = ["main"]
