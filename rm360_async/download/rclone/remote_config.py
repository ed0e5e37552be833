"""How rclone logs in to a remote, as far as warnings need it: never a secret, only whether there is one.

`rclone config dump` prints every secret of the config, so its output is parsed here and passed on to nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rm360_async.domain.errors import Cause, Fault
from rm360_async.system.processes import run_command

_MAX_WRAPPERS = 5
"""Remotes that wrap another one (alias, crypt ...), followed one into the other."""
_SERVICE_ACCOUNT = ("service_account_file", "service_account_credentials", "env_auth")


@dataclass(frozen=True)
class RemoteLogin:
    """The kind of storage that a remote is in the end ("" if unknown), and how it logs in."""

    type: str
    own_client_id: bool = False
    service_account: bool = False
    scope: str = ""


async def read_login(binary: str, env: Mapping[str, str], name: str) -> RemoteLogin:
    """Return how the remote `name` (as the config has it, e.g. `gdrive` or `gdrive:folder`) logs in.

    Raises Fault(AUTH) when rclone cannot read its own config, e.g. without its password.
    """
    ended = await run_command([binary, "config", "dump", "--ask-password=false"], env=env)
    try:
        remotes: Any = json.loads(ended.stdout)
    except ValueError:
        remotes = None
    if ended.returncode != 0 or not isinstance(remotes, dict):
        hint = (
            "set RCLONE_CONFIG_PASS if the config has a password; else check the file that `rclone config file` names"
        )
        raise Fault(Cause.AUTH, "rclone cannot read its own config", hint)
    return _resolve(remotes, env, name, _MAX_WRAPPERS)


def _resolve(remotes: Mapping[str, Any], env: Mapping[str, str], name: str, depth: int) -> RemoteLogin:
    if name.startswith(("/", ".")):
        return RemoteLogin("local")
    head = name.removeprefix(":").partition(":")[0]
    remote, *inline = head.split(",")
    values = {"type": remote} if name.startswith(":") else _values(remotes, env, remote)
    values |= dict(option.split("=", 1) for option in inline if "=" in option)
    kind = values.get("type", "")
    inner = values.get("remote", "")
    if kind != "local" and inner and depth > 0:
        return _resolve(remotes, env, inner, depth - 1)
    own_client_id = bool(values.get("client_id") or env.get("RCLONE_DRIVE_CLIENT_ID"))
    service_account = any(values.get(key) not in (None, "", "false") for key in _SERVICE_ACCOUNT)
    service_account = service_account or bool(env.get("RCLONE_DRIVE_SERVICE_ACCOUNT_FILE"))
    return RemoteLogin(kind, own_client_id, service_account, str(values.get("scope", "")))


def _values(remotes: Mapping[str, Any], env: Mapping[str, str], remote: str) -> dict[str, str]:
    """Return a remote's options: those of RCLONE_CONFIG_<REMOTE>_<OPTION> override those of the config."""
    stored = remotes.get(remote)
    values = {str(key): str(value) for key, value in stored.items()} if isinstance(stored, dict) else {}
    prefix = f"RCLONE_CONFIG_{remote.upper()}_"
    return values | {key[len(prefix) :].lower(): value for key, value in env.items() if key.startswith(prefix)}


async def find_config_file(binary: str, env: Mapping[str, str]) -> Path | None:
    """Return the path of rclone's config; None if there is none."""
    ended = await run_command([binary, "config", "file", "--ask-password=false"], env=env)
    lines = ended.stdout.decode(errors="replace").strip().splitlines()
    path = Path(lines[-1].strip()) if lines else None
    return path if path is not None and path.is_file() else None
