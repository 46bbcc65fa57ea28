"""The database: reachable, its schema, writable, and whether a commit is on a second machine."""

from collections.abc import Iterator

from luigi_ha.appliance.cli.doctor_etcd import Patient
from luigi_ha.appliance.cli.doctor_findings import Examiner, Finding
from luigi_ha.appliance.config import Serve
from luigi_ha.appliance.store import SchemaState, Store, StoreError, open_store
from luigi_ha.appliance.store.target import Kind, parse

_examiner = Examiner("database")


def database(serve: Serve, url: str, patient: Patient) -> Iterator[Finding]:
    """Leaves the greatest epoch in the database with the patient. A SQLite file is not made by this."""
    target = parse(url)
    if target.kind is Kind.SQLITE and not target.path.exists():
        yield _examiner.ok(target.shown, "not there yet; made at the first start")
        return
    try:
        store = open_store(url, call_timeout=serve.database_timeout, durability=serve.durability)
    except StoreError as error:
        yield _examiner.fail(target.shown, str(error), "a database that lets this user in, and answers in time")
        return
    yield _examiner.ok(target.shown, "reachable")
    schema = store.check()
    if schema.state is SchemaState.CURRENT:
        yield _examiner.ok("schema", f"{schema.found}, which this program wants")
    elif schema.state is SchemaState.TOO_NEW:
        yield _examiner.fail(
            "schema", f"{schema.found}, newer than this program knows", f"the luigi-ha of {schema.found}"
        )
    elif target.kind is Kind.SQLITE:
        yield _examiner.ok("schema", f"{schema.found or 'none'}; brought to {schema.wanted} at the next start")
    else:
        yield _examiner.fail("schema", schema.found or "no tables of luigi-ha", f"{schema.wanted}: luigi-ha db upgrade")
    if schema.state is SchemaState.CURRENT:
        position = store.position()
        patient.epoch = position.epoch
        yield _examiner.ok("leadership", f"epoch {position.epoch}, {position.seq} events")
    if target.kind is Kind.POSTGRESQL:
        yield from _replication(store, serve)
    elif target.kind is Kind.MYSQL:
        yield _examiner.warn("replication", "not examined for MariaDB and MySQL", "to look there: SHOW REPLICA STATUS")


def _replication(store: Store, serve: Serve) -> Iterator[Finding]:
    """Only a primary that takes writes answers this."""
    found = store.replication()
    yield _examiner.ok("primary", f"{found.primary} takes writes, timeline {found.timeline}")
    standbys = ", ".join(f"{one.name or one.address} {one.state} {one.sync_state}" for one in found.standbys) or "none"
    if found.degraded is None:
        yield _examiner.ok("standbys", f"{standbys}; commits are on a second machine")
    elif serve.durability == "strict":
        yield _examiner.fail("standbys", f"{standbys}; {found.degraded}", "a synchronous standby that is attached")
    else:
        yield _examiner.warn(
            "standbys", f"{standbys}; {found.degraded}", "a synchronous standby, to survive the primary"
        )
