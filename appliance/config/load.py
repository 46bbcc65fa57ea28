"""From the sources to one checked `Options`: flags, environment, our TOML file, luigi.cfg, defaults.

The first of these that has a value wins; every value remembers its source, for `serve --check`.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from luigi_ha.appliance.config.environment import read_environment
from luigi_ha.appliance.config.errors import ConfigError
from luigi_ha.appliance.config.luigi import read_luigi
from luigi_ha.appliance.config.options import SECRET, Options, Serve, build, check_relations, coerce, number
from luigi_ha.appliance.config.origin import Origin, Values
from luigi_ha.appliance.config.sources import chosen_toml, read_toml
from luigi_ha.appliance.cors import Cors
from luigi_ha.appliance.engine.settings import Settings
from luigi_ha.appliance.mail import MailOptions

DEFAULT = "default"
HIDDEN = "********"
# The server's own defaults where they differ from the engine's, which are Luigi's.
PRUNE_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Loaded:
    """The options, where each came from, and what the operator should know."""

    options: Options
    origins: Mapping[tuple[str, str], str]
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    """Those of the notes that tell of something that was written, has no effect, and may have been meant."""

    def effective(self) -> list[tuple[str, str, Any, str]]:
        """(section, name, value, source) of every option; secrets redacted."""
        rows = []
        sections: list[tuple[str, Any]] = [
            ("", self.options.serve),
            ("scheduler", self.options.scheduler),
            ("cors", self.options.cors),
            ("email", self.options.email),
        ]
        for section, values in sections:
            for f in fields(values):
                value = getattr(values, f.name)
                if f.name in SECRET and value:
                    value = "********"
                elif f.name == "database":
                    value = redact(value)
                rows.append((section, f.name, value, self.origins.get((section, f.name), DEFAULT)))
        rows += [("resources", n, v, self.origins[("resources", n)]) for n, v in self.options.resources.items()]
        return rows

    def as_json(self) -> str:
        document: dict[str, Any] = {}
        for section, name, value, source in self.effective():
            place = document.setdefault(section, {}) if section else document
            place[name] = {"value": _json(value), "source": source}
        return json.dumps({**document, "notes": self.notes, "warnings": self.warnings}, indent=2)


def _json(value: Any) -> Any:
    """JSON has no infinity; `inf` is what our own file takes."""
    if isinstance(value, float) and math.isinf(value):
        return str(value)
    return dict(value) if isinstance(value, Mapping) else value


def load(flags: Mapping[str, Any], config: Path | None, environment: Mapping[str, str]) -> Loaded:
    """Read every source and check the whole; ConfigError says what, where and what would be right."""
    values, notes = read_luigi(environment)
    toml = chosen_toml(config, environment)
    if toml is not None:
        values.update(read_toml(toml))
    given, remarks = read_environment(environment)
    values.update(given)
    notes += remarks
    for name, value in flags.items():
        if value is not None:
            where = f"flag --{name.replace('_', '-')}"
            if name == "database" and redact(str(value)) != value:
                instead = "expected database_password_file, LUIGI_HA_DATABASE_PASSWORD, or the URL in LUIGI_HA_DATABASE"
                raise ConfigError(where, "holds a password, which everybody sees in the list of processes", instead)
            values["", name] = Origin(value, where)
    if ("scheduler", "prune_limit") not in values:
        values["scheduler", "prune_limit"] = Origin(PRUNE_LIMIT, DEFAULT)
    options = _build(values)
    origins = {place: origin.where for place, origin in values.items()}
    if options.scheduler.worker_grace > Settings().worker_grace:
        origins.setdefault(("scheduler", "worker_grace"), "not less than worker_disconnect_delay")
    return Loaded(
        options,
        origins,
        [note.text for note in notes],
        [note.text for note in notes if note.warning],
    )


def _build(values: Values) -> Options:
    def section(name: str, owner: type) -> Any:
        given = {
            key: origin.value if origin.checked else coerce(owner, key, origin.value, origin.where)
            for (where, key), origin in values.items()
            if where == name
        }
        return build(owner, given, lambda key: values[name, key].where if (name, key) in values else DEFAULT)

    def where(key: str) -> str:
        return next((origin.where for (_, name), origin in values.items() if name == key), DEFAULT)

    options = Options(
        serve=section("", Serve),
        scheduler=section("scheduler", Settings),
        resources={key: _total(key, origin) for (name, key), origin in values.items() if name == "resources"},
        cors=section("cors", Cors),
        email=section("email", MailOptions),
    )
    if ("scheduler", "worker_grace") not in values:
        grace = max(options.scheduler.worker_grace, options.scheduler.worker_disconnect_delay)
        options = replace(options, scheduler=replace(options.scheduler, worker_grace=grace))
    check_relations(options, where)
    form = options.scheduler.email_format
    email = options.email
    return replace(options, email=replace(email, html=email.html or form == "html", off=email.off or form == "none"))


def _total(name: str, origin: Origin) -> float:
    """A resource's total. Below 0, when luigid would take it so, nothing fits."""
    if origin.checked:
        amount = float(origin.value)
    else:
        try:
            amount = number(origin.value)
        except (ValueError, TypeError):
            amount = -1.0
        if amount < 0:
            raise ConfigError(origin.where, f"resource {name} = {origin.value!r}", "expected a number, 0 or more")
    return int(amount) if amount.is_integer() else amount


def database_url(serve: Serve) -> str:
    """The database URL with the password from its own option or file put in."""
    password = secret(serve.database_password, serve.database_password_file, "database_password_file")
    if not password:
        return serve.database
    scheme, separator, rest = serve.database.partition("://")
    account, at, place = rest.rpartition("@")
    if not at or redact(serve.database) != serve.database:
        expected = "a database URL with a user and no password, such as postgresql://luigi@db1/luigi"
        raise ConfigError("database", "a password is given, but the URL has no place for it", f"expected {expected}")
    return f"{scheme}{separator}{account}:{quote(password, safe='')}@{place}"


def secret(value: str, file: str, option: str) -> str:
    """A secret: given itself, or as the first line of a file; "" if neither."""
    if not file:
        return value
    path = Path(file)
    try:
        return (path.read_text(encoding="utf-8").splitlines() or [""])[0]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigError(option, f"{path} cannot be read: {reason}") from None


def redact(url: str) -> str:
    """Return the URL without its passwords: before the @, and in the options after the question mark."""
    scheme, separator, rest = url.partition("://")
    account, at, place = rest.rpartition("@")
    user, colon, _password = account.partition(":")
    secret = HIDDEN if colon else ""
    place, mark, query = place.partition("?")
    options = "&".join(_redacted(option) for option in query.split("&"))
    return f"{scheme}{separator}{user}{':' if colon else ''}{secret}{at}{place}{mark}{options}"


def _redacted(option: str) -> str:
    name, equals, _value = option.partition("=")
    return f"{name}{equals}{HIDDEN}" if "pass" in unquote(name).lower() else option
