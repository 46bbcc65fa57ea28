"""The command `luigi-ha`: thin, one function per command."""

from appliance.cli.app import main

__all__ = ["main"]
