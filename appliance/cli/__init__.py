"""The command `luigi-ha`: thin, one function per command."""

from appliance.cli.entry import main

__all__ = ["main"]
