"""The systemd unit of one config, with what the shell that asks for it knows: variables, paths, the account's home.

Rules of the format: in every setting `%` begins a specifier and is written `%%`; `$` begins a variable in the arguments
of ExecStart alone, and is written `$$` there; inside double quotes a backslash escapes
(https://www.freedesktop.org/software/systemd/man/latest/systemd.syntax.html#Quoting).
"""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import sys
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path

import anyio

from rm360_async.config import Settings, load_settings
from rm360_async.domain.errors import BadRequest, Fault
from rm360_async.download.rclone import find_rclone
from rm360_async.download.rclone.remote_config import config_path

_CARRIED = re.compile(
    r"RCLONE_.*|(?:HTTP|HTTPS|ALL|NO)_PROXY|SSL_CERT_(?:FILE|DIR)|(?:AWS|GOOGLE|AZURE|OS|PASSWORD_STORE)_.*"
    r"|GNUPGHOME|XDG_CONFIG_HOME|PATH|LANG|LC_.*|TZ",
    re.IGNORECASE,
)
"""Variables by which a run finds rclone, its config, its accounts and the network."""
_PATH_NAME = re.compile("(?:CONFIG|CERT|FILE|DIR|HOME|CREDENTIALS|KEY)$")
_OF_THE_CALLER = re.compile("GNUPGHOME|XDG_.*|PASSWORD_STORE_.*")
_SECRET_NAME = re.compile("PASS(?!WORD_COMMAND|WORD_STORE)|SECRET|TOKEN|(?<!APPLICATION_)CREDENTIALS$|_KEY$")
_URL_WITH_PASSWORD = re.compile("://[^/@]*:[^/@]*@")
_ENV_FOLDER = "/etc/rm360"
_NAME_DIGITS = 6


def service_name(config: Path) -> str:
    """Return the name of a config's service or session: that of the file, and a part that its whole path decides."""
    stem = re.sub(r"[^A-Za-z0-9]+", "-", config.stem).strip("-") or "config"
    return f"rm360-{stem}-{hashlib.sha256(os.fsencode(config)).hexdigest()[:_NAME_DIGITS]}"


def print_unit(config: Path, user: str) -> None:
    """Print the unit for a config and an account; notes on what it cannot contain go to standard error.

    The folders that the service writes to are made, and belong to the account. Raises BadRequest for an unknown one.
    """
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        raise BadRequest(f"{user}: there is no such account on this machine") from None
    caller = account.pw_uid == os.getuid()
    if not caller:
        os.environ["HOME"] = account.pw_dir  # what `~` in the config will mean for the service
    settings = load_settings(config)
    variables = carried_variables(os.environ, for_caller=caller)
    rclone = _rclone_config(os.environ, Path(account.pw_dir), is_caller=caller)
    folders = _folders(settings)
    for folder in folders:
        make_folder(folder, account)
    name = service_name(config)
    print(unit_text(config, user, variables, [*folders, rclone.parent], name), end="")
    for note in _notes(variables, rclone, user, name):
        print(f"note: {note}", file=sys.stderr)


def unit_text(config: Path, user: str, variables: Mapping[str, str], folders: Iterable[Path], name: str) -> str:
    """Return the template `rm360.service` without its first line and with its marks filled in, without secrets."""
    template = (resources.files(__package__) / "rm360.service").read_text(encoding="utf-8")
    *required, rclone = dict.fromkeys(folders)
    writable = [*map(str, required), f"-{rclone}"]  # rclone's folder may be missing: its config may be in variables
    shown = {key: value for key, value in variables.items() if not is_secret(key, value)}
    values = {
        "USER": user.replace("%", "%%"),
        "PYTHON": quoted(sys.executable),
        "CONFIG": quoted(str(config)).replace("$", "$$"),
        "MOUNTS": " ".join(quoted(str(folder)) for folder in required),
        "WRITABLE": " ".join(quoted(folder) for folder in writable),
        "ENVIRONMENT": "\n".join(f"Environment={quoted(f'{key}={value}')}" for key, value in sorted(shown.items())),
        "SECRETS": f"{_ENV_FOLDER}/{name}.env",
        "NAME": name,
        "UMASK": f"{umask():04o}",
    }
    lines = template.split("\n", 1)[1]
    return re.sub("@([A-Z]+)@", lambda match: values[match[1]], lines)


def umask() -> int:
    """Return the umask of this process."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def quoted(text: str) -> str:
    """Return a text as one word of a unit's setting."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'.replace("%", "%%")


def carried_variables(environment: Mapping[str, str], *, for_caller: bool) -> dict[str, str]:
    """Return the variables that the service needs; those that lead into the caller's home only for the caller."""
    return {
        key: _absolute(key, value)
        for key, value in environment.items()
        if _CARRIED.fullmatch(key) and (for_caller or not _OF_THE_CALLER.fullmatch(key))
    }


def _absolute(key: str, value: str) -> str:
    """Return the value of a variable; the path of a file that is there no longer depends on the working folder."""
    is_path = _PATH_NAME.search(key) is not None and value != "" and os.path.lexists(value)
    return str(Path(value).absolute()) if is_path else value


def is_secret(key: str, value: str) -> bool:
    """Return True for a variable that must not be in a unit, which everyone may read."""
    return _SECRET_NAME.search(key) is not None or _URL_WITH_PASSWORD.search(value) is not None


def make_folder(folder: Path, account: pwd.struct_passwd) -> None:
    """Make a folder and those above it, and give the new ones to the account."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    if os.getuid() == 0:
        for each in missing:
            os.chown(each, account.pw_uid, account.pw_gid)
    elif missing and account.pw_uid != os.getuid():
        print(f"note: give the new folder to the account: sudo chown -R {account.pw_name} {folder}", file=sys.stderr)


def _folders(settings: Settings) -> list[Path]:
    storage = settings.storage
    folders = [storage.output_dir, storage.temp_dir, storage.manifest_path.parent, storage.log_dir]
    if storage.metrics_path is not None:
        folders.append(storage.metrics_path.parent)
    return list(dict.fromkeys(folders))


def _rclone_config(environment: Mapping[str, str], home: Path, *, is_caller: bool) -> Path:
    """Return where the account's rclone has its config: for the caller rclone itself is asked."""
    if path := environment.get("RCLONE_CONFIG"):
        return Path(path).absolute()
    default = home / ".config" / "rclone" / "rclone.conf"
    try:
        return (anyio.run(config_path, find_rclone(), environment) if is_caller else None) or default
    except Fault:  # without rclone; doctor says so
        return default


def _notes(variables: Mapping[str, str], rclone: Path, user: str, name: str) -> list[str]:
    secrets = sorted(key for key, value in variables.items() if is_secret(key, value))
    notes = [f"install it as /etc/systemd/system/{name}.service"]
    if secrets:
        notes.append(
            f"the unit does not contain {', '.join(secrets)}, because everyone may read it: write NAME=value lines to"
            f" {_ENV_FOLDER}/{name}.env (owner root, mode 600)"
        )
    if not rclone.exists():
        notes.append(f"{user} has no rclone config at {rclone} yet: make one as {user}, or set RCLONE_CONFIG")
    return notes
