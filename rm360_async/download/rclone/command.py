"""The command line of rclone for one remote: its options, its environment, and the cause of its failure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from rm360_async.domain.errors import BadRequest, Fault
from rm360_async.domain.record import RemoteFile, RemoteFolder
from rm360_async.download.rclone.errors import classify_failure
from rm360_async.download.rclone.listing import escape_filter
from rm360_async.system.processes import ProcessResult, run_command

# Files are named by --include below the remote's root, never by a path after its name: rclone looks such a path up
# first, and reports every refusal of that lookup as "directory not found" (exit 3). In this form it tells the reason.
# rclone retries nothing itself: its back-off is long, silent, per process and ignores quotas; retries are decided in
# one place (`domain.retry`). A question on a terminal would hang for ever. rclone 1.60 and 1.75 act alike with these.
_ALWAYS = (
    *("--retries", "1", "--timeout", "60s", "--contimeout", "20s"),
    *("--drive-stop-on-download-limit", "--drive-acknowledge-abuse", "--ask-password=false", "--use-json-log"),
    # A mirror may be spread over several disks. Without the first rclone passes over links; with `links` of the user's
    # remote it shows them as small files.
    *("--copy-links", "--links=false", "--sftp-skip-links=false", "--one-file-system=false"),
)
# Options of the user's remote that would hide files of other owners, or give them other sizes.
_OVERRIDDEN = ("starred_only", "trashed_only", "auth_owner_only", "size_as_quota", "skip_shortcuts")
# With it, Drive answers for the root folder with all that was ever shared.
_OVERRIDDEN_WITH_ROOT = ("shared_with_me",)
ONE_TRY = ("--low-level-retries", "1")
# A listing of 500 folders makes many requests, and one refusal would cost all of them: rclone may repeat it (2 s).
FEW_TRIES = ("--low-level-retries", "3")
# With its read-ahead rclone holds back up to 1 MiB of a slow stream (32 KiB without): a trickle would look like
# silence, and what is held back when rclone is killed has to be downloaded again.
_CAT = ("--error-on-no-transfer", "--buffer-size", "0")
_INLINE_ROOT = re.compile(r",root_folder_id=[^,:]*")
_MAX_ERROR_BYTES = 2**24
"""Of a listing, whose errors are all read: one for each entry that could not be listed."""


class RcloneCommand:
    """Builds and runs the commands of rclone for one remote.

    `name`: `gdrive`, `gdrive:`, `gdrive:some/folder`, or a connection string such as `:local:/data`.
    `root_folder_id`: a Drive folder id; other remotes ignore it. `binary`: the path of rclone; `env`: its environment
    (see `rclone_environment`). Raises BadRequest for a name that rclone would read as an option.
    """

    def __init__(self, name: str, root_folder_id: str, binary: str, env: Mapping[str, str]) -> None:
        if not name or name.startswith("-") or not name.isprintable():
            raise BadRequest(f"google_drive.remote_name: {name!r} is not the name of a remote; see: rclone listremotes")
        self.name = name if ":" in name or name.startswith(("/", ".")) else f"{name}:"
        self.binary, self.env = binary, env
        self._root = ("--drive-root-folder-id", root_folder_id) if root_folder_id else ()
        self.overridden_options = _OVERRIDDEN + (_OVERRIDDEN_WITH_ROOT if root_folder_id else ())
        """Options of a Drive remote that have no effect here, whatever the user's config says."""

    def __str__(self) -> str:
        """Return the name of the remote without the options of a connection string, which may be secret."""
        head, colon, path = self.name.partition(":")
        return head.split(",")[0] + (colon + path if path else "") if head else self.name.split(",")[0]

    @property
    def remote(self) -> str:
        """Return the name of the remote alone, without a path; "" for a connection string that has none."""
        return str(self).partition(":")[0]

    def line(self, verb: str, *arguments: str, folder: RemoteFolder | None = None) -> list[str]:
        """Return the command line that does `verb` with this remote, or with one folder of it, by its id."""
        root, name = self._root, self.name
        if folder is not None:  # an id in a connection string would override the option
            root, name = ("--drive-root-folder-id", folder.id), _INLINE_ROOT.sub("", name.partition(":")[0]) + ":"
        overridden = (f"--drive-{option.replace('_', '-')}=false" for option in self.overridden_options)
        return [self.binary, verb, *arguments, *_ALWAYS, *overridden, *root, name]

    def cat_line(self, file: RemoteFile, offset: int, count: int) -> list[str]:
        """Return the command line that prints `count` bytes of a file."""
        span = ("--offset", str(offset), "--count", str(count))
        pattern = f"/{escape_filter(file.path_in_folder)}"
        return self.line("cat", "--include", pattern, *span, *_CAT, *ONE_TRY, folder=file.folder)

    async def run(self, command: list[str]) -> ProcessResult:
        """Run a command line to its end."""
        return await run_command(command, env=self.env, max_error_bytes=_MAX_ERROR_BYTES)

    def fault(self, exit_code: int, stderr: str, action: str) -> Fault:
        """Return the fault behind a failed command; see `classify_failure`."""
        return classify_failure(exit_code, stderr, action, f"{self.remote or 'REMOTE'}:")

    async def configured_remotes(self) -> str:
        """Return the names of the remotes in rclone's config, as text."""
        return ", ".join(await list_remotes(self.binary, self.env)) or "no remote at all"


async def list_remotes(binary: str, env: Mapping[str, str]) -> list[str]:
    """Return the names of the remotes in rclone's config and variables, each with its colon."""
    ended = await run_command([binary, "listremotes", "--ask-password=false"], env=env)
    return ended.stdout.decode(errors="replace").split()
