"""Luigi's own reading of its configuration: its parsers and its Config classes, as `luigid` uses them."""

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import luigi.batch_notifier
import luigi.configuration.core
import luigi.notifications
import luigi.scheduler
import luigi.server
from luigi.configuration import LuigiConfigParser, LuigiTomlParser
from luigi.parameter import _no_value
from luigi.task_register import Register

CLASSES: dict[str, Any] = {
    "scheduler": luigi.scheduler.scheduler,
    "cors": luigi.server.cors,
    "email": luigi.notifications.email,
    "smtp": luigi.notifications.smtp,
    "batch_email": luigi.batch_notifier.batch_email,
}
SYSTEM = "/etc/luigi/"
_PATHS = {parser: list(parser._config_paths) for parser in (LuigiConfigParser, LuigiTomlParser)}


@dataclass
class Read:
    """What luigid runs with: each class's values, or why it could not be made."""

    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    written: set[tuple[str, str]] = field(default_factory=set)
    """(class, option) of what came from a file."""

    def refuses(self) -> str:
        """Return why luigid does not start, or answers no call; "" if it works."""
        needed = ["files", "scheduler", "resources", "cors"]
        if self.values.get("scheduler", {}).get("batch_emails"):
            needed += ["email", "batch_email"]
        return "; ".join(f"{name}: {self.refused[name]}" for name in needed if name in self.refused)


@contextmanager
def placed(directory: Path, system: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Be in the directory, with this environment, and with luigi's parsers as if just imported.

    Afterwards all is as it was: luigi's configuration is one for the process, and other tests run in it.
    """
    before, environ = Path.cwd(), dict(os.environ)
    parsers = {parser: (parser._instance, parser._config_paths) for parser in _PATHS}
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    for parser, paths in _PATHS.items():
        parser._instance = None
        parser._config_paths = [path.replace(SYSTEM, f"{system}/") for path in paths]
    LuigiTomlParser.data = {}
    Register.clear_instance_cache()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(environ)
        for parser, (instance, paths) in parsers.items():
            parser._instance, parser._config_paths = instance, paths
        LuigiTomlParser.data = {}
        Register.clear_instance_cache()


def read() -> Read:
    """What a luigid that is started here would run with."""
    found = Read()
    try:
        if "LUIGI_CONFIG_PATH" in os.environ:  # as luigi.configuration.core when it is imported
            luigi.configuration.core.add_config_path(os.environ["LUIGI_CONFIG_PATH"])
        config = luigi.configuration.get_config()
    except Exception as error:  # noqa: BLE001 - whatever it is, luigid ends with it
        found.refused["files"] = f"{type(error).__name__}: {error}"
        return found
    for name, config_class in CLASSES.items():
        try:
            made = config_class()
            found.values[name] = {option: getattr(made, option) for option, _ in config_class.get_params()}
        except Exception as error:  # noqa: BLE001 - as above
            found.refused[name] = f"{type(error).__name__}: {error}"
            continue
        for option, parameter in config_class.get_params():
            parameter_of = parameter._get_value_from_config
            old = parameter._config_path
            places = [(name, option)] + ([(old["section"], old["name"])] if old else [])
            if any(parameter_of(*place) is not _no_value for place in places):
                found.written.add((name, option))
    try:
        found.values["resources"] = dict(config.getintdict("resources"))
    except Exception as error:  # noqa: BLE001 - as above
        found.refused["resources"] = f"{type(error).__name__}: {error}"
    return found
