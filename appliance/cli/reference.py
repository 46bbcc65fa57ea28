"""The commands as a page, docs/commands.md, and as the table of docs/configuration.md, made of the commands themselves:
they cannot say anything else than --help.

    python -m luigi_ha.appliance.cli.reference docs
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from luigi_ha.appliance.cli.app import app

# Options that no variable sets, and why.
ONCE = "it says what is wanted this time; a variable would change what is typed later"
WITHOUT_VARIABLE = {
    **dict.fromkeys(
        ("as_json", "calendar", "check", "expires", "failsafe", "family", "key", "limit", "namespace", "on",
         "output", "peer", "load", "random", "reason", "replace", "retry_wait", "role", "rounds", "safe",
         "search", "seed", "status", "stop_hook", "through_retries", "timeout", "units", "user", "verbose",
         "vip", "wait", "watch", "whole_host", "within", "witness", "worker", "yes"),
        ONCE,
    ),
}  # fmt: skip
# Commands that print nothing for programs, and why.
WITHOUT_JSON = {
    "worker": "it runs until it is ended, and writes a log (--log-format json)",
    "exec": "what it prints is the program's",
    "lab shell": "what it prints is the program's",
}
_VARIABLE = re.compile(r" \[env var: (\w+)\]$")
_EXAMPLE = re.compile(r"Example: (luigi-ha .+)")
_CODES = re.compile(r"Exit codes: (.+)", re.DOTALL)

INTRODUCTION = """\
# All commands

Made of the commands themselves (`python -m luigi_ha.appliance.cli.reference docs`); `luigi-ha COMMAND --help` says the
same. What they are for: [operations.md](operations.md); where a node's options come from:
[configuration.md](configuration.md); workers: [workers.md](workers.md).

* **A task** is named by its id, its family (with or without namespace), or the beginning of either, if only one task
  is meant; otherwise the error names at most ten that could be, those that have failed first. **A worker**: by its id,
  its host, or the beginning of its id.
* **Which scheduler**: `--scheduler-url`, one or more: the first that answers is asked, one that is down is passed over.
  Without it the node of `--config` (or `/etc/luigi-ha/luigi-ha.toml`), by its `advertise`, its port, its `vip`. A
  command line goes before the environment, whichever option it is.
* **Who did it**: where tokens are asked for, the log of changes has the token's name (`luigi-ha history TASK`).
* An option's variable is beside it. Options without one say what is wanted this time. Earlier names still work: `--url`
  (`LUIGI_HA_URL`), and of workers `--ca-file`, `--client-certificate`, `--client-key`, with their variables.
"""


@dataclass(frozen=True, slots=True)
class Documented:
    """One command, as its help has it."""

    name: str
    command: Any

    @property
    def summary(self) -> str:
        """Return its first sentences."""
        return " ".join((self.command.help or "").split("\n\n")[0].split())

    @property
    def examples(self) -> list[str]:
        """Return its examples, each a command line."""
        return [" ".join(found.split()) for found in _EXAMPLE.findall(self.command.help or "")]

    @property
    def exit_codes(self) -> list[tuple[int, str]]:
        """Return each exit code and when it comes; [] if the help does not say."""
        found = _CODES.search(self.command.epilog or "")
        told = " ".join(found[1].split()).partition(". ")[0].rstrip(".") if found else ""
        parts = re.split(r"[;,] (?=\d+ )", told)
        return [(int(number), text) for number, _, text in (part.partition(" ") for part in parts) if number.isdigit()]

    @property
    def arguments(self) -> list[Any]:
        """Return what stands in a fixed place."""
        return [each for each in self.command.params if each.param_type_name == "argument"]

    @property
    def options(self) -> list[Any]:
        """Return its options that are shown."""
        return [each for each in self.command.params if each.param_type_name == "option" and shown(each)]


def shown(option: Any) -> bool:
    """Return whether the help has this option, and it is the command's own."""
    return not option.hidden and option.name not in ("help", "install_completion", "show_completion")


def documented() -> list[Documented]:
    """Return every command, those of other packages too."""
    group: Any = typer.main.get_command(app)
    context = typer.Context(group)
    found: list[Documented] = []
    for name in group.list_commands(context):
        found += _within(group.get_command(context, name), name)
        beside = group.commands.get(name)
        if beside is not None and beside is not group.get_command(context, name) and hasattr(beside, "commands"):
            found += _within(beside, name)
    return list({each.name: each for each in found}.values())


def variable(option: Any) -> str | None:
    """Return the variable that sets an option."""
    if option.envvar:
        return str(option.envvar if isinstance(option.envvar, str) else option.envvar[0])
    found = _VARIABLE.search(option.help or "")
    return found[1] if found else None


def page() -> str:
    """Return docs/commands.md."""
    commands = documented()
    parts = [INTRODUCTION, *(_section(command) for command in commands)]
    return "\n".join(part.rstrip() + "\n" for part in parts)


def overview() -> str:
    """Return the table of docs/configuration.md."""
    rows = [f"| `luigi-ha {each.name}` | {each.summary} |" for each in documented()]
    return "\n".join(["| | |", "|---|---|", *rows]) + "\n"


def with_overview(text: str) -> str:
    """Return docs/configuration.md with the table as it is to be."""
    head, title, rest = text.partition("## Commands\n\n")
    return head + title + overview() + "\n" + rest.partition("\n\n")[2]


def write(docs: Path) -> None:
    """Write both."""
    (docs / "commands.md").write_text(page())
    configuration = docs / "configuration.md"
    configuration.write_text(with_overview(configuration.read_text()))


def _within(command: Any, name: str) -> Iterator[Documented]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield Documented(name, command)
        return
    for word, each in inner.items():
        yield from _within(each, f"{name} {word}")


def _section(found: Documented) -> str:
    arguments = " ".join(map(_placed, found.arguments))
    lines = [f"## `luigi-ha {found.name}{f' {arguments}' if arguments else ''}`", "", found.summary, "", "```"]
    lines += [*found.examples, "```", "", "| option | variable | |", "|---|---|---|"]
    lines += [f"| {_code(_placed(each))} | | {_meaning(each)} |" for each in found.arguments]
    lines += [f"| {_flags(each)} | {_code(variable(each))} | {_meaning(each)} |" for each in found.options]
    lines += ["", "| exit code | |", "|---|---|", *(f"| {code} | {text} |" for code, text in found.exit_codes)]
    return "\n".join(lines)


def _placed(argument: Any) -> str:
    return str(argument.metavar or str(argument.name).upper())


def _flags(option: Any) -> str:
    return _code(", ".join([*option.opts, *option.secondary_opts]))


def _code(text: str | None) -> str:
    return f"`{text}`" if text else ""


def _meaning(option: Any) -> str:
    text = _VARIABLE.sub("", " ".join((option.help or "").split()))
    default = getattr(option, "default", None)
    is_plain = isinstance(default, (int, float)) and not isinstance(default, bool) and "[" not in text
    return (text + (f" [{default:g}]" if is_plain else "")).replace("|", "\\|")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
