"""config.yaml: what every key means, and that each mistake is one clear line with all others."""

from __future__ import annotations

import os
import re
import string
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rm360_async.config import Settings, load_settings, parse_cameras, parse_modalities
from rm360_async.domain.cameras.rig import rig
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.names import LAST_CAMERA, Modality, Structure

PROJECT = Path(__file__).resolve().parent.parent
NEEDED = (
    'google_drive: {remote_name: "gdrive"}\nextraction: {subjects: ["0018"]}\nstorage: {output_dir: out/subjects}\n'
)

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(text: str) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return to_file


def problems(path: Path, **given: object) -> list[str]:
    """Return the mistakes without the file's path in front."""
    with pytest.raises(BadRequest) as caught:
        load_settings(path, **given)  # type: ignore[arg-type]
    assert all("\n" not in line for line in caught.value.problems)
    return [line.removeprefix(f"{path}: ") for line in caught.value.problems]


def with_value(section: str, key: str, value: str) -> str:
    """Return a config whose other keys are right."""
    sections = {
        "google_drive": {"remote_name": '"gdrive"'},
        "extraction": {"subjects": '["0018"]'},
        "storage": {"output_dir": "out/subjects"},
    }
    sections.setdefault(section, {})[key] = value
    return "".join(
        f"{name}:\n" + "".join(f"  {key}: {value}\n" for key, value in keys.items()) for name, keys in sections.items()
    )


def test_needed_keys_alone_give_all_defaults(write: Write, tmp_path: Path) -> None:
    found = load_settings(write(NEEDED))
    assert found.google_drive.remotes == ("gdrive",)
    assert (found.google_drive.root_folder_id, found.google_drive.structure) == ("", Structure.SINGLE)
    assert found.extraction.subjects == ("0018",)
    assert (found.extraction.performances, found.extraction.cameras) == ("all", "all")
    assert found.extraction.modalities == tuple(Modality)
    out = tmp_path / "out"
    assert found.storage.output_dir == out / "subjects"
    assert found.storage.temp_dir == out / "temp"
    assert found.storage.manifest_path == out / "MANIFEST.csv"
    assert (found.storage.log_dir, found.storage.metrics_path) == (out / "logs", None)
    assert found.processing.delete_smc_after_extraction and found.processing.verify_extraction
    assert not found.processing.force_reextract
    assert (found.processing.max_retries, found.processing.retry_delay) == (3, 30)
    assert (found.processing.damaged, found.processing.quota_wait_hours) == ("publish", 24)
    assert (found.limits.max_temp_bytes, found.limits.min_free_bytes) == (100 * 2**30, 50 * 2**30)
    assert (found.logging.level, found.logging.console_output, found.logging.max_file_bytes) == (
        "INFO",
        True,
        100 * 2**20,
    )


def test_the_example_needs_three_lines_and_the_others_show_the_defaults(write: Write) -> None:
    text = (PROJECT / "config.yaml").read_text()
    found = load_settings(write(text))
    assert found.google_drive.remotes == ("gdrive",)
    assert found.extraction.subjects == ("0018",)
    assert found.storage.output_dir == Path.home() / "renderme360/subjects"
    given = {f"{section}.{key}" for section, keys in yaml.safe_load(text).items() for key in keys or ()}
    assert given == {"google_drive.remote_name", "extraction.subjects", "storage.output_dir"}
    uncommented = re.sub(r"^  # (\w+: )", r"  \1", text, flags=re.MULTILINE)
    shown = yaml.load(uncommented, Loader=yaml.BaseLoader)  # to which the key `on` is text
    for section, model in Settings.model_fields.items():
        assert set(shown[section]) == set(model.annotation.model_fields), section  # type: ignore[union-attr]
    assert load_settings(write(uncommented)) == found, "the lines that are commented out show the defaults"


def test_with_another_output_folder_the_example_leaves_nothing_in_the_home(write: Write, tmp_path: Path) -> None:
    text = (PROJECT / "config.yaml").read_text().replace("~/renderme360/subjects/", "/data/lab/subjects")
    storage = load_settings(write(text)).storage
    for path in (storage.temp_dir, storage.manifest_path, storage.log_dir):
        assert path.parent == Path("/data/lab")


def test_every_value_is_taken(write: Write, tmp_path: Path) -> None:
    found = load_settings(
        write(
            """
google_drive: {root_folder_id: "1AbC_d-e", remote_names: [a, "b:some/folder", a], structure: separate_anno_raw}
extraction:
  subjects: ["0026", "0018", "0026"]
  performances: [s1_all, "e*", s1_all, h1_7bk]
  cameras: [12, 06, 08, "7", 12]
  modalities: [audio, images, audio]
storage: {output_dir: /data/subjects, temp_dir: ../fast, manifest_path: ~/M.csv, metrics_path: rm.prom}
processing: {max_retries: 010, retry_delay: 0.5, workers: 3, damaged: fail, worker_memory_gb: 1.5}
limits: {max_temp_size_gb: 0.25, min_free_space_gb: 0}
logging: {level: debug, console_output: no, max_file_size_mb: 0.5}
"""
        )
    )
    assert found.google_drive.remotes == ("a", "b:some/folder")
    assert found.google_drive.structure is Structure.PAIR
    assert found.extraction.subjects == ("0026", "0018")
    assert found.extraction.performances == ("s1_all", "e*", "h1_7bk")
    assert found.extraction.cameras == ("06", "07", "08", "12")
    assert found.extraction.modalities == (Modality.IMAGES, Modality.AUDIO)
    assert found.storage.temp_dir == tmp_path / "../fast"
    assert found.storage.manifest_path == Path.home() / "M.csv"
    assert found.storage.log_dir == Path("/data/logs")
    assert found.storage.metrics_path == tmp_path / "rm.prom"
    assert type(found.processing.max_retries) is int
    assert (found.processing.max_retries, found.processing.worker_count) == (10, 3)
    assert found.processing.worker_memory_bytes == 3 * 2**29
    assert found.limits.max_temp_bytes == 2**28
    assert (found.logging.level, found.logging.console_output, found.logging.max_file_bytes) == ("DEBUG", False, 2**19)


def test_zero_workers_means_the_cores_of_this_process(write: Write) -> None:
    assert 1 <= load_settings(write(NEEDED)).processing.worker_count <= (os.cpu_count() or 1)


def test_settings_are_frozen(write: Write) -> None:
    found = load_settings(write(NEEDED))
    with pytest.raises(ValueError, match="frozen"):
        found.limits.max_temp_size_gb = 1


def test_relative_paths_start_at_the_configs_folder(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(NEEDED)
    monkeypatch.chdir(path.parent.parent)
    assert load_settings(Path(path.parent.name) / "config.yaml").storage.output_dir == path.parent / "out/subjects"


@pytest.mark.parametrize("text", ["processing:\n", "limits: {}\n", "logging: {level: }\n"])
def test_an_empty_section_or_key_counts_as_absent(write: Write, text: str) -> None:
    assert load_settings(write(NEEDED + text)) == load_settings(write(NEEDED))


def test_an_id_that_yaml_itself_reads_as_text_needs_no_quotes(write: Write) -> None:
    typed = yaml.safe_dump(["0018", "0026"], default_flow_style=True)
    assert typed == "[0018, '0026']\n"
    assert load_settings(write(NEEDED.replace('["0018"]', typed.strip()))).extraction.subjects == ("0018", "0026")


def test_a_byte_order_mark_does_no_harm(write: Write) -> None:
    assert load_settings(write("\ufeff" + NEEDED)).extraction.subjects == ("0018",)


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("[0026]", "extraction.subjects[0]: 0026 is a number to YAML"),
        ("[0026]", 'write "0026"'),
        ('["0018", 26]', "extraction.subjects[1]: 26 is a number"),
        ("[26]", 'write "0026"'),
        ("0026", "extraction.subjects: 0026 is a number to YAML"),
        ('"18"', 'extraction.subjects: "18" is not a subject id; did you mean "0018"?'),
        ("0040-0018", '"0040-0018" ends before it begins; did you mean 0018-0040?'),
        ("0018-40", '"0018-40" is not a subject id'),
        ("[]", "the list is empty"),
        ('["../../etc"]', '"../../etc" is not a subject id'),
        ("[/etc]", '"/etc" is not a subject id'),
        ('[""]', '"" is not a subject id'),
        ('[" "]', '" " is not a subject id'),
        ('["12345"]', '"12345" is not a subject id'),
        ("[12345]", "12345 is not a subject id"),
        ('["٠٠١٨"]', "is not a subject id"),
        ("[18.0]", "18.0 is not a subject id"),
        ("[true]", "true is not a subject id"),
        ("[[a]]", "a list is not a subject id"),
        ('["00\\e18"]', r'"00\u001b18" is not a subject id'),
    ],
)
def test_invalid_subjects(write: Write, typed: str, hint: str) -> None:
    lines = problems(write(with_value("extraction", "subjects", typed)))
    assert len(lines) == 1 and hint in lines[0] and lines[0].startswith("extraction.subjects")


@pytest.mark.parametrize(
    ("section", "key", "typed", "hint"),
    [
        ("extraction", "performances", "[S1_all]", "did you mean s1_all?"),
        ("extraction", "performances", "[s1]", "did you mean s1_all?"),
        ("extraction", "performances", "[../x]", '"../x" is not a performance name'),
        ("extraction", "performances", "[1]", "1 is not a performance name"),
        ("extraction", "performances", "e0-s3", '"e0-s3" is not a performance name; a range stays in one family'),
        ("extraction", "modalities", "metadata-audio", "is not a modality"),
        ("extraction", "modalities", "images -images", "selects nothing"),
        ("extraction", "performances", "[]", "the list is empty"),
        ("extraction", "modalities", "[image]", "did you mean images?"),
        ("extraction", "modalities", "[zzz]", "write some of metadata, calibration"),
        ("extraction", "modalities", "[]", "the list is empty"),
        ("extraction", "cameras", "[100]", "there is no camera 100"),
        ("extraction", "cameras", "[25, 60]", "there is no camera 60; the rig has the cameras 00 to 59"),
        ("extraction", "cameras", "25-20", '"25-20" ends before it begins; did you mean 20-25?'),
        ("extraction", "cameras", "7*", '"7*" is not a camera id'),
        ("extraction", "cameras", "ring:99", "write ring:N with N from 1 to 60"),
        ("extraction", "cameras", "25 -25", "selects nothing"),
        ("extraction", "cameras", "[1.5]", "1.5 is not a camera id"),
        ("extraction", "cameras", "[true]", "true is not a camera id"),
        ("extraction", "cameras", "rings:10", '"rings:10" is not a camera set; did you mean ring:10?'),
        ("extraction", "cameras", "[]", "the list is empty"),
        ("google_drive", "remote_name", '"-v"', "begins with a dash"),
        ("google_drive", "remote_name", '"a\\nb"', "line break"),
        ("google_drive", "remote_name", "18", 'write it in quotes: "18"'),
        ("google_drive", "remote_name", '" "', "is empty"),
        ("google_drive", "remote_names", "gdrive", "write a list"),
        ("google_drive", "structure", "double", "write one of single, separate_anno_raw"),
        (
            "google_drive",
            "root_folder_id",
            "https://drive.google.com/drive/folders/1Ab?usp=x",
            'only the id in it: "1Ab"',
        ),
        (
            "google_drive",
            "root_folder_id",
            "https://drive.google.com/drive/folders/0B7?resourcekey=0-Ab_c&usp=sharing",
            '"0B7"; its resource key belongs to the remote in the rclone config: resource_key = 0-Ab_c',
        ),
        ("google_drive", "root_folder_id", '"--config=/x"', "is not a folder id"),
        ("storage", "output_dir", '""', "is empty"),
        ("storage", "output_dir", '"a\\0b"', "control character"),
        ("storage", "output_dir", "~nobody_of_that_name/x", "there is no such user"),
        ("storage", "output_dir", "$HOME/x", "variables are not expanded"),
        ("storage", "output_dir", "[a]", "must be text, not a list"),
        ("storage", "temp_dir", "out/subjects/0018", "the path of a subject"),
        ("storage", "temp_dir", "out/subjects/0018/s1_all", "the path of a subject"),
        ("storage", "temp_dir", "out/subjects", "the path of a subject"),
        ("storage", "log_dir", "out/x/../subjects/0026/", "the path of a subject"),
        ("storage", "manifest_path", "out/M.sqlite", "is reserved for the ledger"),
        ("processing", "max_retries", "-1", "must be at least 0, not -1"),
        ("processing", "max_retries", "1.5", "must be a whole number, not 1.5"),
        ("processing", "max_retries", "yes", "must be a whole number, not true"),
        ("processing", "retry_delay", ".nan", "must be a number that is not infinite"),
        ("processing", "retry_delay", "1:30", 'must be a number, not "1:30"'),
        ("processing", "downloads", "0", "must be at least 1"),
        ("processing", "verify_extraction", '"true"', 'must be true or false, not "true"'),
        ("processing", "damaged", "ignore", "must be one of 'publish' or 'fail'"),
        ("processing", "extraction_minutes", "0", "must be more than 0"),
        ("limits", "max_temp_size_gb", "0", "must be more than 0"),
        ("limits", "max_temp_size_gb", ".inf", "must be a number that is not infinite"),
        ("limits", "min_free_space_gb", "50GB", 'must be a number, not "50GB"'),
        ("logging", "level", "LOUD", "write one of DEBUG, INFO"),
        ("logging", "max_file_size_mb", "[1]", "must be a number, not a list"),
    ],
)
def test_one_wrong_value_is_one_line(write: Write, section: str, key: str, typed: str, hint: str) -> None:
    lines = problems(write(with_value(section, key, typed)))
    assert len(lines) == 1 and hint in lines[0]
    assert lines[0].startswith(f"{section}.{key}") and "(line " in lines[0]


def test_temp_dir_may_be_in_output_dir_but_not_at_the_path_of_a_subject(write: Write, tmp_path: Path) -> None:
    text = with_value("storage", "temp_dir", "out/subjects/.temp")
    assert load_settings(write(text)).storage.temp_dir == tmp_path / "out/subjects/.temp"


@pytest.mark.parametrize(
    ("section", "key", "meant"),
    [
        ("processing", "max_retrys", "did you mean max_retries?"),
        ("processing", "Max-Retries", "did you mean max_retries?"),
        ("processing", "level", "did you mean logging.level?"),
        ("processing", "max_temp_size", "did you mean limits.max_temp_size_gb?"),
        ("storage", "zzz", "the keys are output_dir, temp_dir, manifest_path, log_dir, metrics_path, keep_failed_gb"),
        ("google_drive", "cameras", "did you mean extraction.cameras?"),
    ],
)
def test_unknown_keys_name_the_nearest_known_one(write: Write, section: str, key: str, meant: str) -> None:
    (line,) = problems(write(with_value(section, key, "3")))
    assert line.startswith(f"{section}.{key}: unknown key; {meant} (line ")


@pytest.mark.parametrize(
    ("text", "meant"),
    [("proccessing: {}\n", "did you mean processing?"), ("max_retries: 3\n", "did you mean processing.max_retries?")],
)
def test_unknown_sections_too(write: Write, text: str, meant: str) -> None:
    (line,) = problems(write(NEEDED + text))
    assert "unknown section" in line and meant in line


def test_all_errors_are_reported_at_once_in_the_files_order(write: Write) -> None:
    text = """
google_drive: {remote_nam: x}
extraction:
  subjects: ["0018", 26, "x"]
  modalities: [imges, audi]
processing: {max_retrys: 3, retry_delay: -1}
limits: 5
logging: {level: INFO, level: DEBUG}
"""
    lines = problems(write(text))
    wanted = [
        "google_drive.remote_nam: unknown key; did you mean remote_name?",
        "extraction.subjects[1]: 26 is a number",
        'extraction.subjects[2]: "x" is not a subject id',
        'extraction.modalities[0]: "imges" is not a modality; did you mean images?',
        'extraction.modalities[1]: "audi" is not a modality; did you mean audio?',
        "processing.max_retrys: unknown key; did you mean max_retries?",
        "processing.retry_delay: must be at least 0",
        "limits: must be a section with keys, not 5",
        "logging.level: is there twice, first in line 8; keep one (line 8)",
        'google_drive.remote_name: missing; write the name of an rclone remote, such as "gdrive"',
        "storage.output_dir: missing; write the folder",
    ]
    assert len(lines) == len(wanted)
    for beginning in wanted:
        assert any(line.startswith(beginning) for line in lines), beginning
    numbers = [int(line.rsplit("(line ", 1)[1].rstrip(")")) for line in lines if "(line " in line]
    assert numbers == sorted(numbers)
    assert not any(word in line for line in lines for word in ("pydantic", "Input should", "type=", "validation"))


def test_no_remote_is_needed_twice(write: Write) -> None:
    text = with_value("google_drive", "remote_name", '""').replace(
        "google_drive:\n", "google_drive:\n  remote_names: [a]\n"
    )
    assert load_settings(write(text)).google_drive.remotes == ("a",)


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"", "is empty"),
        (b"# only a comment\n", "is empty"),
        (b"[1, 2]\n", "has no sections"),
        (b"just text\n", "has no sections"),
        (b"a: [1\nb: 2\n", "is not valid YAML"),
        (b"a:\n\tb: 1\n", "indent with spaces, not with tabs (line 2)"),
        (b"a: 1\n---\nb: 2\n", "is not valid YAML"),
        (b"a: \x00\n", "is not valid YAML"),
        (b"a: 1\nb: \xff\xfe\n", "is not UTF-8 text (line 2)"),
        (b"a: *nothing\n", "is not valid YAML"),
        (b"[" * 5000, "is nested too deeply"),
        (b"#" * (2**20 + 1), "larger than 1 MB"),
    ],
)
def test_files_that_are_not_a_config(tmp_path: Path, data: bytes, hint: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(data)
    (line,) = problems(path)
    assert hint in line


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    assert problems(tmp_path / "no.yaml") == ["no such file; give the path of your config.yaml"]
    assert problems(tmp_path) == ["is a folder; give the path of the config.yaml in it"]


def test_nothing_in_a_config_is_executed(write: Write, tmp_path: Path) -> None:
    made = tmp_path / "made"
    text = NEEDED + f'logging: {{level: !!python/object/apply:os.mkdir ["{made}"]}}\n'
    (line,) = problems(write(text))
    assert line.startswith("logging.level: the tag tag:yaml.org,2002:python/object/apply:os.mkdir is not allowed")
    assert not made.exists()


def test_aliases_that_multiply_and_loops_are_refused(write: Write) -> None:
    bomb = "a: &a [" + ",".join("x" * 9) + "]\n"
    for letter, earlier in zip("bcdefgh", "abcdefg", strict=True):
        bomb += f"{letter}: &{letter} [" + ",".join([f"*{earlier}"] * 9) + "]\n"
    assert any("has too many values" in line for line in problems(write(bomb)))
    assert any("nested too deeply" in line for line in problems(write("a: &a [*a]\n")))


def test_the_command_line_replaces_values_of_the_file(write: Write) -> None:
    path = write(NEEDED.replace('subjects: ["0018"]', 'cameras: "all"'))
    found = load_settings(path, subjects=("0026",), performances=("s*",), cameras="0,6", modalities="masks,images")
    assert found.extraction.subjects == ("0026",)
    assert found.extraction.performances == ("s*",)
    assert found.extraction.cameras == ("00", "06")
    assert found.extraction.modalities == (Modality.IMAGES, Modality.MASKS)


def test_errors_of_file_and_command_line_are_reported_together(write: Write) -> None:
    path = write(NEEDED + "limits: {max_temp_size_gb: -1}\n")
    lines = problems(path, subjects=("18",), cameras="ring", modalities="x")
    assert lines[0].startswith("limits.max_temp_size_gb: must be more than 0")
    assert [line.split(":")[0] for line in lines[1:]] == ["--subject", "--cameras", "--modalities"]


def test_the_last_camera_is_that_of_the_rig() -> None:
    assert f"{LAST_CAMERA:02d}" == max(rig()) and len(rig()) == LAST_CAMERA + 1


def test_cameras_and_modalities_of_a_command_line() -> None:
    assert parse_cameras("0, 12,6,6") == ("00", "06", "12")
    assert parse_cameras("7") == ("07",)
    assert parse_cameras("all") == "all"
    assert parse_cameras("ring:10") == "ring:10"
    assert parse_modalities("audio,images") == (Modality.IMAGES, Modality.AUDIO)
    assert parse_modalities("all") == tuple(Modality)
    assert parse_cameras("0,ring:10") == "00 +ring:10"
    assert parse_modalities(["images", "key* -keypoints3d"]) == (Modality.IMAGES, Modality.KEYPOINTS2D)
    for text in ("", ",", "0,x", "ring:", "0;ring:10", "100", "60"):
        with pytest.raises(BadRequest, match=r"^--cameras: "):
            parse_cameras(text)
    with pytest.raises(BadRequest, match="did you mean masks"):
        parse_modalities("images,mask")


KEYS = st.sampled_from(["google_drive", "extraction", "storage", "processing", "subjects", "cameras", "max_retries"])
PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(string.printable, max_size=8), st.dates()
)
TREES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TREES)
def test_any_yaml_gives_settings_or_plain_errors(tmp_path: Path, value: object) -> None:
    path = tmp_path / "any.yaml"
    path.write_text(yaml.safe_dump(value, allow_unicode=True), encoding="utf-8")
    try:
        load_settings(path)
    except BadRequest as error:
        assert error.problems
        assert all(line.startswith(f"{path}: ") and line.isprintable() for line in error.problems)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60))
def test_any_bytes_are_refused_in_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "any.yaml"
    path.write_bytes(data)
    with pytest.raises(BadRequest):
        load_settings(path)
