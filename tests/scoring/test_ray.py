"""Ray Data on this machine: the bytes of one process, and a sentence where it does not start."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vitad_med.errors import ConfigError
from vitad_med.scoring.run import Scored

pytest.importorskip("ray", reason="the extra `ray` is not installed")


@pytest.fixture
def rays(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Ray's folder: a short name, since sockets in it may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield Path(folder)


@pytest.mark.slow
def test_the_same_bytes_as_one_process(
    score: Callable[..., Scored], tree: Callable[[Path], dict[str, bytes]], tmp_path: Path, rays: Path
) -> None:
    outputs = ("worklist", "parquet", "report", "maps", "sc", "seg", "sr", "gsps")
    here = score(out=tmp_path / "here", outputs=outputs)
    there = score(out=tmp_path / "there", outputs=outputs, engine="ray")
    assert list(rays.iterdir())  # it was really Ray
    assert sum(row.score is not None for row in there.rows) == 7
    expected = tree(here.out)
    assert {path.split("/")[1] for path in expected if path.startswith("dicom/")} >= {"sc", "sr"}
    assert tree(there.out) == expected


@pytest.mark.slow
def test_it_goes_on_with_a_run_of_one_process(
    score: Callable[..., Scored], tree: Callable[[Path], dict[str, bytes]], tmp_path: Path, rays: Path
) -> None:
    whole = score(out=tmp_path / "whole")
    cut = score(out=tmp_path / "cut").out
    batches = (cut / "state" / "batches.jsonl").read_bytes()
    (cut / "state" / "batches.jsonl").write_bytes(batches[: batches.index(b"\n") + 1])
    (cut / "worklist.csv").unlink()
    score(out=cut, resume=True, engine="ray")
    assert tree(cut) == tree(whole.out)


def test_a_ray_that_does_not_start_is_told(
    score: Callable[..., Scored], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("long" * 25)
    deep.mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(deep))
    with pytest.raises(ConfigError, match=r"--engine ray: Ray does not start on this machine .*RAY_TMPDIR"):
        score(engine="ray")
