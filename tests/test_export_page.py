"""The pages say what works: commands of `export/README.md` run, and the torch examples read published folders."""

from __future__ import annotations

import multiprocessing
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from exported import EXPRESSION, SPEECH, export, publish

import rm360_async
from rm360_async.dataset import MissingData
from rm360_async.export.format import NOTICE
from rm360_async.export.formats import format_names

PACKAGE = Path(rm360_async.__file__).parent
PAGE = PACKAGE / "export" / "README.md"
README = PACKAGE.parent / "README.md"


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an output folder with 0026/e0 and 0018/s3_all."""
    return publish(tmp_path_factory.mktemp("page"), EXPRESSION, SPEECH)


def export_commands() -> list[list[str]]:
    """Return the arguments of the export commands of the recipes."""
    lines = (line for line in PAGE.read_text().splitlines() if line.startswith("rm360 export "))
    commands = (shlex.split(line)[2:] for line in lines)
    return [arguments for arguments in commands if arguments[0] in format_names()]


@pytest.mark.parametrize("arguments", export_commands(), ids=lambda arguments: str(arguments[0]))
def test_each_export_of_the_recipes_is_one_that_works(subjects: Path, tmp_path: Path, arguments: list[str]) -> None:
    name = arguments[0]
    target = subjects / ("0018/s3_all" if "0018" in arguments[1] else "0026/e0")
    smaller = {"hold:8": "hold:2", "512": "96", "1024": "96"}  # for six cameras, and pictures of 153 x 128 px
    options = [smaller.get(each, each) for each in arguments[arguments.index("--output") + 2 :]]
    assert export(name, target, "--output", tmp_path / "out", *options) == 0
    assert any((tmp_path / "out").rglob(".rm360_export.json"))


def test_the_page_names_every_format_and_the_agreement() -> None:
    text = PAGE.read_text()
    assert {match[1] for match in re.finditer(r"^\| `([a-z0-9]+)` \|", text, re.M)} == set(format_names())
    assert "may not be passed" in text
    assert "may not be passed on" in NOTICE
    for licensed in ("FLAME model", "Basel Face Model"):
        assert licensed in text
    assert "rm360_async/export/README.md" in README.read_text()


class _Tensors(ModuleType):
    """As much of torch as the examples use: from_numpy, Dataset, and a DataLoader that reads in forked workers."""

    def __init__(self) -> None:
        super().__init__("torch")
        self.from_numpy = np.asarray
        self.utils = ModuleType("torch.utils")
        self.utils.data = ModuleType("torch.utils.data")  # type: ignore[attr-defined]
        self.utils.data.Dataset = object
        self.utils.data.DataLoader = _read_in_workers


_views: list[Any] = []


def _read_one(index: int) -> Any:
    return _views[-1][index]


def _read_in_workers(dataset: Any, *, num_workers: int, **_: object) -> list[Any]:
    _views.append(dataset)
    with multiprocessing.get_context("fork").Pool(num_workers) as pool:
        return pool.map_async(_read_one, range(len(dataset))).get(60)


@pytest.mark.parametrize("page", [PAGE, README], ids=["page", "readme"])
def test_the_torch_example_reads_views_in_workers(subjects: Path, page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", _Tensors())
    monkeypatch.chdir(subjects.parent)
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.S) if "Dataset)" in block)
    names: dict[str, Any] = {"torch": sys.modules["torch"], "rm360_async": rm360_async}
    exec(compile(code, str(page), "exec", dont_inherit=True), names)
    items = names["loader"]
    assert len(items) == len(names["Views"]("subjects")) > 0
    first = items[0]
    image, K = (first["image"], first["K"]) if isinstance(first, dict) else first
    assert image.shape == (32, 39, 3)
    assert K.shape == (3, 3)
    with pytest.raises(MissingData):
        names["Views"]("subjects").items[0][0].keypoints3d(4)
