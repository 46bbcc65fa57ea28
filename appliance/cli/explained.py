"""Errors of the configuration and of the store, as errors of a command: one line and an exit code."""

from collections.abc import Iterator
from contextlib import contextmanager

from appliance.cli.errors import CommandError
from appliance.config import ConfigError
from appliance.exit_codes import ExitCode
from appliance.store import BadUrl, DatabaseAway, SchemaMissing, SchemaTooNew, StoreError
from appliance.tls import TlsError

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
