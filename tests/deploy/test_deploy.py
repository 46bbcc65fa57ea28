"""deploy/ is well formed, fits together, and names only what the programs have."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import luigi.configuration
import luigi.interface
import luigi.retcodes
import luigi.worker
import pytest
import typer.main
import yaml

from luigi_ha.appliance.api.metrics import Metrics
from luigi_ha.appliance.cli.app import app
from luigi_ha.appliance.config.options import Serve, names
from luigi_ha.appliance.config.sources import OTHER_VARIABLES
from luigi_ha.appliance.lab.plan import POSTGRES_BIN
from tests.support.patience import patient

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"
KUBERNETES = DEPLOY / "kubernetes"
MANIFESTS = sorted(path for path in KUBERNETES.glob("*.yaml") if path.name != "kustomization.yaml")
BIN = Path(sys.executable).parent


def documents(path: Path) -> list[Any]:
    return [found for found in yaml.safe_load_all(path.read_text()) if found]


def lint(*command: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=patient(120), check=False
    )


def stages() -> dict[str, str]:
    """The text of each stage by its name."""
    parts = re.split(r"^FROM \S+ AS ", DOCKERFILE.read_text(), flags=re.MULTILINE)[1:]
    return {part.split(maxsplit=1)[0]: part for part in parts}


def test_hadolint_has_nothing_to_say() -> None:
    done = lint(BIN / "hadolint", "--failure-threshold", "style", DOCKERFILE)
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_would_have(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN apt-get install x\nRUN echo $UNQUOTED\n")
    done = lint(BIN / "hadolint", tmp_path / "Dockerfile")
    assert done.returncode != 0
    assert {"DL3006", "DL3015", "SC2086"} <= set(re.findall(r"[DS][LC]\d{4}", done.stdout))


def test_images_are_pinned_unprivileged_watched_and_hold_no_secret() -> None:
    text = DOCKERFILE.read_text()
    for image in re.findall(r"^FROM (\S+)", text, re.MULTILINE):
        assert image in stages() or re.fullmatch(r"\S+:\d+\.\d+\.\d+-slim-\w+", image), image
    for name in ("scheduler", "worker"):
        stage = stages()[name]
        assert stage.index("\nUSER 10001:10001\n") < stage.index("\nENTRYPOINT ")
        assert "\nHEALTHCHECK " in stage
    assert not re.search(r"(?i)(password|token|secret)\S*=\S", text)
    copied = set(re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE))
    needed = {word for line in copied for word in line.split()}
    allowed = {line[1:] for line in Path(f"{DOCKERFILE}.dockerignore").read_text().splitlines() if line.startswith("!")}
    assert needed == allowed
    assert all((ROOT / name).exists() for name in needed)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests_fit_the_schemas_of_kubernetes(path: Path) -> None:
    for version in ("1.31", "1.37"):
        done = lint(BIN / "kubernetes-validate", "--strict", "--version", version, path)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_manifest_with_a_misspelt_field_would_not(tmp_path: Path) -> None:
    bad = (DEPLOY / "kubernetes" / "worker.yaml").read_text().replace("readinessProbe", "readynessProbe")
    (tmp_path / "bad.yaml").write_text(bad)
    assert lint(BIN / "kubernetes-validate", "--strict", tmp_path / "bad.yaml").returncode != 0


def worker_deployment() -> Any:
    return next(found for found in documents(DEPLOY / "kubernetes" / "worker.yaml") if found["kind"] == "Deployment")


def test_the_manifests_fit_together() -> None:
    found = {doc["kind"]: doc for path in MANIFESTS for doc in documents(path) if "adapter" not in path.name}
    deployment = worker_deployment()
    pod = deployment["spec"]["template"]
    labels = pod["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]
    secrets = [v["secret"]["secretName"] for v in pod["spec"]["volumes"] if "secret" in v]
    assert secrets == [found["Secret"]["metadata"]["name"]]
    [container] = pod["spec"]["containers"]
    assert {v["name"] for v in container["volumeMounts"]} == {v["name"] for v in pod["spec"]["volumes"]}
    assert container["envFrom"] == [{"configMapRef": {"name": found["ConfigMap"]["metadata"]["name"]}}]
    listed = documents(DEPLOY / "kubernetes" / "kustomization.yaml")[0]["resources"]
    assert all((DEPLOY / "kubernetes" / name).exists() for name in listed)
    slots = container["args"][container["args"].index("--workers") + 1]
    target = found["HorizontalPodAutoscaler"]["spec"]["metrics"][0]["external"]["target"]
    assert target["averageValue"] == slots


def test_the_autoscalers_metric_is_one_that_schedulers_have() -> None:
    adapter = documents(DEPLOY / "kubernetes" / "prometheus-adapter.yaml")[0]
    [rule] = yaml.safe_load(adapter["data"]["config.yaml"])["externalRules"]
    scaler = documents(DEPLOY / "kubernetes" / "autoscaler.yaml")[0]
    assert rule["name"]["as"] == scaler["spec"]["metrics"][0]["external"]["metric"]["name"]
    queried = set(re.findall(r"luigi_\w+", rule["seriesQuery"] + " " + rule["metricsQuery"]))
    assert queried == {"luigi_task_ready", "luigi_task_running"}
    registered = (ROOT / "appliance" / "node" / "metrics.py").read_text()
    always = Metrics().render().decode()
    assert all(f'"{name}"' in registered or f"\n{name} " in always for name in queried)


def worker_options() -> set[str]:
    group: Any = typer.main.get_command(app)
    command = group.get_command(None, "worker")
    return {word for option in command.params for word in (*option.opts, *option.secondary_opts)}


def worker_variables() -> set[str]:
    group: Any = typer.main.get_command(app)
    found = [option.envvar for option in group.get_command(None, "worker").params if getattr(option, "envvar", None)]
    return {name for each in found for name in ([each] if isinstance(each, str) else each)}


def test_options_of_the_worker_exist() -> None:
    [container] = worker_deployment()["spec"]["template"]["spec"]["containers"]
    compose = documents(DEPLOY / "compose" / "compose.yaml")[0]["services"]["worker"]["command"]
    [entry] = re.findall(r"^ENTRYPOINT (.+)$", stages()["worker"], re.MULTILINE)
    begun = json.loads(entry)
    words = [*container["args"], *compose, *begun[begun.index("worker") :]]
    assert {word for word in words if word.startswith("--")} <= worker_options()
    known = worker_variables() | {"LUIGI_HA_TOKEN"}
    config = documents(DEPLOY / "kubernetes" / "worker.yaml")[0]["data"]
    given = {each["name"] for each in container["env"]} | set(config)
    assert given <= known


def variables() -> Iterator[tuple[str, str]]:
    services = documents(DEPLOY / "compose" / "compose.yaml")[0]["services"]
    for name, service in services.items():
        for variable in service.get("environment", {}):
            yield name, variable
    for variable in re.findall(r"LUIGI_HA_\w+", stages()["scheduler"]):
        yield "scheduler-image", variable


def test_variables_are_options_of_the_program_that_gets_them() -> None:
    schedulers = {f"LUIGI_HA_{name.upper()}" for name in names(Serve)} | OTHER_VARIABLES
    for service, variable in variables():
        if service.startswith("scheduler"):
            assert variable in schedulers, variable
        elif service == "worker":
            assert variable in worker_variables(), variable


def test_the_compose_file_fits_together() -> None:
    compose = documents(DEPLOY / "compose" / "compose.yaml")[0]
    services = compose["services"]
    assert set(services) == {"etcd", "postgres", "scheduler-1", "scheduler-2", "worker"}
    for name, service in services.items():
        assert re.fullmatch(r"luigi-ha-\w+|\S+:v?\d+\.\d+(\.\d+)?(-\w+)?", service["image"]), name
        for needed, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            watched = services[needed]
            assert "healthcheck" in watched or "HEALTHCHECK" in stages()[watched["build"]["target"]]
        if "build" in service:
            context = DEPLOY / "compose" / service["build"]["context"]
            assert (context / service["build"]["dockerfile"]).resolve().is_file()
            assert (context / "pyproject.toml").is_file()
        assert set(service.get("secrets", [])) <= set(compose["secrets"])
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (DEPLOY / "compose" / source).is_dir(), volume
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), port
        for value in service.get("environment", {}).values():
            for host in re.findall(r"https?://([\w-]+):|@([\w-]+)/", str(value)):
                assert "".join(host) in services, value
    for secret in compose["secrets"].values():
        assert secret["file"].startswith("./secrets/")
    assert "/secrets/" in (DEPLOY / "compose" / ".gitignore").read_text()
    modules = [word for word in services["worker"]["command"] if not word.startswith("--") and not word.isdigit()]
    assert all((ROOT / "examples" / "patterns" / f"{name}.py").is_file() for name in modules)


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_shell_is_syntactically_right(shell: str) -> None:
    scripts = [path.read_text() for path in sorted((ROOT / "examples" / "shell").rglob("*")) if path.is_file()]
    [container] = worker_deployment()["spec"]["template"]["spec"]["containers"]
    command = container["lifecycle"]["preStop"]["exec"]["command"]
    assert command[:2] == ["sh", "-c"]
    for script in [*scripts, command[2]]:
        subprocess.run([shell, "-n"], input=script, text=True, check=True, timeout=patient(20))


def test_vector_reads_what_schedulers_and_workers_write() -> None:
    [config] = documents(DEPLOY / "logs" / "vector.yaml")
    parts = {**config["sources"], **config["transforms"]}
    for part in (*config["transforms"].values(), *config["sinks"].values()):
        assert set(part["inputs"]) <= set(parts)
    program = config["transforms"]["events"]["source"]
    assert program.count("{") == program.count("}")
    assert "line.time" in program
    for package in ("worker", "appliance"):
        assert '"time"' in (ROOT / package / "log.py").read_text()


def test_luigi_reads_its_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUIGI_HA_TOKEN", "lha_1_secret")
    parser = luigi.configuration.LuigiConfigParser()
    with (DEPLOY / "luigi.cfg").open() as file:
        parser.read_file(file)
    assert parser.get("core", "default_scheduler_url") == "http://luigi:lha_1_secret@scheduler.example:8082"
    for section, owner in (
        ("worker", luigi.worker.worker),
        ("retcode", luigi.retcodes.retcode),
        ("core", luigi.interface.core),
    ):
        known = {name for name, _ in owner.get_params()}
        clients = {"rpc_retry_wait", "rpc_retry_attempts", "autoload_range"} if section == "core" else set()
        wanted = set(parser.options(section)) - clients
        assert {name.replace("default_scheduler_url", "scheduler_url") for name in wanted} <= known


def test_databases_of_compose_are_versions_that_the_tests_run() -> None:
    services = documents(DEPLOY / "compose" / "compose.yaml")[0]["services"]
    etcd = subprocess.run(["etcd", "--version"], capture_output=True, text=True, check=True).stdout
    assert f"etcd Version: {services['etcd']['image'].rpartition(':v')[2]}\n" in etcd
    server = subprocess.run([POSTGRES_BIN / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    assert f"(PostgreSQL) {services['postgres']['image'].rpartition(':')[2].split('.')[0]}." in server
