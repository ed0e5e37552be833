"""How rclone logs in to a remote, as far as a person needs to be warned: never a secret, only whether there is one.

`rclone config dump` prints every secret of the config, so its answer is read here and goes nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rm360_async.domain.errors import Cause, Fault
from rm360_async.system.processes import run_to_end

_WRAPPED = 5
"""How many wrappers (alias, crypt ...) are looked through."""
_SERVICE_ACCOUNT = ("service_account_file", "service_account_credentials", "env_auth")


@dataclass(frozen=True)
class RemoteLogin:
    """What kind of storage a remote is in the end ("" when nobody knows), and how it logs in."""

    type: str
    own_client_id: bool = False
    service_account: bool = False
    scope: str = ""


async def read_login(program: str, env: Mapping[str, str], name: str) -> RemoteLogin:
    """Return how the remote `name` (as the config has it, e.g. `gdrive` or `gdrive:folder`) logs in.

    Raises Fault(AUTH) when rclone cannot read its own config, e.g. without its password.
    """
    ended = await run_to_end([program, "config", "dump", "--ask-password=false"], env=env)
    try:
        remotes: Any = json.loads(ended.stdout)
    except ValueError:
        remotes = None
    if ended.returncode != 0 or not isinstance(remotes, dict):
        hint = "set RCLONE_CONFIG_PASS if the config has a password; else look at: rclone config file"
        raise Fault(Cause.AUTH, "rclone cannot read its own config", hint)
    return _resolve(remotes, env, name, _WRAPPED)


def _resolve(remotes: Mapping[str, Any], env: Mapping[str, str], name: str, depth: int) -> RemoteLogin:
    if name.startswith(("/", ".")):
        return RemoteLogin("local")
    head = name.removeprefix(":").partition(":")[0]
    remote, *inline = head.split(",")
    values = {"type": remote} if name.startswith(":") else _values(remotes, env, remote)
    values |= dict(each.split("=", 1) for each in inline if "=" in each)
    kind = values.get("type", "")
    inner = values.get("remote", "")
    if kind != "local" and inner and depth > 0:
        return _resolve(remotes, env, inner, depth - 1)
    own = bool(values.get("client_id") or env.get("RCLONE_DRIVE_CLIENT_ID"))
    service = any(values.get(key) not in (None, "", "false") for key in _SERVICE_ACCOUNT)
    service = service or bool(env.get("RCLONE_DRIVE_SERVICE_ACCOUNT_FILE"))
    return RemoteLogin(kind, own, service, str(values.get("scope", "")))


def _values(remotes: Mapping[str, Any], env: Mapping[str, str], remote: str) -> dict[str, str]:
    """Return a remote's options: those of the config, under those of RCLONE_CONFIG_<REMOTE>_<OPTION>."""
    stored = remotes.get(remote)
    values = {str(key): str(value) for key, value in stored.items()} if isinstance(stored, dict) else {}
    prefix = f"RCLONE_CONFIG_{remote.upper()}_"
    return values | {key[len(prefix) :].lower(): value for key, value in env.items() if key.startswith(prefix)}


async def find_config_file(program: str, env: Mapping[str, str]) -> Path | None:
    """Return where rclone's config lies; None when it has none."""
    ended = await run_to_end([program, "config", "file", "--ask-password=false"], env=env)
    lines = ended.stdout.decode(errors="replace").strip().splitlines()
    path = Path(lines[-1].strip()) if lines else None
    return path if path is not None and path.is_file() else None
