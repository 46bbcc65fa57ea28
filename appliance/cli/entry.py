"""Where the program begins: a command runs and its exit code is told; errors are one line instead of a traceback."""

import sys

from luigi_ha.appliance.cli import hook
from luigi_ha.appliance.cli.errors import CommandError
from luigi_ha.appliance.exit_codes import ExitCode

EXTRAS = {"cryptography": "drill", "luigi": "worker", "boto3": "s3", "etcd3": "etcd3", "patroni": "lab"}  # by package


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its code. What a user did wrong is told in one line."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        options = hook.understood(given)
        if options is not None:
            hook.run(options)
        else:
            from luigi_ha.appliance.cli.app import app  # noqa: PLC0415 - see appliance.cli.hook

            app(args=given)
    except CommandError as error:
        print(f"luigi-ha: {error}", file=sys.stderr)
        sys.exit(error.code)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").split(".")[0])
        if extra is None:
            raise
        hint = f"expected: pip install 'luigi-ha[{extra}]'"
        print(f"luigi-ha: this needs the package {error.name}, which is not installed; {hint}", file=sys.stderr)
        sys.exit(ExitCode.CONFIG)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read us has left; nobody to tell
        sys.exit(ExitCode.OK)
