"""Commands that other packages bring: entry points of the group `luigi_ha.commands`, name -> function of typer's kind,
or a whole group of commands (`typer.Typer`).

A function may have `luigi_ha_command`: more arguments of typer's `command`, such as an epilog.
They are looked for only when a name is none of ours, or all are listed: looking takes longer than many commands do.

One of them may have the name of a group of ours: `luigi-ha worker --module etl` is theirs, `luigi-ha worker list` ours.
A word after the name is a command of the group; anything else is for the other package's command.
"""

import os
from importlib import metadata
from typing import Any

import typer
from typer.core import TyperGroup

from luigi_ha.appliance.cli.links import drop_links

GROUP = "luigi_ha.commands"
SHARED = frozenset({"worker"})  # names that are both


class WithExtraCommands(TyperGroup):
    """Our commands, then the others. Ours win, but for `SHARED`."""

    def list_commands(self, ctx: Any) -> list[str]:
        own = super().list_commands(ctx)
        return own + [name for name in sorted(metadata.entry_points(group=GROUP).names) if name not in own]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        found = super().get_command(ctx, cmd_name)
        if found is not None and cmd_name not in SHARED:
            return found
        return _other(cmd_name, found) or found

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        beside = super().get_command(ctx, args[0]) if args[0] in SHARED else None
        ours = beside is not None and len(args) > 1 and not args[1].startswith("-")
        name, command, rest = (args[0], beside, args[1:]) if ours else super().resolve_command(ctx, args)
        if command is not None:
            drop_links(command, os.environ)
        return name, command, rest


def _other(name: str, beside: Any) -> Any:
    """The command of another package; its help names those of our group beside it."""
    for point in metadata.entry_points(group=GROUP, name=name):
        frame = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
        function = point.load()
        if isinstance(function, typer.Typer):
            group = typer.main.get_command(function)
            group.name = name
            return group
        frame.command(name, **getattr(function, "luigi_ha_command", {}))(function)
        command = typer.main.get_command(frame)
        if beside is not None:
            words = ", ".join(f"luigi-ha {name} {word}" for word in sorted(beside.commands))
            command.epilog = f"Beside it: {words} (--help tells more).\n\n{command.epilog or ''}"
            _complete_too(command, beside)
        return command
    return None


def _complete_too(command: Any, beside: Any) -> None:
    """Have a shell complete the group's commands where the other package's command begins."""
    own = command.shell_complete

    def complete(ctx: Any, incomplete: str) -> Any:
        inner = typer.Context(beside, ctx.parent)
        group = [] if incomplete.startswith("-") else beside.shell_complete(inner, incomplete)
        return [*group, *own(ctx, incomplete)]

    command.shell_complete = complete
