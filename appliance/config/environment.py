"""Options from environment variables, `LUIGI_HA_<OPTION>`.

An environment is shared: with the other commands and the workers of the machine, and with Kubernetes, which sets
`LUIGI_HA_PORT=tcp://10.0.0.1:8082` and a dozen more for each Service of the namespace whose name begins with
`luigi-ha`; so do Docker's links. What is not ours, or is a link where we expect something else, is a note. A value of
ours that is wrong otherwise is an error.
"""

import re
from collections.abc import Iterable, Mapping

from luigi_ha.appliance.config.options import Serve, names
from luigi_ha.appliance.config.origin import Note, Origin, Values, near
from luigi_ha.appliance.config.variables import OTHER_VARIABLES
from luigi_ha.appliance.cors import Cors
from luigi_ha.appliance.engine.settings import Settings
from luigi_ha.appliance.mail import MailOptions

PREFIX = "LUIGI_HA_"
SECTIONS: dict[str, type] = {"scheduler": Settings, "cors": Cors, "email": MailOptions}
_URLS = frozenset({("", "database"), ("", "advertise"), ("", "etcd_endpoints")})
_LINK = re.compile(r"(tcp|udp|sctp)://(\[[0-9a-f:.]+\]|[^\s:/@]+)(:\d{1,5})?", re.IGNORECASE)
_OF_SERVICE = re.compile(
    r"(?P<service>LUIGI_HA(_[A-Z0-9_]+?)??)"
    r"_(?P<what>SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?|NAME|ENV_\w+)"
)


def is_link(value: str) -> bool:
    """Whether this is the address of a Service, or of a container, as Kubernetes and Docker write it."""
    return _LINK.fullmatch(value.strip()) is not None


def read_environment(environment: Mapping[str, str]) -> tuple[Values, list[Note]]:
    """LUIGI_HA_PORT=..., LUIGI_HA_SCHEDULER_RETRY_DELAY=..., LUIGI_HA_RESOURCES_GPU=...; and what is not used."""
    values: Values = {}
    notes: list[Note] = []
    foreign: dict[str, list[str]] = {}
    for variable, value in environment.items():
        if not variable.startswith(PREFIX) or variable in OTHER_VARIABLES or not value.strip():  # empty: as if not set
            continue
        service = _service(variable, value, environment)
        place = _place(variable)
        if service is not None:
            foreign.setdefault(service, []).append(variable)
        elif place is not None and is_link(value) and place not in _URLS:
            notes.append(Note(f"environment variable {variable} = {value} is a link to a Service: not used"))
        elif place is not None:
            values[place] = Origin(value, f"environment variable {variable}")
        else:
            what = f"environment variable {variable} is no option, and not used"
            notes.append(Note(f"{what}{near(variable, _known())}", warning=True))
    return values, notes + [_told(service, variables, environment) for service, variables in foreign.items()]


def _place(variable: str) -> tuple[str, str] | None:
    """Return the option that the variable sets."""
    name = variable.removeprefix(PREFIX).lower()
    section, _, rest = name.partition("_")
    if name in names(Serve):
        return "", name
    if (section == "resources" and rest) or (section in SECTIONS and rest in names(SECTIONS[section])):
        return section, rest
    return None


def _known() -> list[str]:
    known = [*names(Serve), *(f"{section}_{name}" for section, owner in SECTIONS.items() for name in names(owner))]
    return [PREFIX + name.upper() for name in known] + sorted(OTHER_VARIABLES)


def _service(variable: str, value: str, environment: Mapping[str, str]) -> str | None:
    """Return the Service, as in its variables' names, if this is one of those that are set for it.

    They come together: a name that could be an option of ours is theirs only beside <SERVICE>_PORT=tcp://...
    """
    found = _OF_SERVICE.fullmatch(variable)
    if found is None:
        return None
    service, what = found["service"], found["what"]
    if what == "PORT":
        return service if is_link(value) else None
    linked = is_link(environment.get(f"{service}_PORT", ""))
    if what == "NAME":  # Docker's: /container/alias
        return service if linked and value.startswith("/") else None
    if what.startswith("ENV_"):
        return service if linked else None
    return service if linked or _place(variable) is None else None


def _told(service: str, variables: list[str], environment: Mapping[str, str]) -> Note:
    shown = next((f"{name} = {environment[name]}" for name in variables if is_link(environment[name])), variables[0])
    more = f" and {len(variables) - 1} more" if len(variables) > 1 else ""
    told = f"environment variable {shown}{more}: of the Service {service.lower().replace('_', '-')}, and not used"
    return Note(f"{told} (enableServiceLinks: false would leave them out)")


def links(environment: Mapping[str, str], variables: Iterable[str]) -> list[str]:
    """Return those of the variables that hold a link, and so no value for a command's option."""
    return [name for name in variables if not name.endswith(("_URL", "_URLS")) and is_link(environment.get(name, ""))]
