"""How a command fails, and with which number."""

from luigi_ha.appliance.exit_codes import ExitCode

EXIT_CODES = (
    "Exit codes: 0 done; 1 failed, or no such task; 2 wrong usage or configuration; 3 the scheduler or the database "
    "cannot be reached, or is not leading; 4 fenced: a newer scheduler has taken over the database; "
    "5 the database schema must be upgraded, or is newer than this program."
)


class CommandError(Exception):
    """A command could not do what was asked. The message is for the user."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = code
