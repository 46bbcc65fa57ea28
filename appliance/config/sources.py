"""Reading the places where options come from, each into plain (section, key) -> value with its origin.

Sections: "" (the server), "scheduler", "resources", "cors", "email" (with "smtp" and "batch-notifier" feeding
both "email" and "scheduler"). Every value remembers where it was written, with its line where there is one.
"""

import configparser
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from luigi_ha.appliance.config.errors import ConfigError, unknown_key
from luigi_ha.appliance.config.options import Serve, names
from luigi_ha.appliance.config.variables import OTHER_VARIABLES
from luigi_ha.appliance.cors import Cors
from luigi_ha.appliance.engine.settings import Settings
from luigi_ha.appliance.mail import MailOptions

ENV_PREFIX = "LUIGI_HA_"
SYSTEM_TOML = Path("/etc/luigi-ha/luigi-ha.toml")
LUIGI_FILES = ("/etc/luigi/client.cfg", "/etc/luigi/luigi.cfg", "client.cfg", "luigi.cfg")
# Options of luigid's [scheduler] that mean nothing here, and why.
NOT_NEEDED = {
    "state_path": "the state is in the database",
    "metrics_collector": "/metrics is always there",
    "metrics_custom_import": "/metrics is always there",
}
# Luigi's [batch-notifier], [email] and [smtp] options -> ours.
BATCH_NOTIFIER = {
    "email_interval_minutes": "email_interval_minutes",
    "batch_mode": "email_batch_mode",
    "error_lines": "email_error_lines",
    "error_messages": "email_error_messages",
    "group_by_error_messages": "email_group_by_error_messages",
}
_RECEIVERS = [("email", "receivers"), ("scheduler", "email_receivers")]
MAIL = {
    ("email", "receiver"): _RECEIVERS,
    ("email", "format"): [("scheduler", "email_format")],
    ("email", "sender"): [("email", "sender")],
    ("email", "prefix"): [("email", "prefix")],
    ("core", "error_email"): _RECEIVERS,
    ("core", "email_sender"): [("email", "sender")],
    ("core", "email_prefix"): [("email", "prefix")],
}
SECTIONS: dict[str, type] = {"scheduler": Settings, "cors": Cors, "email": MailOptions}


class Origin(NamedTuple):
    """A value and where it was written, for people."""

    value: Any
    where: str


Values = dict[tuple[str, str], Origin]


def read_toml(path: Path) -> Values:
    """Our own configuration file. Every key must be known."""
    text = _read(path)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(path), f"not TOML: {error}") from None
    values: Values = {}
    for key, value in document.items():
        if key in ("scheduler", "cors", "email", "resources") and isinstance(value, Mapping):
            for name, inner in value.items():
                where = _line(path, text, key, name)
                values[key, _known(key, name, where)] = Origin(inner, where)
        else:
            where = _line(path, text, "", key)
            name = key.replace("-", "_")
            if name not in names(Serve):
                raise unknown_key(
                    where, "option", key, [*names(Serve), "[scheduler]", "[resources]", "[cors]", "[email]"]
                )
            values["", name] = Origin(value, where)
    return values


def read_environment(environment: Mapping[str, str]) -> Values:
    """LUIGI_HA_PORT=..., LUIGI_HA_SCHEDULER_RETRY_DELAY=..., LUIGI_HA_RESOURCES_GPU=..."""
    values: Values = {}
    for variable, value in environment.items():
        if not variable.startswith(ENV_PREFIX) or variable in OTHER_VARIABLES:
            continue
        name = variable.removeprefix(ENV_PREFIX).lower()
        section, _, rest = name.partition("_")
        where = f"environment variable {variable}"
        if name in names(Serve):
            values["", name] = Origin(value, where)
        elif section == "resources" and rest:
            values["resources", rest] = Origin(value, where)
        elif section in SECTIONS and rest in names(SECTIONS[section]):
            values[section, rest] = Origin(value, where)
        else:
            known = [*names(Serve), *(f"{s}_{n}" for s, owner in SECTIONS.items() for n in names(owner))]
            raise unknown_key(
                where, "variable", variable, [ENV_PREFIX + k.upper() for k in known] + sorted(OTHER_VARIABLES)
            )
    return values


def luigi_files(environment: Mapping[str, str]) -> list[Path]:
    """Where luigi itself would look, the last one strongest."""
    found = [Path(name) for name in LUIGI_FILES if Path(name).is_file()]
    named = environment.get("LUIGI_CONFIG_PATH")
    if named:
        if not Path(named).is_file():
            raise ConfigError("environment variable LUIGI_CONFIG_PATH", f"no file {named!r}")
        found.append(Path(named))
    return found


def read_luigi(path: Path, environment: Mapping[str, str]) -> tuple[Values, list[str]]:
    """[scheduler], [resources], [cors], [batch-notifier], [email], [smtp] of a luigi.cfg (or luigi.toml); and notes."""
    text = _read(path)
    if path.suffix == ".toml":
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(str(path), f"not TOML: {error}") from None
        sections = {name: dict(table) for name, table in document.items() if isinstance(table, Mapping)}
    else:
        sections = _read_ini(path, text, environment)
    values: Values = {}
    notes: list[str] = []
    for section, table in sections.items():
        for key, value in table.items():
            where = _line(path, text, section, key)
            if section == "scheduler" and key.replace("-", "_") in NOT_NEEDED:
                notes.append(f"{where}: [scheduler] {key} is not needed: {NOT_NEEDED[key.replace('-', '_')]}")
            else:
                for place in _luigi_places(section, key, where):
                    values[place] = Origin(value, where)
    return values, notes


def _luigi_places(section: str, key: str, where: str) -> list[tuple[str, str]]:
    """Which of our options a luigi.cfg option sets."""
    name = key.replace("-", "_")
    if section in ("scheduler", "cors", "resources"):
        return [(section, _known(section, key, where))]
    if section in ("batch-notifier", "batch_notifier"):
        if name not in BATCH_NOTIFIER:
            raise unknown_key(where, f"[{section}] option", key, BATCH_NOTIFIER)
        return [("scheduler", BATCH_NOTIFIER[name])]
    if section == "smtp" and name in names(MailOptions) - {"sender", "receivers", "prefix", "html"}:
        return [("email", name)]
    return MAIL.get((section, name), [])


def _known(section: str, key: str, where: str) -> str:
    """Our name of a section's option, dashes or underscores; resources have any name."""
    if section == "resources":
        return key
    name = key.replace("-", "_")
    if name not in names(SECTIONS[section]):
        raise unknown_key(where, f"[{section}] option", key, names(SECTIONS[section]))
    return name


class _Interpolation(configparser.BasicInterpolation):
    """%(name)s, then ${VARIABLE} from the environment, as in luigi."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def before_get(self, parser: Any, section: str, option: str, value: str, defaults: Any) -> str:
        text = super().before_get(parser, section, option, value, defaults)
        return re.sub(r"\$\{([^}]+)\}", self._variable, text)

    def _variable(self, found: re.Match[str]) -> str:
        try:
            return self._environment[found[1]]
        except KeyError:
            raise configparser.Error(f"environment variable {found[1]} is not set") from None


def _read_ini(path: Path, text: str, environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    parser = configparser.ConfigParser(interpolation=_Interpolation(environment))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    wanted = ("scheduler", "resources", "cors", "batch-notifier", "batch_notifier", "email", "smtp", "core")
    try:
        parser.read_string(text, source=str(path))
        defaults = parser.defaults()
        return {
            name: {key: parser.get(name, key) for key in parser[name] if key not in defaults}
            for name in wanted
            if parser.has_section(name)
        }
    except configparser.Error as error:
        raise ConfigError(str(path), str(error).replace("\n", " ")) from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {os.strerror(error.errno or 0)}") from None
    except UnicodeDecodeError:
        raise ConfigError(str(path), "is not UTF-8 text") from None


def _line(path: Path, text: str, section: str, key: str) -> str:
    """path:line of the key in its section, or the path alone if it cannot be found."""
    current = ""
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("[") and "]" in stripped:
            current = stripped.strip("[] ").strip("\"'")
            if f"{section}.{key}".strip(".") == current:
                return f"{path}:{number}"
        elif current == section and re.match(rf"[\"']?{re.escape(key)}[\"']?\s*[=:]", stripped):
            return f"{path}:{number}"
    return str(path)
