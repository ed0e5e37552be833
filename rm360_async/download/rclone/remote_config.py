"""What rclone's config says of a remote, as far as warnings need it: never a secret, only whether there is one.

`rclone config dump` prints every secret of the config, so its output is parsed here and passed on to nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rm360_async.domain.errors import Cause, Fault
from rm360_async.system.processes import run_command

_MAX_WRAPPERS = 5
"""Remotes that wrap another one (alias, crypt ...), followed one into the other."""
_NARROWING = ("team_drive", "shared_with_me", "starred_only", "trashed_only", "auth_owner_only", "skip_shortcuts")
_SECTION = re.compile(r"\s*\[(?P<name>[^\]]*)\]")
_OPTION = re.compile(r"\s*(?P<key>\w+)\s*[=:]")
_UNPARSED = re.compile(r"could not parse line: (.*?)\)?$")
_NAMED_BY = {"remote": "remote setting|didn't find section|config name contains", "type": "type of this remote"}
"""What a message must contain to be about an option whose name occurs in other messages too."""
_MAX_CONFIG_BYTES = 2**20
_SERVICE_ACCOUNT = ("service_account_file", "service_account_credentials", "env_auth")


@dataclass(frozen=True)
class RemoteLogin:
    """The kind of storage that a remote is in the end ("" if unknown), and how it logs in."""

    type: str
    own_client_id: bool = False
    service_account: bool = False
    scope: str = ""
    narrowing: tuple[str, ...] = ()
    """Options which are set and make Drive show only some of the files."""


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
    of_drive = {key: env.get(f"RCLONE_DRIVE_{key.upper()}") or values.get(key) for key in _NARROWING}
    narrowing = tuple(key for key, value in of_drive.items() if value not in (None, "", "false"))
    return RemoteLogin(kind, own_client_id, service_account, str(values.get("scope", "")), narrowing)


def _values(remotes: Mapping[str, Any], env: Mapping[str, str], remote: str) -> dict[str, str]:
    """Return a remote's options: those of RCLONE_CONFIG_<REMOTE>_<OPTION> override those of the config."""
    stored = remotes.get(remote)
    values = {str(key): str(value) for key, value in stored.items()} if isinstance(stored, dict) else {}
    prefix = f"RCLONE_CONFIG_{remote.upper()}_"
    return values | {key[len(prefix) :].lower(): value for key, value in env.items() if key.startswith(prefix)}


async def find_config_file(binary: str, env: Mapping[str, str]) -> Path | None:
    """Return the path of rclone's config; None if there is none."""
    path = await config_path(binary, env)
    return path if path is not None and path.is_file() else None


async def config_path(binary: str, env: Mapping[str, str]) -> Path | None:
    """Return where rclone looks for its config, whether it is there or not; None if rclone does not tell."""
    ended = await run_command([binary, "config", "file", "--ask-password=false"], env=env)
    lines = ended.stdout.decode(errors="replace").strip().splitlines()
    return Path(lines[-1].strip()) if lines else None


def locate_entry(path: Path, env: Mapping[str, str], remote: str, message: str) -> str:
    """Return which variable or line of rclone's config a failure of a remote is about, as far as that is known.

    That is the option of the remote that the message names, else its section, else the file.
    """
    prefix = f"RCLONE_CONFIG_{remote.upper()}_"
    variables = [key for key in env if key.startswith(prefix)]
    for key in variables:
        if _is_named(key.removeprefix(prefix).lower(), message):
            return f"see the variable {key}"
    try:
        lines = path.read_bytes()[:_MAX_CONFIG_BYTES].decode("utf-8-sig", errors="replace").splitlines()
    except FileNotFoundError:
        return f"see the variables {prefix}..." if variables else f"there is no {path}; RCLONE_CONFIG sets another path"
    except OSError as error:
        return f"{path}: {error.strerror}"
    numbers = [*_lines_named(lines, remote, message)]
    return f"see line {numbers[0]} of {path}" if numbers else f"see {path}"


def _lines_named(lines: list[str], remote: str, message: str) -> Iterator[int]:
    """Yield the numbers of the lines that a message is about, the best one first."""
    if unparsed := _UNPARSED.search(message):
        yield from (number for number, line in enumerate(lines, 1) if line.strip() == unparsed[1].strip())
    sections = [(number, match["name"]) for number, line in enumerate(lines, 1) if (match := _SECTION.match(line))]
    start = next((number for number, name in sections if name.strip() == remote), None)
    if start is None:
        return
    end = next((number for number, _ in sections if number > start), len(lines) + 1)
    keys = {number: match["key"] for number in range(start + 1, end) if (match := _OPTION.match(lines[number - 1]))}
    yield from (number for number, key in keys.items() if _is_named(key, message))
    yield start


def _is_named(option: str, message: str) -> bool:
    return re.search(_NAMED_BY.get(option, rf"\b{re.escape(option)}\b"), message) is not None
