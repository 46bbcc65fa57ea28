"""Where the program begins: a command runs and its exit code is told; errors are one line instead of a traceback."""

import sys

from appliance.cli import hook
from appliance.cli.errors import CommandError
from appliance.exit_codes import ExitCode


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its code. What a user did wrong is told in one line."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        options = hook.understood(given)
        if options is not None:
            hook.run(options)
        else:
            from appliance.cli.app import app  # noqa: PLC0415 - see appliance.cli.hook

            app(args=given)
    except CommandError as error:
        print(f"luigi-ha: {error}", file=sys.stderr)
        sys.exit(error.code)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read us has left; nobody to tell
        sys.exit(ExitCode.OK)
