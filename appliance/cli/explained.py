"""Errors of the configuration and of the store, as errors of a command: one line and an exit code."""

from collections.abc import Iterator
from contextlib import contextmanager

from luigi_ha.appliance.cli.errors import CommandError
from luigi_ha.appliance.config import ConfigError
from luigi_ha.appliance.exit_codes import ExitCode
from luigi_ha.appliance.store import BadUrl, DatabaseAway, SchemaMissing, SchemaTooNew, StoreError
from luigi_ha.appliance.tls import TlsError

_CODES: tuple[tuple[type[Exception], ExitCode], ...] = (
    (ConfigError, ExitCode.CONFIG),
    (TlsError, ExitCode.CONFIG),
    (BadUrl, ExitCode.CONFIG),
    (SchemaMissing, ExitCode.SCHEMA),
    (SchemaTooNew, ExitCode.SCHEMA),
    (DatabaseAway, ExitCode.UNREACHABLE),
    (StoreError, ExitCode.FAILED),
)


@contextmanager
def explained() -> Iterator[None]:
    """Turn what the block raises into a CommandError with the right code."""
    try:
        yield
    except (ConfigError, TlsError, StoreError) as error:
        raise CommandError(str(error), next(code for kind, code in _CODES if isinstance(error, kind))) from error
