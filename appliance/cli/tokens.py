"""What `token create`, `token list` and `token revoke` do."""

import json
import os
import pwd
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from luigi_ha.appliance.api.access_tokens import mint
from luigi_ha.appliance.cli.errors import CommandError
from luigi_ha.appliance.cli.explained import explained
from luigi_ha.appliance.cli.schema import opened
from luigi_ha.appliance.cli.shown import moment
from luigi_ha.appliance.clock import wall
from luigi_ha.appliance.exit_codes import ExitCode
from luigi_ha.appliance.store import NameTaken, SchemaState, Store, TokenRecord

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_DURATION = re.compile(r"([1-9][0-9]{0,5})([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}  # s


def create(
    database: str | None, config: Path | None, name: str, role: str, expires: str, output: Path | None, *, as_json: bool
) -> None:
    """Add a token and print it: alone on standard output, so that it can be put where it belongs; or into a file, which
    is there only when it has the token: what a shell redirects is there, and empty, also if we fail."""
    if _NAME.fullmatch(name) is None:
        expected = "up to 64 letters, digits and ._@-, the first a letter or a digit"
        raise CommandError(f"a token's name: expected {expected}", ExitCode.CONFIG)
    valid_for = _seconds(expires)
    if output is not None:
        _check_output(output)
    with explained():
        store = _usable(database, config, make=True)
        now, new = wall(), mint()
        ends = None if valid_for is None else now + valid_for
        record = TokenRecord(new.token_id, name, role, new.digest, now, _who(), ends)
        try:
            store.add_token(record)
        except NameTaken:
            what = f"there is, or was, a token named {name}: what the log says of a name must stay true"
            raise CommandError(f"{what}; expected another name (luigi-ha token list)") from None
    if output is not None:
        _write(output, new.token)
    if as_json:
        shown = {"token": new.token} if output is None else {"output": str(output)}
        print(json.dumps({**_public(record, now), **shown}, indent=2))
        return
    ending = "for ever" if ends is None else f"until {moment(ends)}"
    if output is None:
        print(new.token)
    print(f"{role} token {name}, id {new.token_id}, valid {ending}; it is not shown again", file=sys.stderr)


def show(database: str | None, config: Path | None, *, as_json: bool) -> None:
    """One line for each."""
    with explained():
        records = _usable(database, config).tokens()
    now = wall()
    if as_json:
        print(json.dumps({"tokens": [_public(record, now) for record in records]}, indent=2))
        return
    width = max((len(record.name) for record in records), default=0)
    for record in records:
        state, since = _state(record, now)
        when = "" if since is None else f" {'until' if state == 'valid' else 'since'} {moment(since)}"
        words = f"{record.token_id}  {record.name:<{width}}  {record.role:<8}  {state}{when}"
        print(f"{words}, created {moment(record.created_at)} by {record.created_by}")
    if not records:
        print("none; the first: luigi-ha token create NAME --role operator")


def revoke(database: str | None, config: Path | None, token: str, *, as_json: bool) -> None:
    """By id or name."""
    with explained():
        store = _usable(database, config)
        known = {record.name: record.token_id for record in store.tokens()}
        record = store.revoke_token(known.get(token, token), wall())
    if record is None or record.revoked_at is None:
        shown = "of that id or name" if token.startswith("lha_") else repr(token[:64])
        raise CommandError(f"no token {shown}; expected one that luigi-ha token list shows")
    if as_json:
        print(json.dumps(_public(record, wall()), indent=2))
    else:
        print(f"{record.role} token {record.name}, id {record.token_id}, is revoked since {moment(record.revoked_at)}")


def _usable(database: str | None, config: Path | None, *, make: bool = False) -> Store:
    """The database, with tables. `make`: an empty one gets them, as from a node: either may be the first to come."""
    store = opened(database, config)
    status = store.check()
    if make and status.state is SchemaState.MISSING:
        status = store.upgrade()
        print(f"luigi-ha: note: {store.target.shown} was empty, and has its tables now", file=sys.stderr)
    status.require()
    return store


def _check_output(path: Path) -> None:
    """CommandError unless a token could be put there; before there is one that nobody would ever see."""
    if path.exists() and (not path.is_file() or path.stat().st_size):
        raise CommandError(f"--output {path} is there already; expected a file to be made", ExitCode.CONFIG)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise CommandError(f"--output {path}: {path.parent} cannot be written to, or is not there", ExitCode.CONFIG)


def _write(path: Path, token: str) -> None:
    """For its owner alone, and whole from the first moment."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{token}\n")
    Path(name).replace(path)


def _seconds(expires: str) -> int | None:
    if not expires:
        return None
    found = _DURATION.fullmatch(expires)
    if found is None:
        expected = "a number of seconds, minutes, hours, days or weeks: 30m, 12h, 90d, 4w"
        raise CommandError(f"--expires {expires!r}: expected {expected}", ExitCode.CONFIG)
    return int(found[1]) * _UNITS[found[2]]


def _who() -> str:
    """The user of this machine, and who became root by sudo."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = f"uid {os.getuid()}"
    behind = os.environ.get("SUDO_USER", "")
    return f"{behind} as {user}" if behind and os.getuid() == 0 else user


def _state(record: TokenRecord, now: float) -> tuple[str, float | None]:
    """Whether it is valid, and until or since when."""
    if record.revoked_at is not None:
        return "revoked", record.revoked_at
    if record.expires_at is not None and record.expires_at <= now:
        return "expired", record.expires_at
    return "valid", record.expires_at


def _public(record: TokenRecord, now: float) -> dict[str, Any]:
    """What may be shown of a token."""
    names = ("name", "role", "created_at", "created_by", "expires_at", "revoked_at")
    return {"id": record.token_id, "state": _state(record, now)[0], **{name: getattr(record, name) for name in names}}
