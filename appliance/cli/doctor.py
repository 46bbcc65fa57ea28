"""The command `doctor`: why this node cannot lead."""

import typer

from luigi_ha.appliance.cli.asking import Config, Json
from luigi_ha.appliance.cli.errors import exit_codes
from luigi_ha.appliance.cli.node_options import Flags, takes
from luigi_ha.appliance.exit_codes import ExitCode

DOCTOR_CODES = exit_codes(
    {
        ExitCode.OK: "nothing stands in the way (there may be warnings)",
        ExitCode.FAILED: "something does, also a configuration that cannot be used",
        ExitCode.CONFIG: "wrong usage",
    }
)


@takes("database", "port", "name", "cluster", "etcd_endpoints", "vip", "vip_interface")
def doctor(flags: Flags, config: Config = None, as_json: Json = False) -> None:
    """Why this node cannot lead: examines options, clock, versions, port, disk, database, etcd, address, certificates.

    Changes nothing, whether the node runs or not. Takes its options from where `serve` takes them; run it as the user
    that the node runs as. Takes some seconds if something does not answer.

    Example: luigi-ha doctor --config /etc/luigi-ha/luigi-ha.toml

    \b
    ok    etcd          http://10.0.0.1:2379: healthy, etcd 3.4.23
    fail  etcd          lease: 8 s granted: renew_every + request_timeout < ttl - margin does not hold
                        expected times that fit it
    """
    from luigi_ha.appliance.cli import doctor_rounds  # noqa: PLC0415 - see appliance.cli.app

    raise typer.Exit(doctor_rounds.examine(flags, config, as_json=as_json))
