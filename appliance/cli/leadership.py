"""Commands about who leads: switchover, pause, resume, release. They ask where leadership is kept, not a scheduler."""

import json
from typing import Annotated, Any

import typer

from luigi_ha.appliance.cli.asking import Config, Json
from luigi_ha.appliance.cli.errors import USAGE, exit_codes
from luigi_ha.appliance.cli.node_options import Flags, takes
from luigi_ha.appliance.exit_codes import ExitCode

PLACE = ("database", "cluster", "etcd_endpoints")
NODE = (*PLACE, "name", "port", "vip", "vip_interface")


def _codes(done: str, failed: str) -> str:
    away = "where leadership is kept cannot be reached"
    return exit_codes(
        {ExitCode.OK: done, ExitCode.FAILED: failed, ExitCode.CONFIG: USAGE, ExitCode.UNREACHABLE: away}
    )


SWITCHOVER_CODES = _codes("that node leads", "refused, with the reason; or it does not lead within the time")
PAUSE_CODES = _codes("paused, also if it was already", "nobody leads, so there is nobody to keep")
RESUME_CODES = _codes("not paused, also if it was not", "no node has ever run there")
RELEASE_CODES = _codes("nothing is held", "something may still be held")


@takes(*PLACE)
def switchover(
    flags: Flags,
    to: Annotated[str, typer.Argument(help="The node that is to lead, as `luigi-ha status` names it.")],
    within: Annotated[float, typer.Option(min=1.0, help="Seconds until it must have happened.")] = 20.0,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Let another node lead, without a failed call. Succeeds only when that node leads.

    Example: luigi-ha switchover n2
    """
    from luigi_ha.appliance.cli import wishes  # noqa: PLC0415 - see appliance.cli.app

    done = wishes.switch_over(config, flags, to, within)
    after = "already" if done.get("led_already") else f"after {done['seconds']:.2f} s"
    _say(done, as_json=as_json, text=f"{done['leader']} leads (epoch {done['epoch']}), {after}")


@takes(*PLACE)
def pause(flags: Flags, config: Config = None, as_json: Json = False) -> None:
    """Keep the present leader: no automatic failover until `resume`, as for work on the other nodes. (To hand out no
    work: `luigi-ha scheduler pause`.)

    Example: luigi-ha pause
    """
    from luigi_ha.appliance.cli import wishes  # noqa: PLC0415

    done = wishes.pause(config, flags)
    was = "already " if done["was_paused"] else ""
    _say(done, as_json=as_json, text=f"{was}paused: only {done['keeps']} may lead, until `luigi-ha resume`")


@takes(*PLACE)
def resume(flags: Flags, config: Config = None, as_json: Json = False) -> None:
    """End a pause: the next node takes over by itself again if the leader dies.

    Example: luigi-ha resume
    """
    from luigi_ha.appliance.cli import wishes  # noqa: PLC0415

    done = wishes.resume(config, flags)
    kept = f"resumed: any node that can takes over again if the leader dies (the pause had kept {done['kept']})"
    _say(done, as_json=as_json, text=kept if done["was_paused"] else "it was not paused; nothing to do")


@takes(*NODE)
def release(flags: Flags, config: Config = None, as_json: Json = False) -> None:
    """After a node's processes have ended, whatever ended them: address off, lease revoked, so that another leads at
    once. The stop hook of a supervisor (systemd: ExecStopPost=). On a live node it ends its leadership.

    Example: luigi-ha release --config /etc/luigi-ha/luigi-ha.toml
    """
    from luigi_ha.appliance.cli import releasing  # noqa: PLC0415

    releasing.run(config, flags, as_json=as_json)


def _say(done: dict[str, Any], *, as_json: bool, text: str) -> None:
    print(json.dumps(done, indent=2) if as_json else f"{text} (asked: {done['asked']})")
