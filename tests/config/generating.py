"""Configuration files and environments as they are found, good and bad, from a seed."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.config import texts

CFG_PLACES = ("/etc/luigi/client.cfg", "/etc/luigi/luigi.cfg", "client.cfg", "luigi.cfg")
TOML_PLACES = ("/etc/luigi/luigi.toml", "luigi.toml")


@dataclass
class Case:
    """Files (None: a directory of that name) and environment variables."""

    files: dict[str, bytes | None] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def toml(self) -> bool:
        """Whether luigi's parser is the one for TOML."""
        return self.environment.get("LUIGI_CONFIG_PARSER") == "toml"

    def write(self, directory: Path, system: Path) -> None:
        """Make the files; those of /etc/luigi in `system`."""
        for name, content in self.files.items():
            path = system / Path(name).name if name.startswith("/etc/luigi/") else directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.mkdir()
            else:
                path.write_bytes(content)

    def text(self) -> str:
        """Return what is in all files."""
        return "\n".join((content or b"").decode("latin-1") for content in self.files.values())

    def __str__(self) -> str:
        contents = {name: content or b"(empty, or a directory)" for name, content in self.files.items()}
        shown = [f"--- {name}\n{content.decode('latin-1')}" for name, content in contents.items()]
        return "\n".join([*shown, f"--- environment {self.environment}", f"--- {self!r}"])


def generate(seed: int, cases: int) -> Iterator[Case]:
    """Yield so many cases."""
    rng = random.Random(seed)
    for _ in range(cases):
        yield _toml_case(rng) if rng.random() < 0.25 else _cfg_case(rng)


def _cfg_case(rng: random.Random) -> Case:
    case = Case(environment=_environment(rng))
    if rng.random() < 0.15:
        case.environment["LUIGI_CONFIG_PARSER"] = rng.choice(["cfg", "ini", "conf", "CFG", "json", "", "yaml"])
    places = rng.sample(CFG_PLACES, k=rng.choice([1, 1, 1, 2, 2, 3, 4]))
    if rng.random() < 0.5:
        places = list(dict.fromkeys([*places, "luigi.cfg"]))
    if rng.random() < 0.35:
        named = rng.choice(["named.cfg", "conf/named.ini", "named.conf", "named", ".toml", "luigi.cfg", "my.luigi"])
        places = list(dict.fromkeys([*places, named]))
        case.environment["LUIGI_CONFIG_PATH"] = named
    elif rng.random() < 0.15:
        case.environment["LUIGI_CONFIG_PATH"] = rng.choice(["gone.cfg", "a.cfg:b.cfg", "", "conf", "named.toml"])
    for place in places:
        case.files[place] = None if rng.random() < 0.01 else texts.encoded(rng, texts.ini(rng))
    if rng.random() < 0.05:
        case.files["luigi.toml"] = texts.toml(rng).encode()
    if case.environment.get("LUIGI_CONFIG_PATH") == "named.toml":
        case.files["named.toml"] = texts.toml(rng).encode()
    return case


def _toml_case(rng: random.Random) -> Case:
    case = Case(environment=_environment(rng) | {"LUIGI_CONFIG_PARSER": "toml"})
    places = rng.sample(TOML_PLACES, k=rng.choice([1, 1, 2]))
    if rng.random() < 0.3:
        named = rng.choice(["named.toml", "named", "luigi.toml"])
        places = list(dict.fromkeys([*places, named]))
        case.environment["LUIGI_CONFIG_PATH"] = named
    elif rng.random() < 0.15:
        case.environment["LUIGI_CONFIG_PATH"] = rng.choice(["gone.toml", "named.cfg", ""])
    for place in places:
        case.files[place] = None if rng.random() < 0.01 else texts.toml(rng).encode()
    for place in rng.sample(CFG_PLACES, k=rng.choice([0, 0, 0, 1])):
        case.files[place] = texts.ini(rng).encode()
    if case.environment.get("LUIGI_CONFIG_PATH") == "named.cfg":
        case.files["named.cfg"] = texts.ini(rng).encode()
    return case


def _environment(rng: random.Random) -> dict[str, str]:
    environment = dict(texts.VARIABLES)
    if rng.random() < 0.3:
        for service in rng.sample(["", "_WORKER", "_METRICS", "_SCHEDULER", "_RESOURCES", "_EMAIL", "_DATABASE"], k=2):
            environment.update(service_variables(rng, f"LUIGI_HA{service}"))
    if rng.random() < 0.2:
        environment.update(
            LUIGI_HA_WORKERS="4",
            LUIGI_HA_SCHEDULER_URL="http://n1:8082",
            LUIGI_HA_STATE_DIR="/var/lib/luigi-ha-worker",
            LUIGI_HA_WORKER_ID="w1",
            LUIGI_HA_CA_FILE="/etc/ca.pem",
        )
    if rng.random() < 0.1:
        environment[f"LUIGI_HA_{rng.choice(['PROT', 'DATABSE', 'RELEASE', 'VERSION', 'HELM_CHART'])}"] = "1"
    return environment


def service_variables(rng: random.Random, service: str) -> dict[str, str]:
    """Return what Kubernetes sets for a Service, https://kubernetes.io/docs/concepts/services-networking/service/."""
    address = rng.choice(["10.96.3.17", "fd00:10:96::c0de"])
    port, protocol = rng.choice([(8082, "tcp"), (9100, "tcp"), (53, "udp"), (36412, "sctp")])
    link = f"{protocol}://{f'[{address}]' if ':' in address else address}:{port}"
    of_port = f"{service}_PORT_{port}_{protocol.upper()}"
    variables = {
        f"{service}_SERVICE_HOST": address,
        f"{service}_SERVICE_PORT": str(port),
        f"{service}_PORT": link,
        of_port: link,
        f"{of_port}_PROTO": protocol,
        f"{of_port}_PORT": str(port),
        f"{of_port}_ADDR": address,
    }
    if rng.random() < 0.5:
        variables[f"{service}_SERVICE_PORT_{rng.choice(['HTTP', 'METRICS', 'WEB_UI'])}"] = str(port)
    return variables
