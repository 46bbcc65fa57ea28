"""Luigi's configuration files: which of them luigid reads, and their text as luigid reads it.

All files of one run are read into one, the later stronger, so that [DEFAULT] and %(name)s of one file work in the
others; a value is looked at only when somebody asks for it, so that a ${VARIABLE} that is not set, in an option that
luigid does not use, is nothing to it. A name that is not its section's own is [DEFAULT]'s.

What luigid passes over in silence (a file that is not there, or that it may not read) is passed over with a note.
"""

import configparser
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from luigi_ha.appliance.config.errors import ConfigError
from luigi_ha.appliance.config.origin import Note

CFG_FILES = ("/etc/luigi/client.cfg", "/etc/luigi/luigi.cfg", "client.cfg", "luigi.cfg")
TOML_FILES = ("/etc/luigi/luigi.toml", "luigi.toml")
PARSERS = {"cfg": "cfg", "conf": "cfg", "ini": "cfg", "toml": "toml"}  # LUIGI_CONFIG_PARSER, and endings of names
DEFAULT = configparser.DEFAULTSECT
_NO_SECTION = "\0"  # no line of a file can be its head
_VARIABLE = re.compile(r"\$\{([^}]+)\}")


class Raw(NamedTuple):
    """What is written for an option, and where."""

    value: Any
    where: str


class Unresolved(Exception):  # noqa: N818 - the value is, nothing has failed
    """A value refers to what is not there. `where` and `what` are for people."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(what)
        self.where = where
        self.what = what


class LuigiFiles(Protocol):
    """All files as one."""

    def sections(self) -> list[str]:
        """Return the sections' names."""

    def own(self, section: str) -> list[str]:
        """Return the names that are written in the section itself."""

    def get(self, section: str, name: str) -> Raw | None:
        """Return what luigid finds for the option; Unresolved if that refers to nothing."""

    def exact(self, section: str, name: str) -> Raw:
        """Return what is written for a name of the section, in that very spelling; Unresolved as above."""

    def spellings(self, name: str) -> tuple[str, ...]:
        """Return the ways to write an option's name, the one that counts first."""

    def where(self, section: str, name: str = "") -> str:
        """Return file:line of what counts, for people."""

    def lost(self, section: str) -> list[str]:
        """Return the names in the section that luigid drops where it takes all there are, as of [resources]."""


def open_files(environment: Mapping[str, str], notes: list[Note]) -> LuigiFiles:
    """Read the files that luigid would read in this environment and directory."""
    parser = environment.get("LUIGI_CONFIG_PARSER", "cfg")
    if parser not in PARSERS:
        what = f"{parser!r} is none of {', '.join(PARSERS)}: luigi takes cfg, and so do we"
        notes.append(Note(f"environment variable LUIGI_CONFIG_PARSER: {what}", warning=True))
        parser = "cfg"
    kind = PARSERS[parser]
    paths = [*(TOML_FILES if kind == "toml" else CFG_FILES), *_named(environment, parser, notes)]
    last = [path for place, path in enumerate(paths) if path not in paths[place + 1 :]]  # where the strongest is
    texts = [(path, text) for path in last if (text := _read(Path(path), notes)) is not None]
    return _Toml(texts) if kind == "toml" else _Cfg(texts, environment)


def _named(environment: Mapping[str, str], parser: str, notes: list[Note]) -> Iterable[str]:
    """Yield the file of LUIGI_CONFIG_PATH if luigi reads it."""
    named = environment.get("LUIGI_CONFIG_PATH", "")
    if not named:
        return
    where = "environment variable LUIGI_CONFIG_PATH"
    if not os.path.isfile(named):  # noqa: PTH113 - false for whatever the system says of the name, as for luigi
        notes.append(Note(f"{where}: there is no file {named!r}; luigi goes on without it, and so do we", warning=True))
        return
    ending = os.path.splitext(named)[1][1:]  # noqa: PTH122 - what luigi does: ".toml" alone has no ending
    needed = PARSERS.get(ending, PARSERS[parser])
    if needed == PARSERS[parser]:
        yield named
        return
    what = f"luigi does not read {named!r} without LUIGI_CONFIG_PARSER={needed}, nor do we"
    notes.append(Note(f"{where}: {what}", warning=True))


def _read(path: Path, notes: list[Note]) -> str | None:
    """Return the file's text with \\n at the end of lines; None if there is no such file, or none that can be read."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        reason = f"cannot be read: {os.strerror(error.errno or 0)}"
        if path.suffix == ".toml" and path.is_file():
            raise ConfigError(str(path), reason, "luigid refuses it too") from None
        notes.append(Note(f"{path} {reason}; luigi goes on without it, and so do we", warning=True))
        return None
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError(str(path), "is UTF-16 text", "expected UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        notes.append(Note(f"{path}:{line} is not UTF-8; the file is read as ISO 8859-1", warning=True))
        text = content.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")


class _Interpolation(configparser.BasicInterpolation):
    """%(name)s, then ${VARIABLE} from the environment, as in luigi: what a variable holds is not looked at again."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def before_get(self, parser: Any, section: str, option: str, value: str, defaults: Any) -> str:
        text = super().before_get(parser, section, option, value, defaults)
        return _VARIABLE.sub(lambda found: self._variable(section, option, found[1]), text)

    def _variable(self, section: str, option: str, name: str) -> str:
        try:
            return self._environment[name]
        except KeyError:
            what = f"environment variable {name} is not set"
            raise configparser.InterpolationError(option, section, what) from None


class _Cfg:
    """Files of the form of luigi.cfg."""

    def __init__(self, texts: list[tuple[str, str]], environment: Mapping[str, str]) -> None:
        self._parser = configparser.ConfigParser(interpolation=_Interpolation(environment))
        self._parser.optionxform = str  # type: ignore[assignment, method-assign]
        self._files = [(path, text, _own_names(path, text)) for path, text in texts]
        for path, text in texts:
            try:
                self._parser.read_string(text, source=path)
            except configparser.Error as error:
                raise _refused(path, text, error) from None

    def sections(self) -> list[str]:
        return self._parser.sections()

    def own(self, section: str) -> list[str]:
        found = [name for _, _, names in self._files if names.has_section(section) for name in names.options(section)]
        return list(dict.fromkeys(found))

    def get(self, section: str, name: str) -> Raw | None:
        for spelled in self.spellings(name):
            if self._parser.has_option(section, spelled):  # written there, or in [DEFAULT]
                return self.exact(section, spelled)
        return None

    def exact(self, section: str, name: str) -> Raw:
        try:
            return Raw(self._parser.get(section, name), self.where(section, name))
        except configparser.InterpolationError as error:
            what = f"[{section}] {name}: {_interpolation(error)}"
            raise Unresolved(self.where(section, name), what) from None

    def spellings(self, name: str) -> tuple[str, ...]:
        return name.replace("-", "_"), name.replace("_", "-")

    def where(self, section: str, name: str = "") -> str:
        for looked in (section, DEFAULT):
            for path, text, names in reversed(self._files):
                if names.has_section(looked) and (not name or names.has_option(looked, name)):
                    return line_of(path, text, looked, name)
        return section

    def lost(self, section: str) -> list[str]:
        return [name for name in self.own(section) if name in self._parser.defaults()]


class _Toml:
    """Files of the form of luigi.toml: no [DEFAULT], no dashes for underscores, nothing that refers to something."""

    def __init__(self, texts: list[tuple[str, str]]) -> None:
        self._texts = texts
        self._tables: dict[str, dict[str, Any]] = {}
        for path, text in texts:
            for name, table in parsed_toml(path, text).items():
                if not isinstance(table, Mapping):
                    where = line_of(path, text, "", name)
                    raise ConfigError(where, f"{name} is in no section", "expected [section] above it, as luigi does")
                self._tables.setdefault(name, {}).update(table)

    def sections(self) -> list[str]:
        return list(self._tables)

    def own(self, section: str) -> list[str]:
        return list(self._tables.get(section, {}))

    def get(self, section: str, name: str) -> Raw | None:
        table = self._tables.get(section, {})
        return self.exact(section, name) if name in table else None

    def exact(self, section: str, name: str) -> Raw:
        return Raw(self._tables[section][name], self.where(section, name))

    def spellings(self, name: str) -> tuple[str, ...]:
        return (name,)

    def where(self, section: str, name: str = "") -> str:
        places = [line_of(path, text, section, name) for path, text in reversed(self._texts)]
        files = {path for path, _ in self._texts}
        return next((place for place in places if place not in files), places[0] if places else section)

    def lost(self, section: str) -> list[str]:  # noqa: ARG002 - as the other
        return []


def parsed_toml(path: str, text: str) -> dict[str, Any]:
    """Return the document; ConfigError if it is none, or has numbers or depths that Python does not take."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(path, f"not TOML: {error}") from None


def _own_names(path: str, text: str) -> configparser.RawConfigParser:
    """Return the file's sections, [DEFAULT] as one of them, without values resolved or inherited."""
    names = configparser.RawConfigParser(default_section=_NO_SECTION, strict=False)
    names.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        names.read_string(text, source=path)
    except configparser.Error as error:
        raise _refused(path, text, error) from None
    return names


def _refused(path: str, text: str, error: configparser.Error) -> ConfigError:
    """What luigid refuses too, with a traceback."""
    match error:
        case configparser.DuplicateOptionError():
            where, what = f"{path}:{error.lineno}", f"[{error.section}] has {error.option!r} twice"
            return ConfigError(where, what, "luigid refuses it too: expected it once")
        case configparser.DuplicateSectionError():
            return ConfigError(
                f"{path}:{error.lineno}", f"[{error.section}] is there twice", "luigid refuses it too: expected it once"
            )
        case configparser.MissingSectionHeaderError():
            what = f"{error.line.strip()[:80]!r} is in no section"
            return ConfigError(f"{path}:{error.lineno}", what, "luigid refuses it too: expected [section] above it")
        case configparser.ParsingError() if error.errors:
            number = error.errors[0][0]
            what = f"{text.split(chr(10))[number - 1].strip()[:80]!r} is no option"
            return ConfigError(f"{path}:{number}", what, "luigid refuses it too: expected name = value")
    return ConfigError(path, str(error).replace("\n", " "))


def _interpolation(error: configparser.InterpolationError) -> str:
    if isinstance(error, configparser.InterpolationMissingOptionError):
        return f"%({error.reference})s refers to an option that is not there"
    if isinstance(error, configparser.InterpolationSyntaxError):
        return "a percent sign that begins no %(name)s; one of its own is written %%"  # the rest may be a password
    if isinstance(error, configparser.InterpolationDepthError):
        return "it refers to itself"
    return str(error.message)


def line_of(path: str | Path, text: str, section: str, key: str = "") -> str:
    """Return path:line of the key in its section (of the section without a key), or the path if it is not found."""
    current = ""
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if stripped.startswith("[") and "]" in stripped:
            current = stripped[1 : stripped.rindex("]")].strip("[]").strip("\"'")
            if current == f"{section}.{key}".strip("."):
                return f"{path}:{number}"
        elif key and current == section and re.match(rf"[\"']?{re.escape(key)}[\"']?\s*[=:]", stripped):
            return f"{path}:{number}"
    return str(path)
