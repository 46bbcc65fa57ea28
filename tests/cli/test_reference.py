"""Every command is complete: help, examples, exit codes, variables, JSON, one name per thing; docs/commands.md too."""

import re
import shlex
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import typer.main

from luigi_ha.appliance.cli import reference
from luigi_ha.appliance.cli.app import app
from luigi_ha.appliance.config.options import Serve, names
from luigi_ha.appliance.config.variables import OTHER_VARIABLES
from luigi_ha.appliance.exit_codes import ExitCode
from tests.cli.running import luigi_ha

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = reference.documented()
BY_NAME = {each.name: each for each in COMMANDS}
OF_WORKERS = ("worker", "exec", "submit")


def parsed(arguments: list[str]) -> Any:
    """What the real parser makes of a command line; it runs nothing. Exits for what it does not understand."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("luigi-ha", list(arguments), resilient_parsing=False)
    while getattr(command, "commands", None) is not None:
        rest = [*context._protected_args, *context.args] if hasattr(context, "_protected_args") else context.args
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
    return context


def test_there_are_all_commands() -> None:
    wanted = """
        serve status why history failovers incident verify-history prune
        switchover pause resume release doctor worker submit exec
        task_list task_show task_retry task_cancel task_done task_log worker_list worker_drain worker_undrain
        resource_list resource_set scheduler_pause scheduler_resume
        db_upgrade db_check db_accept db_backup db_restore token_create token_list token_revoke
        lab_up lab_status lab_shell lab_fault lab_down drill_list drill_run drill_verify drill_show
        drill_schedule
    """
    assert {each.replace("_", " ") for each in wanted.split()} == set(BY_NAME)


@pytest.mark.parametrize("name", BY_NAME)
def test_each_command_has_help_examples_and_the_exit_codes_that_it_has(name: str) -> None:
    command = BY_NAME[name]
    assert command.summary
    assert command.examples, "no example"
    codes = [code for code, _ in command.exit_codes]
    assert codes, "no exit codes"
    assert codes == sorted(set(codes))
    assert set(codes) <= {int(code) for code in ExitCode} | {4, 130}
    assert 2 in codes, "everybody can be misunderstood"
    shown = luigi_ha(*name.split(), "--help")
    assert shown.returncode == 0
    told = " ".join(shown.stdout.split())
    for code, meaning in command.exit_codes:
        assert f"{code} {meaning}" in told
    for option in (*command.options, *command.arguments):
        assert option.help, f"{option.name} is not explained"


def test_no_two_groups_of_commands_have_one_list_of_exit_codes_for_all() -> None:
    told = {name: tuple(command.exit_codes) for name, command in BY_NAME.items()}
    assert len(set(told.values())) > len(told) / 2
    for name, codes in told.items():
        assert (4 in dict(codes)) == (name in ("serve", "submit")), name
        assert (5 in dict(codes)) == (name in ("serve", "verify-history") or name.startswith(("db ", "token "))), name
        assert (6 in dict(codes)) == (name in ("verify-history", "drill run", "drill verify", "drill show")), name


@pytest.mark.parametrize("name", BY_NAME)
def test_each_example_is_understood(name: str) -> None:
    for example in BY_NAME[name].examples:
        words = shlex.split(re.sub(r"\s[>|].*", "", example))
        assert words[0] == "luigi-ha"
        assert words[1 : 1 + len(name.split())] == name.split(), example
        context = parsed(words[1:])
        assert context.command.name == name.rsplit(" ", 1)[-1]


def test_what_is_no_example_is_not_understood() -> None:
    for wrong in ("task lst", "task list --stat failed", "task show", "resource set x many", "worker lst", "nothing"):
        with pytest.raises(Exception, match=r"No such|Missing|not a valid|should be a valid|unexpected"):
            parsed(wrong.split())


@pytest.mark.parametrize("name", BY_NAME)
def test_each_option_has_a_variable_or_a_reason(name: str) -> None:
    for option in BY_NAME[name].options:
        variable = reference.variable(option)
        if option.name in reference.WITHOUT_VARIABLE and variable is None:
            continue
        assert variable, f"{name}: --{option.name} has no variable, and no reason why"
        if option.name == "directory":
            assert variable == "LUIGI_HA_LAB_DIR"
        elif variable != f"LUIGI_HA_{option.name.upper()}":
            assert variable == f"LUIGI_HA_WORKER_{option.name.upper()}"
            assert option.name in names(Serve), "it could have the plain name"


def test_reasons_are_for_what_there_is() -> None:
    options = {option.name for command in COMMANDS for option in command.options if not reference.variable(option)}
    assert set(reference.WITHOUT_VARIABLE) == options
    assert set(reference.WITHOUT_JSON) <= set(BY_NAME)
    assert all(reference.WITHOUT_VARIABLE.values())
    assert all(reference.WITHOUT_JSON.values())


def test_a_node_knows_the_variables_of_all_commands() -> None:
    known = OTHER_VARIABLES | {f"LUIGI_HA_{name.upper()}" for name in names(Serve)}
    for command in COMMANDS:
        for option in command.command.params:
            for variable in [option.envvar] if isinstance(option.envvar, str) else option.envvar or []:
                assert variable in known, f"{command.name}: {variable}"


@pytest.mark.parametrize("name", [name for name in BY_NAME if name not in reference.WITHOUT_JSON])
def test_each_command_can_answer_as_json(name: str) -> None:
    assert "as_json" in {option.name for option in BY_NAME[name].options}


def test_one_thing_has_one_name() -> None:
    """The same variable is the same option everywhere; and one option means one thing, whoever has it."""
    flags, helps = defaultdict(set), defaultdict(set)
    for command in COMMANDS:
        for option in command.options:
            if variable := reference.variable(option):
                flags[variable].add(option.opts[0])
            if command.name not in OF_WORKERS and reference.variable(option):
                helps[option.opts[0]].add(option.help)
    assert {variable: found for variable, found in flags.items() if len(found) > 1} == {}
    for flag, found in helps.items():
        if flag.removeprefix("--") not in ("tls-ca", "tls-certificate", "tls-key"):  # a node's own, and a caller's
            assert len(found) == 1, f"{flag}: {found}"


@pytest.mark.parametrize(
    "name", [name for name in BY_NAME if {"scheduler_url"} & {option.name for option in BY_NAME[name].options}]
)
def test_whoever_asks_a_scheduler_is_told_how_in_the_same_words(name: str) -> None:
    options = {option.name: option for option in BY_NAME[name].command.params}
    for shown in ("scheduler_url", "token_file", "tls_ca", "tls_certificate", "tls_key"):
        assert options[shown].opts == [f"--{shown.replace('_', '-')}"]
        assert not options[shown].hidden
    earlier = ("ca_file", "client_certificate", "client_key") if name in OF_WORKERS else ("url",)
    assert all(options[each].hidden for each in earlier)


def test_the_page_is_what_the_commands_say() -> None:
    wanted = reference.page()
    found = (ROOT / "docs" / "commands.md").read_text()
    assert found == wanted, "python -m luigi_ha.appliance.cli.reference docs"
    configuration = (ROOT / "docs" / "configuration.md").read_text()
    assert configuration == reference.with_overview(configuration)
    assert reference.overview() in configuration
