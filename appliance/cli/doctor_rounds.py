"""The rounds of `doctor`: which examinations there are, for which configuration."""

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from luigi_ha.appliance.cli import (
    doctor_address,
    doctor_certificates,
    doctor_clock,
    doctor_database,
    doctor_etcd,
    doctor_machine,
)
from luigi_ha.appliance.cli.doctor_findings import Check, Examiner, Finding, as_text, examined, failed, to_json
from luigi_ha.appliance.cli.electing import etcd_config
from luigi_ha.appliance.cli.pairing import lock_directory
from luigi_ha.appliance.cli.sharing import require_named
from luigi_ha.appliance.config import ConfigError, Loaded, load
from luigi_ha.appliance.config.election import kind, node_name
from luigi_ha.appliance.config.load import database_url
from luigi_ha.appliance.config.options import Options
from luigi_ha.appliance.config.shared import digests, shared_options
from luigi_ha.appliance.exit_codes import ExitCode
from luigi_ha.appliance.store.target import parse
from luigi_ha.ha.lease import Timing


def examine(flags: Mapping[str, Any], config: Path | None, *, as_json: bool) -> ExitCode:
    """Print what is found."""
    logging.getLogger("luigi_ha").addHandler(logging.NullHandler())  # the findings say it better
    findings = list(rounds(flags, config))
    print(to_json(findings) if as_json else as_text(findings))
    return ExitCode.FAILED if failed(findings) else ExitCode.OK


def rounds(flags: Mapping[str, Any], config: Path | None) -> Iterator[Finding]:
    """Every examination; only what needs no options if these cannot be used."""
    found: list[Options] = []
    yield from examined("options", lambda: _options(flags, config, found))
    yield from examined("clock", doctor_clock.here)
    yield from examined("versions", doctor_machine.versions)
    for options in found:
        for name, check in _with_options(options).items():
            yield from examined(name, check)


def _with_options(options: Options) -> dict[str, Check]:
    serve = options.serve
    name = node_name(serve, serve.database, os.getpid())
    patient = doctor_etcd.Patient(name, options=shared_options(options), digests=digests(options))
    checks: dict[str, Check] = {
        "port": lambda: doctor_machine.port(serve),
        "disk": lambda: doctor_machine.disk(parse(serve.database)),
        "database": lambda: doctor_database.database(serve, database_url(serve), patient),
    }
    if kind(serve, serve.database) == "etcd":
        checks["etcd"] = lambda: doctor_etcd.etcd(serve, etcd_config(serve), patient)
        checks["clocks"] = lambda: doctor_clock.others(patient.dates)
    elif kind(serve, serve.database) == "file":
        checks["node"] = lambda: doctor_etcd.pair(serve, lock_directory(serve.database), patient)
    checks["certificates"] = lambda: doctor_certificates.certificates(serve, parse(serve.database))
    if serve.vip:
        checks["address"] = lambda: doctor_address.address(serve, patient)
    return checks


def _options(flags: Mapping[str, Any], config: Path | None, found: list[Options]) -> Iterator[Finding]:
    examiner = Examiner("options")
    loaded = load(flags, config, os.environ)
    serve = loaded.options.serve
    parse(database_url(serve))
    Timing(serve.lease_ttl, serve.renew_every, serve.request_timeout, serve.lease_margin)
    mode = kind(serve, serve.database)
    if mode == "etcd":
        etcd_config(serve)
    found.append(loaded.options)
    try:
        require_named(loaded, lock_directory(serve.database))
    except ConfigError as error:
        yield examiner.warn("which node?", error.what, error.expected)
    yield examiner.ok(_sources(loaded), f"coherent; election = {mode}, durability = {serve.durability}")
    for note in loaded.notes:
        if note in loaded.warnings:
            yield examiner.warn("sources", note, "what is written to have an effect")
        else:
            yield examiner.ok("sources", note)


def _sources(loaded: Loaded) -> str:
    files = {source for _, _, _, source in loaded.effective() if "/" in source and not source.startswith("flag")}
    return ", ".join(sorted(files)) or "flags, environment and defaults"
