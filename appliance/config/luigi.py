"""What luigid's configuration files say, as values of our options.

Invariant: files with which luigid runs are not refused, and say the same here. A name that nobody knows, or a wrong
value that does not keep luigid from its work, is a note; what keeps luigid from starting or from answering is refused
in one line.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from luigi_ha.appliance.config.errors import ConfigError
from luigi_ha.appliance.config.luigi_files import LuigiFiles, Raw, Unresolved, open_files
from luigi_ha.appliance.config.luigi_kinds import AMOUNT, Kind
from luigi_ha.appliance.config.luigi_options import (
    NOT_NEEDED,
    OPTIONS,
    UNUSED,
    LuigiOption,
    Need,
    Place,
    is_of_scheduler,
    is_of_workers,
)
from luigi_ha.appliance.config.origin import Note, Origin, Values, near
from luigi_ha.appliance.engine.settings import Settings

HIDDEN = "********"
_SECRET = frozenset({"password", "smtp_password"})
_READ = frozenset(section for option in OPTIONS for section, _ in (*option.places, *option.unread)) - {"core"}


def read_luigi(environment: Mapping[str, str]) -> tuple[Values, list[Note]]:
    """Read the files that luigid would read. ConfigError where luigid would not start, or would answer no call."""
    notes: list[Note] = []
    files = open_files(environment, notes)
    values: Values = {}
    for option in OPTIONS:
        collects = values.get(("scheduler", "batch_emails"))  # [scheduler] comes first
        needed = option.need is Need.ALWAYS or (option.need is Need.BATCH_EMAILS and collects and collects.value)
        origin = _value(files, option, notes, refuses=bool(needed))
        if origin is not None:
            values.update(dict.fromkeys(option.ours, origin))
    values.update(_ours(files))
    values.update(_resources(files, notes))
    notes += _remarks(files)
    return values, notes


def _value(files: LuigiFiles, option: LuigiOption, notes: list[Note], *, refuses: bool) -> Origin | None:
    """Return what luigid runs with; None if nothing, or nothing that can be used, is written."""
    for place in option.places:
        found = _found(files, place, option.kind)
        if isinstance(found, ConfigError):
            if refuses:
                raise found
            notes.append(Note(f"{found}; the default is used (luigid: {option.need.value})", warning=True))
            return None
        if found is not None:
            return found
    for place in option.unread:
        found = _found(files, place, option.kind)
        if isinstance(found, ConfigError):
            notes.append(Note(f"{found}; it is not used", warning=True))
        elif found is not None:
            section, name = option.places[0]
            notes.append(Note(f"{found.where}: [{place[0]}] {place[1]} is read as [{section}] {name}, which it means"))
            return found
    return None


def _found(files: LuigiFiles, place: Place, kind: Kind) -> Origin | ConfigError | None:
    """Return the value that is written at a place, what is wrong with it, or None."""
    try:
        raw = files.get(*place)
    except Unresolved as error:
        return ConfigError(error.where, error.what, f"expected {kind.expected}")
    return None if raw is None else _parsed(place, raw, kind)


def _parsed(place: Place, raw: Raw, kind: Kind) -> Origin | ConfigError:
    try:
        return Origin(kind.parse(raw.value), raw.where, checked=True)
    except (ValueError, TypeError, OverflowError, RecursionError):
        section, name = place
        shown = HIDDEN if name in _SECRET else repr(raw.value)[:80]
        return ConfigError(raw.where, f"[{section}] {name} = {shown}", f"expected {kind.expected}{_hint(raw.value)}")


def _ours(files: LuigiFiles) -> Values:
    """Options of [scheduler] that luigid does not know: ours, and checked as in our own file."""
    luigis = {name for option in OPTIONS for section, name in option.places if section == "scheduler"}
    values: Values = {}
    for name in sorted(Settings.names() - luigis):
        if set(files.spellings(name)) & set(files.own("scheduler")):
            try:
                raw = files.get("scheduler", name)
            except Unresolved as error:
                raise ConfigError(error.where, error.what) from None
            if raw is not None:
                values["scheduler", name] = Origin(raw.value, raw.where)
    return values


def _hint(value: Any) -> str:
    """What often is wrong with a text."""
    text = str(value)
    if any(mark in text for mark in (" #", " ;", "\t#", "\t;")):
        return "; a comment has a line of its own"
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return ", without quotes"
    return ""


def _resources(files: LuigiFiles, notes: list[Note]) -> Values:
    values: Values = {}
    lost = files.lost("resources")
    for name in files.own("resources"):
        if name in lost:
            what = "is in [DEFAULT] too, and luigid drops it: its total is 1, as of every resource without one"
            notes.append(Note(f"{files.where('resources', name)}: [resources] {name} {what}", warning=True))
            continue
        values["resources", name] = _total(files, name)
    return values


def _total(files: LuigiFiles, name: str) -> Origin:
    try:
        raw = files.exact("resources", name)
    except Unresolved as error:
        raise ConfigError(error.where, error.what, f"expected {AMOUNT.expected}") from None
    found = _parsed(("resources", name), raw, AMOUNT)
    if isinstance(found, ConfigError):
        raise found
    return found


def _remarks(files: LuigiFiles) -> Iterable[Note]:
    """Notes of what is written and has no effect."""
    for (section, name), reason in NOT_NEEDED.items():
        for written in set(files.spellings(name)) & set(files.own(section)):
            yield Note(f"{files.where(section, written)}: [{section}] {name} is not needed: {reason}")
    if "logging" in files.sections():
        yield Note(f"{files.where('logging')}: [logging] is not needed: see log_format and log_level")
    for name in files.own("core"):
        if is_of_scheduler(name):
            what = f"[core] {name} is not read; luigi's scheduler has it in [scheduler]"
            yield Note(f"{files.where('core', name)}: {what}", warning=True)
    for section in files.sections():
        if section in _READ:
            yield from _unknown(files, section)
        elif section != "resources":
            yield from _misspelt(files, section)


def _unknown(files: LuigiFiles, section: str) -> Iterable[Note]:
    known = {name for option in OPTIONS for place, name in (*option.places, *option.unread) if place == section}
    known |= set(UNUSED.get(section, ())) | {name for place, name in NOT_NEEDED if place == section}
    if section == "scheduler":
        known |= Settings.names()
    forms = {form for name in known for form in files.spellings(name)}
    for name in files.own(section):
        if name in forms:
            continue
        where = f"{files.where(section, name)}: [{section}]"
        if section == "scheduler" and is_of_workers(name):
            yield Note(f"{where} {name} is an option of workers: luigi reads it in their [worker]")
        else:
            yield Note(f"{where} has no option {name!r}{near(name, known)}", warning=True)


def _misspelt(files: LuigiFiles, section: str) -> Iterable[Note]:
    """A note if the section's name is nearly one that is read: of all the others, each is somebody's."""
    read = {*_READ, "resources"}
    plain = section.strip().lower()
    meant = plain if plain in read else next(iter(get_close_matches(plain, sorted(read), n=1, cutoff=0.8)), "")
    if meant:
        what = f"[{section}] is not read; did you mean [{meant}]?"
        yield Note(f"{files.where(section)}: {what}", warning=True)
