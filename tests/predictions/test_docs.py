"""The examples of the format's page work as they stand there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from vitad_med.predictions import layout
from vitad_med.predictions.journal import Journal
from vitad_med.predictions.reader import read_predictions


@pytest.fixture(scope="module")
def page(repo_root: Path) -> str:
    return (repo_root / "docs" / "predictions_format.md").read_text(encoding="utf-8")


def test_the_example_is_read(page: str, tmp_path: Path) -> None:
    for name in ("predictions.csv", "boxes.csv"):
        block = re.search(rf"`{re.escape(name)}`:\n\n((?:    .*\n)+)", page)
        assert block is not None
        (tmp_path / name).write_text(dedent(block.group(1)))
    found = read_predictions(tmp_path, identifiers="clear")
    assert [case.label for case in found.cases] == [0, 1, 0, 1]
    assert [len(case.boxes) for case in found.cases] == [0, 1, 0, 1]
    assert {case.columns for case in found.cases} == {(("scanner", "east"),), (("scanner", "west"),)}


def test_the_code_runs(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def results() -> Iterator[tuple[str, str, float, int, str, np.ndarray]]:
        for index in range(3):
            yield f"i{index}", f"p{index}", index / 3, index % 2, "M", np.full((10, 10), index)

    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(block, {"results": results})
    assert capsys.readouterr().out.split() == ["3", "0.3333333333333333", "(224,", "224)"]


def test_every_column_and_key_is_described(page: str) -> None:
    for name in (*layout.COLUMNS, *Journal.__dataclass_fields__):
        assert f"`{name}`" in page, name
    for suffix in layout.MAP_SUFFIXES:
        assert f"`{suffix}`" in page, suffix
