"""The systemd unit and the tmux session of a config: what the shell knows reaches the service."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_smc import Tiny
from workspace import Workspace

from rm360_async.commands.service_unit import (
    carried_variables,
    is_secret,
    make_folder,
    print_unit,
    quoted,
    service_name,
    unit_text,
)
from rm360_async.domain.errors import BadRequest

ROOT = Path(__file__).resolve().parent.parent
ODD_NAMES = [
    "plain",
    "my lab",
    "50%done",
    "a$b ${HOME}",
    'say "hi"',
    "back\\slash",
    "two\nlines",
    "%h/%%",
    "gr\u00fcn",
    "'",
]
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to give folders to another account")


def words_of(value: str, *, with_variables: bool) -> list[str]:
    """Return the words that systemd reads in the value of a setting: quotes, escapes, specifiers, `$$`."""
    words = re.findall(r'"(?:[^"\\]|\\.)*"|\S+', value)
    read = []
    for word in words:
        text = word
        if word.startswith('"'):
            text = re.sub(r"\\(.)", lambda match: {"n": "\n", "t": "\t"}.get(match[1], match[1]), word[1:-1])
        assert not re.search(r"(?<!%)(?:%%)*%(?!%)", text), f"{word} has a specifier"
        text = text.replace("%%", "%")
        if with_variables:
            assert not re.search(r"(?<!\$)(?:\$\$)*\$(?!\$)", text), f"{word} has a variable"
            text = text.replace("$$", "$")
        read.append(text)
    return read


def setting(unit: str, key: str) -> list[list[str]]:
    values = [line.partition("=")[2] for line in unit.splitlines() if line.startswith(f"{key}=")]
    return [words_of(value, with_variables=key == "ExecStart") for value in values]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_systemd_reads_the_paths_and_values_that_are_meant(name: str) -> None:
    config, folder = Path("/data") / name / "lab.yaml", Path("/data") / name
    variables = {"RCLONE_CONFIG": f"/home/{name}/rclone.conf", "HTTPS_PROXY": "http://proxy:3128"}
    unit = unit_text(config, "lab", variables, [folder, folder / "rclone"], service_name(config))
    assert setting(unit, "ExecStart")[0][1:] == ["-m", "rm360_async", "run", str(config)]
    assert [f"RCLONE_CONFIG=/home/{name}/rclone.conf"] in setting(unit, "Environment")
    assert ["HTTPS_PROXY=http://proxy:3128"] in setting(unit, "Environment")
    assert setting(unit, "ReadWritePaths") == [[str(folder), f"-{folder / 'rclone'}"]]
    assert setting(unit, "RequiresMountsFor") == [[str(folder)]]
    assert not re.search("@[A-Z]+@", unit)


@pytest.mark.parametrize("name", ["plain", "50%done", "a$b ${HOME}", 'say "hi"'])
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
def test_systemd_itself_takes_the_unit(tmp_path: Path, name: str) -> None:
    config = tmp_path / name / "lab.yaml"
    variables = {"RCLONE_CONFIG": f"{tmp_path}/{name}/rclone.conf", "PATH": os.environ["PATH"]}
    folders = [config.parent, tmp_path / "rclone"]
    unit = tmp_path / f"{service_name(config)}.service"
    unit.write_text(unit_text(config, "root", variables, folders, unit.stem))
    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60)
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")


def test_variables_of_the_shell_reach_the_unit_and_secrets_do_not(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NO_PROXY", "localhost")
    monkeypatch.setenv("RCLONE_CA_CERT", "/etc/lab ca.pem")
    monkeypatch.setenv("RCLONE_CONFIG_PASS", "hidden-1")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hidden-2@proxy")
    config = workspace.config()
    print_unit(config, pwd.getpwuid(os.getuid()).pw_name)
    unit, notes = capsys.readouterr()
    assert {("NO_PROXY=localhost",), ("RCLONE_CA_CERT=/etc/lab ca.pem",)} <= {
        tuple(words) for words in setting(unit, "Environment")
    }
    assert [f"RCLONE_CONFIG={workspace.root / 'rclone.conf'}"] in setting(unit, "Environment")
    assert "hidden" not in unit + notes
    assert "HTTPS_PROXY, RCLONE_CONFIG_PASS" in notes and f"/etc/rm360/{service_name(config)}.env" in notes
    assert workspace.temp.is_dir() and str(workspace.temp) in setting(unit, "ReadWritePaths")[0]


@needs_root
def test_another_account_has_its_own_home_and_its_own_folders(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    account = next(each for each in pwd.getpwall() if each.pw_uid not in (0, os.getuid()))
    monkeypatch.delenv("RCLONE_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/home/caller/.config")
    print_unit(workspace.config(), account.pw_name)
    unit, _ = capsys.readouterr()
    assert setting(unit, "ReadWritePaths")[0][-1] == f"-{account.pw_dir}/.config/rclone"
    assert setting(unit, "User") == [[account.pw_name]]
    assert "/home/caller" not in unit
    assert {path.stat().st_uid for path in (workspace.temp, workspace.output)} == {account.pw_uid}
    assert workspace.root.stat().st_uid == os.getuid()


def test_an_account_that_does_not_exist_is_refused(workspace: Workspace) -> None:
    with pytest.raises(BadRequest, match="nobody-of-that-name: there is no such account"):
        print_unit(workspace.config(), "nobody-of-that-name")


def test_which_variables_are_carried() -> None:
    environment = {"RCLONE_X": "1", "https_proxy": "2", "HOME": "3", "TERM": "4", "GNUPGHOME": "5", "SECRET": "6"}
    assert carried_variables(environment, for_caller=True).keys() == {"RCLONE_X", "https_proxy", "GNUPGHOME"}
    assert carried_variables(environment, for_caller=False).keys() == {"RCLONE_X", "https_proxy"}
    assert is_secret("RCLONE_CONFIG_GDRIVE_TOKEN", "x") and is_secret("ALL_PROXY", "socks5://a:b@c")
    assert not is_secret("RCLONE_PASSWORD_COMMAND", "pass show x")
    assert not is_secret("GOOGLE_APPLICATION_CREDENTIALS", "/etc/key.json")


def test_paths_in_variables_do_not_depend_on_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rclone.conf").touch()
    variables = carried_variables({"RCLONE_CONFIG": "rclone.conf", "RCLONE_CA_CERT": "gone.pem"}, for_caller=True)
    assert variables == {"RCLONE_CONFIG": str(tmp_path / "rclone.conf"), "RCLONE_CA_CERT": "gone.pem"}


def test_the_umask_of_the_shell_is_that_of_the_service() -> None:
    before = os.umask(0o007)
    try:
        config = Path("/data/lab.yaml")
        unit = unit_text(config, "lab", {}, [Path("/data"), Path("/rclone")], "rm360-lab")
    finally:
        os.umask(before)
    assert "UMask=0007\n" in unit


def test_two_configs_of_one_file_name_are_two_services() -> None:
    first, second = service_name(Path("/a/lab.yaml")), service_name(Path("/b/lab.yaml"))
    assert first != second and first == service_name(Path("/a/lab.yaml"))
    assert re.fullmatch(r"rm360-lab-[0-9a-f]{6}", first)
    assert re.fullmatch(r"rm360-config-[0-9a-f]{6}", service_name(Path("/a/\u5149.yaml")))


def test_a_folder_that_is_there_keeps_its_owner(tmp_path: Path) -> None:
    before = tmp_path.stat().st_uid
    make_folder(tmp_path, pwd.getpwnam("nobody"))
    assert tmp_path.stat().st_uid == before and quoted("%") == '"%%"'


# --- the scripts


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.slow
def test_the_script_prints_the_unit_and_the_name(workspace: Workspace) -> None:
    config = workspace.config()
    script = str(ROOT / "scripts" / "systemd-unit")  # the path of the config starts where the caller is
    unit, name = (
        subprocess.run([script, *arguments], cwd=config.parent, capture_output=True, text=True, check=True, timeout=60)
        for arguments in ([config.name], ["--name", config.name])
    )
    assert setting(unit.stdout, "ExecStart")[0][-1] == str(config)
    assert name.stdout.strip() == service_name(config) and f"SyslogIdentifier={name.stdout.strip()}" in unit.stdout


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not on this machine")
def test_a_tmux_session_has_the_variables_of_its_shell(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tmux server was started by another shell, with another rclone config, for a config of the same file name."""
    workspace.put("0018/0018_e0_raw.smc", Tiny("0018", "e0"))
    monkeypatch.setenv("TMUX_TMPDIR", str(workspace.root))
    monkeypatch.delenv("TMUX", raising=False)
    folder = workspace.root / "it's $HOME"
    folder.mkdir()
    config = workspace.config().rename(folder / "config.yaml")
    other = {**os.environ, "RCLONE_CONFIG": "/nowhere"}
    try:
        subprocess.run(["tmux", "new-session", "-d", "-s", "rm360-config"], env=other, check=True, timeout=60)
        script = [str(ROOT / "scripts" / "tmux-run"), str(config)]
        started = subprocess.run(script, capture_output=True, text=True, check=True, timeout=60)
        assert service_name(config) in started.stdout
        wait_for((workspace.output / "0018" / "e0" / ".extraction_complete").is_file)
    finally:
        subprocess.run(["tmux", "kill-server"], check=True, timeout=60)
