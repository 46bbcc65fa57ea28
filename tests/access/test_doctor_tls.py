"""`luigi-ha doctor` and the certificate that the other nodes will see."""

from dataclasses import replace
from pathlib import Path

import pytest

from luigi_ha.appliance.cli.doctor_certificates import certificates
from luigi_ha.appliance.cli.doctor_tls import refusal
from luigi_ha.appliance.config import load
from luigi_ha.appliance.store.target import parse
from tests.access.certificates import HERE, files
from tests.ha.authority import Authority


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "ours")


def test_a_certificate_is_tried_as_the_other_nodes_will(ours: Authority, tmp_path: Path) -> None:
    theirs = Authority(tmp_path / "theirs")
    good = files(ours.issue("n1", HERE), ours, required=True)
    assert refusal(good, "127.0.0.1") is None
    assert refusal(good, "localhost") is None
    for wrong, host, said in (
        (good, "n2.example.org", "Hostname mismatch"),
        (files(ours.issue("late", HERE, expired=True)), "127.0.0.1", "expired"),
        (replace(good, ca=str(theirs.certificate)), "127.0.0.1", "self-signed certificate"),
        (replace(good, client_ca=str(theirs.certificate)), "127.0.0.1", "self-signed certificate"),
    ):
        found = refusal(wrong, host)
        assert found is not None
        assert said in found


def test_the_doctor_says_what_is_wrong_with_it(ours: Authority, tmp_path: Path) -> None:
    pair = ours.issue("n1", HERE)
    given = {"database": "sqlite:///x.db", "tls_certificate": str(pair.certificate), "tls_key": str(pair.key)}
    given["tls_ca"] = str(ours.certificate)

    def found(**more: str) -> dict[str, tuple[str, str]]:
        serve = load({**given, **more}, None, {}).options.serve
        return {each.where: (each.verdict.value, each.what) for each in certificates(serve, parse(serve.database))}

    good = found(advertise="https://localhost:8082")
    assert good["tls for https://localhost"] == ("ok", "the other nodes accept it")
    assert any(what.startswith("tls_certificate") and each[0] == "ok" for what, each in good.items())
    assert any(what.startswith("tls_key") and each[0] == "warn" for what, each in good.items())  # everybody can read it
    verdict, said = found(advertise="https://n2:8082")["tls for https://n2"]
    assert (verdict, "Hostname mismatch" in said) == ("fail", True)
    other = found(tls_key=str(ours.issue("other").key))
    assert other["tls_key"] == ("fail", f"{ours.directory}/other.key does not belong to {pair.certificate}")
