"""The section `cluster:` of a config."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from rm360_async.cluster.keys import make_keys
from rm360_async.commands.doctor.cluster import check_cluster
from rm360_async.config import Settings, load_settings
from rm360_async.domain.check_status import CheckState
from rm360_async.domain.errors import BadRequest


def settings_of(folder: Path, text: str = "") -> Settings:
    path = folder / "config.yaml"
    needed = "google_drive: {remote_name: lab}\nextraction: {subjects: all}\nstorage: {output_dir: out/subjects}\n"
    path.write_text(needed + text)
    return load_settings(path)


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"listen": "tls://0.0.0.0:8786"}, "scheduler_file is missing"),
        ({"scheduler_file": "c", "listen": "tcp://0.0.0.0:8786"}, 'needs keys; write "tls://0.0.0.0:8786"'),
        ({"scheduler_file": "c", "listen": "tcp://10.0.0.5:1"}, "needs keys"),
        ({"scheduler_file": "c", "listen": "localhost:1"}, "is not an address"),
        ({"scheduler_file": "c", "listen": "tls://0.0.0.0:99999"}, "is not an address"),
        ({"scheduler_file": "c", "listen": "tls://0.0.0.0:8786"}, "tls is missing"),
        ({"scheduler_file": "c", "lost_after_seconds": 1}, "must be at least 5"),
        ({"scheduler_fiel": "c"}, "scheduler_file"),
    ],
)
def test_a_wrong_cluster_is_an_error(tmp_path: Path, section: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadRequest) as caught:
        settings_of(tmp_path, yaml.safe_dump({"cluster": section}))
    assert sentence in str(caught.value)


@pytest.mark.parametrize("listen", ["tcp://127.0.0.1:0", "tcp://localhost:8786", "tcp://[::1]:0"])
def test_on_this_machine_no_keys_are_needed(tmp_path: Path, listen: str) -> None:
    section = {"cluster": {"scheduler_file": "c.json", "listen": listen}}
    cluster = settings_of(tmp_path, yaml.safe_dump(section)).cluster
    assert cluster.is_used and cluster.listen == listen and cluster.scheduler_file == tmp_path / "c.json"
    assert not settings_of(tmp_path).cluster.is_used


def test_doctor_checks_a_cluster(tmp_path: Path) -> None:
    assert list(check_cluster(settings_of(tmp_path))) == [], "there is none"
    (tmp_path / "file").touch()
    section = {"scheduler_file": "file/c.json", "listen": "tls://127.0.0.1:0", "tls": "keys"}
    results = list(check_cluster(settings_of(tmp_path, yaml.safe_dump({"cluster": section}))))
    failed = [result.text for result in results if result.state is CheckState.FAIL]
    assert len(failed) == 2 and "cannot write in" in failed[0] and "the keys of the cluster are missing" in failed[1]
    make_keys(tmp_path / "keys")
    section = {**section, "scheduler_file": "made/by/the/run/c.json", "temp_dir": "/scratch"}
    results = list(check_cluster(settings_of(tmp_path, yaml.safe_dump({"cluster": section}))))
    assert not [result for result in results if result.state is CheckState.FAIL]
    assert any("can listen on tls://127.0.0.1:0" in result.text for result in results)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "no such file"),
        ("google_drive: [", "error: "),
        (
            "google_drive: {remote_name: lab}\nextraction: {subjects: all}\nstorage: {output_dir: out}\n",
            "has no cluster.scheduler_file",
        ),
    ],
)
def test_slurm_nodes_says_in_a_line_what_is_wrong_with_a_config(
    tmp_path: Path, text: str | None, sentence: str
) -> None:
    config = tmp_path / "lab.yaml"
    if text is not None:
        config.write_text(text)
    environment = {**os.environ, "PYTHON": sys.executable, "VENV": sys.prefix}
    script = Path(__file__).parent.parent / "scripts" / "slurm-nodes"
    ended = subprocess.run([script, config, "--jobs", "2"], env=environment, capture_output=True, text=True)
    said = [line for line in ended.stderr.splitlines() if not line.startswith("setting up ")]
    assert ended.returncode == 2 and len(said) == 1 and sentence in said[0], ended.stderr
