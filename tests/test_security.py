"""Nothing from a remote or a file becomes a path, a link that is followed, a token in a log, or a pickle we load."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_architecture import FILES, PACKAGE, room_of
from tiny_smc import Tiny
from workspace import Workspace, tree

from rm360_async.cli.main import main
from rm360_async.domain.errors import Fault
from rm360_async.domain.names import Structure, output_folder, remote_path
from rm360_async.download import spool
from rm360_async.download.rclone import find_rclone
from rm360_async.download.rclone.listing import group_by_performance, parse_listing
from rm360_async.store.staging import staging_path

GOOD = "0018/0018_e0_raw.smc"
HOSTILE_PATHS = (
    *("../0018_e0_raw.smc", "0018/../../0018_e0_raw.smc", "/etc/0018_e0_raw.smc", "//0018/0018_e0_raw.smc"),
    *("0018/0018_e0_raw.smc/", "./0018/0018_e1_raw.smc", "0018\\0018_e0_raw.smc", "0018/0018_e1_raw.smc\n"),
    *("0018/0018_e1_raw.smc\0", "0018/0018_e1\0_raw.smc", "0018/0018_\u202ee1_raw.smc", "0018/0018_e\uff11_raw.smc"),
    *(
        "0018/0018_" + "e" * 5000 + "_raw.smc",
        "0018/0018_..._raw.smc",
        "0018/0018_e1_RAW.smc",
        "0018/0018_e1;ls_raw.smc",
    ),
    *("0019/0018_e0_raw.smc", "0018/-rf_e0_raw.smc", "0018/$(touch x)_raw.smc", "\u0660\u0661\u0662\u0663/x.smc", ""),
)


def inside(path: Path, folder: Path) -> bool:
    """Tell whether a path, links and dots resolved, lies below a folder."""
    return folder.resolve() in Path(os.path.normpath(path)).resolve().parents


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Publish 0018/e0 once, with its .smc kept, for tests to copy."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        workspace = Workspace(tmp_path_factory.mktemp("once"), monkeypatch)
        workspace.put(GOOD, Tiny("0018", "e0"))
        assert workspace.run(processing__delete_smc_after_extraction=False) == 0
        yield workspace.root


@pytest.fixture
def done(workspace: Workspace, once: Path) -> Workspace:
    """Return a workspace in which 0018/e0 is published."""
    shutil.copytree(once / "remote", workspace.remote, dirs_exist_ok=True)
    shutil.copytree(once / "work", workspace.root / "work")
    workspace.config()
    return workspace


# --- names from a listing


@pytest.mark.parametrize("structure", Structure)
def test_hostile_paths_of_a_listing_are_no_performances(structure: Structure) -> None:
    entries = [{"Path": path, "Size": 10, "ModTime": "x", "ID": "../id"} for path in HOSTILE_PATHS]
    listing = group_by_performance(parse_listing(json.dumps(entries).encode(), "listing").files, structure)
    assert listing.files == {} and len(listing.unrecognized) == len(HOSTILE_PATHS)


@settings(deadline=None)
@given(st.text(max_size=60) | st.from_regex(r"[0-9]{4}/[0-9]{4}_[ehs][0-9./]{1,3}[_a-z.]{0,6}_raw\.smc"), st.text())
def test_any_path_of_a_listing_stays_in_its_place(path: str, other: str) -> None:
    entry = {"Path": path, "Size": 10, "Hashes": {"md5": other}, "ModTime": other, "ID": other}
    temp, output = Path("/data/temp"), Path("/data/subjects")
    for performance, kinds in group_by_performance(
        parse_listing(json.dumps([entry]).encode(), "x").files, Structure.SINGLE
    ).files.items():
        for kind, listed in kinds.items():
            assert remote_path(Structure.SINGLE, performance, kind) == listed.path == path
            whole = spool.whole_path(temp, performance, kind, listed.source())
            for place in (whole, spool.sparse_path(whole), spool.quarantine_path(whole)):
                assert inside(place, temp) and re.fullmatch(r"[0-9a-z_.]+", place.name)
            final = output_folder(output, performance)
            for place in (final, staging_path(final, "a1")):
                assert inside(place, output) and place.parent.parent == output


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"Path": GOOD},
        {"Size": 10},
        {"Path": GOOD, "Size": "many"},
        {"Path": GOOD, "Size": None},
        {"Path": GOOD, "Size": 1, "Hashes": "md5"},
        None,
        "text",
        7,
    ],
)
def test_a_listing_with_missing_or_wrong_fields_is_one_sentence(entry: Any) -> None:
    with pytest.raises(Fault, match="is not a listing"):
        parse_listing(json.dumps([entry]).encode(), "listing lab:")


class FakeRclone:
    """The real rclone, except that `lsjson` also lists what a test injects, and that commands may fail loudly."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        real = find_rclone()
        (folder / "rclone").write_text(
            f"#!{sys.executable}\n"
            "import json, pathlib, subprocess, sys\n"
            f"here, real = pathlib.Path({str(folder)!r}), {real!r}\n"
            "with open(here / 'calls', 'a') as calls:\n"
            "    calls.write(json.dumps(sys.argv[1:]) + '\\n')\n"
            "if sys.argv[1] in ('cat', 'serve') and (here / 'stderr').exists():\n"
            "    sys.stderr.write((here / 'stderr').read_text())\n"
            "    sys.exit(1)\n"
            "done = subprocess.run([real, *sys.argv[1:]], stdout=subprocess.PIPE)\n"
            "out = done.stdout\n"
            "if sys.argv[1] == 'lsjson' and (here / 'entries').exists():\n"
            "    out = json.dumps(json.loads(out) + json.loads((here / 'entries').read_text())).encode()\n"
            "sys.stdout.buffer.write(out)\n"
            "sys.exit(done.returncode)\n"
        )
        (folder / "rclone").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def lists(self, *entries: dict[str, Any]) -> None:
        (self.folder / "entries").write_text(json.dumps(entries))

    def fails(self, stderr: str) -> None:
        (self.folder / "stderr").write_text(stderr)

    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRclone:
    return FakeRclone(tmp_path / "fake", monkeypatch)


def test_a_whole_run_on_a_hostile_listing(
    workspace: Workspace, fake: FakeRclone, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.put(GOOD, Tiny("0018", "e0"))
    workspace.subjects = "all"
    entries = [{"Path": path, "Size": 10, "ModTime": "2022-01-01T00:00:00Z"} for path in HOSTILE_PATHS if path]
    fake.lists(
        *entries,
        {"Path": "0018/0018_e1_raw.smc", "Size": 0},
        {"Path": "0018/0018_e2_raw.smc", "Size": -1},
        {"Path": "0018/0018_e3_raw.smc", "Size": 10, "ID": "a"},
        {"Path": "0018/0018_e3_raw.smc", "Size": 11, "ID": "b"},
        {"Path": "0018/0018_e4_raw.smc", "Size": 2**62},
    )
    assert workspace.run(processing__max_retries=0) == 1
    rows = workspace.manifest()
    assert {name: row["status"] for name, row in rows.items()} == {
        "0018/e0": "completed",
        "0018/e1": "failed",
        "0018/e3": "download_failed",
        "0018/e4": "failed",
    }
    assert sorted(os.listdir(workspace.output)) == ["0018"] and sorted(os.listdir(workspace.output / "0018")) == ["e0"]
    assert all(path.name.startswith("0018_e0_raw") for path in workspace.temp.rglob("*.smc*"))
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err + workspace.log()
    assert "\0" not in workspace.log() and "\u202e" not in workspace.log() and workspace.leftovers() == []


def test_rclone_gets_arguments_and_never_a_shell_or_an_option_from_a_name(
    workspace: Workspace, fake: FakeRclone
) -> None:
    workspace.put(GOOD, Tiny("0018", "e0"))
    assert workspace.run() == 0
    for call in fake.calls():
        assert not any(word in part for part in call for word in ("$(", ";", "|", "`"))
    assert main(["run", str(workspace.config(google_drive__remote_name="--config=/tmp/x"))]) == 2


# --- names from inside a file


ODD_KEYS = (
    "..",
    ".",
    "...",
    "25 ",
    " 25",
    "2\n5",
    "25\t",
    "-1",
    "\uff12\uff15",
    "cam_25",
    "x" * 300,
    "\u202e52",
    "99999999999",
)


def renamed(path: Path, old: bytes, new: bytes) -> None:
    """Give a link inside of an HDF5 file a name that no library would write: another of the same length."""
    data = path.read_bytes()
    assert len(old) == len(new) and data.count(old) >= 1
    path.write_bytes(data.replace(old, new))


def spoiled(path: Path, how: str) -> None:
    """Write a file that has odd names beside the right ones, wherever a name could become a path."""
    tiny = Tiny("0018", "e0", masks=True, anno=True)
    tiny.write(path)
    picture = np.frombuffer(tiny.image("25", 0), np.uint8)
    with h5py.File(path, "a") as file:
        for place in ("Camera/25/color", "UV_texture", "ScanMask", "Camera", "Keypoints2d", "Calibration", "FLAME"):
            for key in ("QQQQQQQQ",) if how == "slashes" else ODD_KEYS:
                inner = {"Camera": "/color/0", "Keypoints2d": "/0", "Calibration": "/K", "FLAME": "/exp"}.get(place, "")
                if key != "." and f"{key}{inner}" not in file[place]:
                    file[place][f"{key}{inner}"] = picture
        file.attrs["actor_id"], file.attrs["performance_part"] = "../../etc", np.bytes_(b"/etc/passwd\0x")
    if how == "slashes":
        renamed(path, b"QQQQQQQQ", b"Q/../../")  # sorts as before: the index stays sound


@pytest.mark.parametrize("how", ["odd", "slashes"])
def test_keys_of_a_file_never_leave_the_folder(workspace: Workspace, how: str) -> None:
    spoiled(workspace.put(GOOD, b""), how)
    workspace.run()
    assert workspace.status_of("0018/e0") == "completed", workspace.manifest()
    allowed = re.compile(
        r"(images|masks)/cam_\d\d/frame_\d{6,10}\.(jpg|png)|uv_textures/frame_\d{6,10}\.\w+|scan_masks/cam_\d\d\.png"
        r"|calibration/(all_cameras\.npy|cam_\d\d\.npy|cameras\.json)|keypoints2d/cam_\d\d\.npz|\.extraction_\w+(\.csv)?"
        r"|(keypoints3d|flame)/all_frames\.npz|scan/mesh\.ply|audio/audio(\.mp3|\.wav|_data\.npz)|metadata/info\.json"
    )
    written = tree(workspace.folder("0018/e0"))
    assert [path for path in written if not allowed.fullmatch(path)] == []
    assert "images/cam_25/frame_000000.jpg" in written
    everything = {path.name for path in workspace.root.rglob("*")}
    assert "Q" not in everything and sorted(os.listdir(workspace.root)) == [
        "config.yaml",
        "rclone.conf",
        "remote",
        "work",
    ]
    assert sorted(os.listdir(workspace.root / "work")) == [
        *("MANIFEST.csv", "MANIFEST.lock", "MANIFEST.sqlite", "MANIFEST.sqlite-journal"),
        *("logs", "subjects", "temp"),
    ]


def test_ids_inside_of_a_file_name_no_folder(workspace: Workspace) -> None:
    workspace.put(GOOD, Tiny("../../../tmp/x", "/etc/passwd"))
    assert workspace.run() == 0
    assert sorted(os.listdir(workspace.output)) == ["0018"]
    assert workspace.info("0018/e0")["subject_id"] == "0018"


# --- symbolic links in our way


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """Give a folder of somebody else's, that must stay as it is."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "victim").write_text("mine")
    yield folder
    assert tree(folder) == {"victim": b"mine"}


def plant(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize(("force", "dangling"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("place", ["0018", "0018/e0", "0018/.e0.abcd1234.staging"])
def test_links_among_the_published_folders(
    workspace: Workspace, outside: Path, place: str, force: bool, dangling: bool
) -> None:
    workspace.put(GOOD, Tiny("0018", "e0"))
    plant(workspace.output / place, outside / "absent" if dangling else outside)
    code = workspace.run(*(["--force"] if force else []), processing__max_retries=0)
    if place.endswith(".staging"):
        assert code == 0 and not (workspace.output / place).is_symlink()
        return
    assert code in (1, 3) and (workspace.output / place).is_symlink()
    assert workspace.manifest().get("0018/e0", {"status": "pending"})["status"] != "completed"


@pytest.mark.parametrize("kind", ["part", "whole"])
def test_links_among_the_staged_files(done: Workspace, outside: Path, kind: str) -> None:
    (kept,) = (done.temp / "kept").iterdir()
    kept.unlink()
    place = done.temp / kept.name
    plant(spool.sparse_path(place) if kind == "part" else place, outside / "victim")
    done.run("--force", processing__max_retries=0)
    assert (done.folder("0018/e0") / ".extraction_complete").is_file(), "what was published before is still there"
    assert (done.remote / GOOD).stat().st_size > 100


@pytest.mark.parametrize("name", ["guard", "000000000001.lease"])
def test_a_linked_lease_is_not_written_through(
    workspace: Workspace, outside: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.put(GOOD, Tiny("0018", "e0"))
    (workspace.temp / ".leases").mkdir(parents=True)
    plant(workspace.temp / ".leases" / name, outside / "absent")
    assert workspace.run() in (0, 3)
    assert not (outside / "absent").exists()
    assert "Traceback" not in capsys.readouterr().err


def test_an_earlier_manifest_is_not_copied_through_a_link(workspace: Workspace, outside: Path) -> None:
    workspace.put(GOOD, Tiny("0018", "e0"))
    manifest = workspace.root / "work/MANIFEST.csv"
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text("subject,performance,status\n0018,e0,pending\n")
    plant(manifest.with_name(f".MANIFEST.csv.earlier.{os.getpid()}.new"), outside / "victim")
    before = (outside / "victim").read_bytes()
    assert workspace.run() == 0
    assert (outside / "victim").read_bytes() == before
    assert manifest.with_name("MANIFEST.csv.earlier").read_text().startswith("subject,performance,status")


def test_a_linked_manifest_is_replaced_and_not_written_through(done: Workspace, outside: Path) -> None:
    manifest = done.root / "work/MANIFEST.csv"
    text = manifest.read_text()
    manifest.unlink()
    plant(manifest, outside / "victim")
    assert done.run() == 0
    assert manifest.read_text() == text and not manifest.is_symlink()


@pytest.mark.parametrize("name", ["MANIFEST.sqlite", "MANIFEST.lock"])
@pytest.mark.parametrize("target", ["victim", "absent", "ledger"])
def test_a_linked_ledger_or_lock_is_refused(
    done: Workspace, outside: Path, tmp_path: Path, name: str, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    aim = tmp_path / "elsewhere" if target == "ledger" else outside / target
    (done.root / "work" / name).rename(tmp_path / "elsewhere")
    before = aim.read_bytes() if aim.exists() else None
    plant(done.root / "work" / name, aim)
    assert done.run() == 3
    assert (aim.read_bytes() if aim.exists() else None) == before
    assert "Traceback" not in capsys.readouterr().err


def test_a_linked_journal_is_not_written_through(done: Workspace, outside: Path) -> None:
    journal = done.root / "work/MANIFEST.sqlite-journal"
    journal.unlink(missing_ok=True)
    plant(journal, outside / "victim")
    assert done.run("--force") in (0, 3)


def test_a_linked_log_is_not_written_through(workspace: Workspace, outside: Path) -> None:
    """Links under every name that a log of the next minutes could have."""
    now = datetime.now()
    for second in range(90):
        plant(
            workspace.root / f"work/logs/extraction_{now + timedelta(seconds=second):%Y%m%d_%H%M%S}.log",
            outside / "victim",
        )
    workspace.put(GOOD, Tiny("0018", "e0"))
    assert workspace.run() == 0
    (log,) = [path for path in (workspace.root / "work/logs").iterdir() if not path.is_symlink()]
    assert "published 0018/e0" in log.read_text()


# --- modes, tokens, pickles


@pytest.mark.parametrize("mask", [0o077, 0o002])
def test_the_umask_is_honoured(workspace: Workspace, mask: int) -> None:
    """Files that libraries make too: with 002, the next member of a group can write what one member's run made."""
    workspace.put(GOOD, Tiny("0018", "e0", masks=True, anno=True))
    before = os.umask(mask)
    try:
        assert workspace.run(processing__delete_smc_after_extraction=False) == 0
        assert workspace.command("verify", "--deep") == 0
    finally:
        os.umask(before)
    made = [path for path in (workspace.root / "work").rglob("*")]
    names = {path.name for path in made}
    assert {"MANIFEST.sqlite", "MANIFEST.sqlite-journal", "audio.mp3", "audio.wav", "audio_data.npz", "kept"} <= names
    assert any(path.suffix == ".smc" for path in made) and any(path.suffix == ".log" for path in made)
    for path in made:
        is_picture = path.is_file() and {"images", "masks"} & {each.name for each in path.parents}
        wanted = (0o777 if path.is_dir() else 0o444 if is_picture else 0o666) & ~mask
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


TOKENS = ("ya29.a0AfH6SMC-secret-token", "1//0gSecretRefreshTokenOfDrive", "GOCSPX-secretOfTheClient", "hunter2secret")


def test_no_token_of_rclones_errors_is_kept_anywhere(
    workspace: Workspace, fake: FakeRclone, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.put(GOOD, Tiny("0018", "e0"))
    access, refresh, client, password = TOKENS
    fake.fails(
        f'2026/01/01 10:00:00 ERROR : Authorization: Bearer {access} refused "refresh_token":"{refresh}"\n'
        + json.dumps({"level": "error", "msg": f"oauth: client_secret={client} access_token={access} pass={password}"})
        + f"\nFailed to cat: Get https://me:{password}@host/?access_token={access}&refresh_token={refresh}: refused\n"
    )
    assert workspace.run(processing__max_retries=1, logging__level="DEBUG", logging__console_output=True) == 1
    assert workspace.command("status") == 0
    said = capsys.readouterr()
    kept = b"".join(path.read_bytes() for path in (workspace.root / "work").rglob("*") if path.is_file())
    for token in TOKENS:
        assert token not in said.out + said.err and token.encode() not in kept, token
    assert workspace.manifest()["0018/e0"]["error"] != ""


def calls_of(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def keyword(call: ast.Call, name: str) -> str | None:
    return next((ast.unparse(each.value) for each in call.keywords if each.arg == name), None)


PICKLING = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "multiprocessing", "torch"}

MAY_IMPORT = [
    ("extraction/arrays.py", {"pickle"}),
    ("extraction/copy_processes.py", {"multiprocessing"}),
    ("extraction/forks.py", {"multiprocessing"}),
]
"""What is given to others as a pickle; processes that we fork, and speak to in JSON."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_we_load_no_pickle_and_run_no_text(path: Path) -> None:
    names = path.relative_to(PACKAGE).as_posix()
    for node in ast.walk(ast.parse(path.read_text())):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found = {module.split(".")[0] for module in modules} & PICKLING
        assert not found or (names, found) in MAY_IMPORT, f"{names} imports {found}"
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pickle":
            assert node.attr == "dumps", f"{names}: pickle.{node.attr}"
    for name, call in calls_of(path):
        by_pickle = name.endswith((".send", ".recv", ".Queue", ".Pool", ".Manager"))
        assert not (by_pickle and (names, {"multiprocessing"}) in MAY_IMPORT), f"{names}: {name} pickles"
        assert keyword(call, "allow_pickle") in (None, "False"), f"{names}: {name} with allow_pickle"
        assert keyword(call, "shell") in (None, "False"), f"{names}: {name} with a shell"
        assert name not in ("eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"), (
            f"{names}: {name}"
        )
    assert room_of(path)


def test_the_calibration_is_never_loaded_as_a_pickle(done: Workspace) -> None:
    """A trap in the pickled calibration of a published folder springs for nobody."""
    workspace = done
    sprung = workspace.root / "sprung"
    trap = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + b"\n"
    trap += b"cos\nsystem\n(S'touch " + str(sprung).encode() + b"'\ntR."
    for name in ("all_cameras.npy", "cam_25.npy"):
        (workspace.folder("0018/e0") / "calibration" / name).write_bytes(trap)
    steps: list[Callable[[], int]] = [
        lambda: workspace.command("verify", "--deep", "--repair"),
        lambda: workspace.command("doctor", "--rebuild"),
        lambda: workspace.command("status"),
        lambda: workspace.run(),
    ]
    for step in steps:
        step()
    assert not sprung.exists() and workspace.command("verify", "--deep") == 0
