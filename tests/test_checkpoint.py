"""Files that are either whole or absent, and as private as the process wants them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vitad_med.checkpoint import atomic_path


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_files_keep_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    former = os.umask(mask)
    try:
        with atomic_path(tmp_path / "scores.csv") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(former)
    assert (tmp_path / "scores.csv").stat().st_mode & 0o777 == mode


def test_a_block_that_fails_leaves_the_former_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text("former")

    def fail() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        fail()
    assert path.read_text() == "former"
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.json"]
