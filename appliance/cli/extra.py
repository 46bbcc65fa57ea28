"""Commands that other packages bring: entry points of the group `luigi_ha.commands`, name -> function of typer's kind.

A function may have `luigi_ha_command`: more arguments of typer's `command`, such as an epilog.
They are looked for only when a name is none of ours, or all are listed: looking takes longer than many commands do.
"""

import os
from importlib import metadata
from typing import Any

import typer
from typer.core import TyperGroup

from luigi_ha.appliance.cli.links import drop_links

GROUP = "luigi_ha.commands"


class WithExtraCommands(TyperGroup):
    """Our commands, then the others. Ours win."""

    def list_commands(self, ctx: Any) -> list[str]:
        own = super().list_commands(ctx)
        return own + [name for name in sorted(metadata.entry_points(group=GROUP).names) if name not in own]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        found = super().get_command(ctx, cmd_name)
        if found is not None:
            return found
        for point in metadata.entry_points(group=GROUP, name=cmd_name):
            frame = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
            function = point.load()
            frame.command(cmd_name, **getattr(function, "luigi_ha_command", {}))(function)
            return typer.main.get_command(frame)
        return None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None:
            drop_links(command, os.environ)
        return name, command, rest
