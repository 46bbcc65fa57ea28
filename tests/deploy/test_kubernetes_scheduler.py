"""The schedulers' manifests: as they are, and as the overlay changes them, they are valid and fit together."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from luigi_ha.appliance.config.options import Serve, names
from tests.deploy.test_deploy import BIN, KUBERNETES, documents, lint

VARIANTS = ("scheduler", "scheduler-leader-only")


def made(variant: str) -> list[dict[str, Any]]:
    """What `kubectl kustomize` makes of a directory, as far as these use it: resources, and JSON patches by target."""
    place = KUBERNETES / variant
    [kustomization] = documents(place / "kustomization.yaml")
    found: list[dict[str, Any]] = []
    for name in kustomization["resources"]:
        found += made(str((place / name).resolve().relative_to(KUBERNETES))) if (place / name).is_dir() else documents(
            place / name
        )
    for patch in kustomization.get("patches", []):
        [target] = [
            doc for doc in found
            if (doc["kind"], doc["metadata"]["name"]) == (patch["target"]["kind"], patch["target"]["name"])
        ]  # fmt: skip
        for step in yaml.safe_load(patch["patch"]):
            apply(target, step)
    return found


def apply(document: Any, step: dict[str, Any]) -> None:
    """One operation of RFC 6902, of those that are used."""
    *way, last = step["path"].lstrip("/").split("/")
    for word in way:
        document = document[int(word) if isinstance(document, list) else word]
    if step["op"] in ("replace", "remove"):
        assert last in document, step  # kustomize refuses what is not there
    if step["op"] == "remove":
        del document[last]
    else:
        document[last] = step["value"]


def one(variant: str, kind: str) -> dict[str, Any]:
    [found] = [doc for doc in made(variant) if doc["kind"] == kind]
    return found


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("version", ["1.31", "1.37"])
def test_they_fit_the_schemas_of_kubernetes(variant: str, version: str, tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all(made(variant)))
    done = lint(BIN / "kubernetes-validate", "--strict", "--version", version, tmp_path / "all.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("variant", VARIANTS)
def test_they_fit_together(variant: str) -> None:
    stateful, pdb = one(variant, "StatefulSet"), one(variant, "PodDisruptionBudget")
    pod = stateful["spec"]["template"]
    labels = pod["metadata"]["labels"]
    assert stateful["spec"]["replicas"] == 3
    assert stateful["spec"]["podManagementPolicy"] == "Parallel"  # in order, the second would wait for a leader's probe
    for selector in (stateful["spec"]["selector"]["matchLabels"], pdb["spec"]["selector"]["matchLabels"]):
        assert selector == labels
    services = {doc["metadata"]["name"]: doc["spec"] for doc in made(variant) if doc["kind"] == "Service"}
    assert all(spec["selector"] == labels for spec in services.values())
    inner = services[stateful["spec"]["serviceName"]]
    assert (inner["clusterIP"], inner["publishNotReadyAddresses"]) == ("None", True)
    assert pod["spec"]["enableServiceLinks"] is False
    [container] = pod["spec"]["containers"]
    assert {v["name"] for v in container["volumeMounts"]} == {v["name"] for v in pod["spec"]["volumes"]}
    ports = {port["name"] for port in container["ports"]}
    assert {port["targetPort"] for spec in services.values() for port in spec["ports"]} <= ports
    variables = {each["name"]: each for each in container["env"]}
    assert variables["LUIGI_HA_ADVERTISE"]["value"] == f"http://$(LUIGI_HA_NAME).{stateful['spec']['serviceName']}:8082"
    assert list(variables).index("LUIGI_HA_NAME") < list(variables).index("LUIGI_HA_ADVERTISE")  # which uses it
    told = [*variables, *one(variant, "ConfigMap")["data"]]
    assert {name.removeprefix("LUIGI_HA_").lower() for name in told} <= set(names(Serve))
    assert "LUIGI_HA_VIP" not in told


def test_which_pods_the_service_leads_to_and_how_they_are_replaced() -> None:
    def of(variant: str) -> tuple[Any, ...]:
        stateful, pdb = one(variant, "StatefulSet")["spec"], one(variant, "PodDisruptionBudget")["spec"]
        [container] = stateful["template"]["spec"]["containers"]
        path = container["readinessProbe"]["httpGet"]["path"]
        return path, stateful["updateStrategy"]["type"], pdb.get("minAvailable")

    # Where only the leader is ever ready, nothing may wait for the others to be.
    assert of("scheduler") == ("/ready", "RollingUpdate", None)
    assert of("scheduler-leader-only") == ("/leader", "OnDelete", 1)
    assert one("scheduler", "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    assert one("scheduler-leader-only", "PodDisruptionBudget")["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_workers_have_no_variables_of_services_either() -> None:
    [deployment] = [doc for doc in documents(KUBERNETES / "worker.yaml") if doc["kind"] == "Deployment"]
    assert deployment["spec"]["template"]["spec"]["enableServiceLinks"] is False
