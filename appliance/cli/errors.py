"""How a command fails, and with which number."""

from luigi_ha.appliance.exit_codes import ExitCode

USAGE = "wrong usage or configuration"
NO_SCHEDULER = "no scheduler answers, or nobody leads"
NO_DATABASE = "the database cannot be reached"
NO_SCHEMA = "the database schema must be upgraded, or is newer than this program"

# What each number means anywhere; a command's own help says which of them it has, and for what.
ALL_CODES = (
    "Exit codes: 0 done; 1 failed, or no such thing; 2 wrong usage or configuration; 3 the scheduler, the database or "
    "etcd cannot be reached, or nobody leads; 4 fenced: a newer scheduler has taken over the database; "
    "5 the database schema must be upgraded, or is newer than this program; 6 inconclusive: too little was seen to say."
)


def exit_codes(meanings: dict[ExitCode, str]) -> str:
    """Return the end of a command's help: each exit code that this command has, and when."""
    return "Exit codes: " + "; ".join(f"{int(code)} {meaning}" for code, meaning in meanings.items()) + "."


def asking_codes(done: str = "done", failed: str | None = None) -> str:
    """Return the exit codes of a command that asks a scheduler. `failed`: when it ends with 1, besides a refusal."""
    refused = "refused by the scheduler" + (f", or {failed}" if failed else "")
    return exit_codes(
        {ExitCode.OK: done, ExitCode.FAILED: refused, ExitCode.CONFIG: USAGE, ExitCode.UNREACHABLE: NO_SCHEDULER}
    )


def database_codes(done: str = "done", failed: str = "the database refuses it") -> str:
    """Return the exit codes of a command that asks the database itself."""
    return exit_codes(
        {
            ExitCode.OK: done,
            ExitCode.FAILED: failed,
            ExitCode.CONFIG: USAGE,
            ExitCode.UNREACHABLE: NO_DATABASE,
            ExitCode.SCHEMA: NO_SCHEMA,
        }
    )


class CommandError(Exception):
    """A command could not do what was asked. The message is for the user."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = code
