"""Our own configuration file. Every name in it must be known, and every value of its option's type.

Sections: "" (the server), "scheduler", "resources", "cors", "email". Every value remembers its line.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from luigi_ha.appliance.config.environment import SECTIONS, is_link
from luigi_ha.appliance.config.errors import ConfigError, unknown_key
from luigi_ha.appliance.config.luigi_files import line_of, parsed_toml
from luigi_ha.appliance.config.options import Serve, names
from luigi_ha.appliance.config.origin import Origin, Values

SYSTEM_TOML = Path("/etc/luigi-ha/luigi-ha.toml")


def chosen_toml(config: Path | None, environment: Mapping[str, str]) -> Path | None:
    """Return our file: the one that is given, that LUIGI_HA_CONFIG names, or the system's if it is there."""
    named = environment.get("LUIGI_HA_CONFIG", "")
    if config is None and named and not is_link(named):
        return Path(named)
    return config if config is not None or not SYSTEM_TOML.is_file() else SYSTEM_TOML


def read_toml(path: Path) -> Values:
    """Our own configuration file. Every key must be known."""
    text = _read(path)
    document = parsed_toml(str(path), text)
    values: Values = {}
    for key, value in document.items():
        if key in ("scheduler", "cors", "email", "resources") and isinstance(value, Mapping):
            for name, inner in value.items():
                where = line_of(path, text, key, name)
                values[key, _known(key, name, where)] = Origin(inner, where)
        else:
            where = line_of(path, text, "", key)
            name = key.replace("-", "_")
            if name not in names(Serve):
                raise unknown_key(
                    where, "option", key, [*names(Serve), "[scheduler]", "[resources]", "[cors]", "[email]"]
                )
            values["", name] = Origin(value, where)
    return values


def _known(section: str, key: str, where: str) -> str:
    """Our name of a section's option, dashes or underscores; resources have any name."""
    if section == "resources":
        return key
    name = key.replace("-", "_")
    if name not in names(SECTIONS[section]):
        raise unknown_key(where, f"[{section}] option", key, names(SECTIONS[section]))
    return name


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {os.strerror(error.errno or 0)}") from None
    except UnicodeDecodeError:
        raise ConfigError(str(path), "is not UTF-8 text") from None
