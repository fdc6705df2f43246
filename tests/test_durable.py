"""A file is whole or absent, a line is whole or cut off, wherever the process ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vitad_med.durable import FAULT, TEMPORARY, append, complete_lines, sweep, write_file
from vitad_med.errors import StorageError

STEPS = 4  # of write_file: write, fsync, rename, renamed


def killed_at(step: int, code: str, folder: Path) -> int:
    """Run code in a process group that is killed at a step; its status."""
    counter = folder / "counter"
    counter.write_bytes(b"x" * step)
    environment = {**os.environ, FAULT: str(counter)}
    program = f"from pathlib import Path\nfrom vitad_med.durable import append, write_file\n{code}"
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, start_new_session=True, timeout=120, check=False
    ).returncode


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_a_file_has_its_old_or_its_new_content(tmp_path: Path, step: int) -> None:
    path = tmp_path / "table.csv"
    write_file(path, b"old")
    status = killed_at(step, f"write_file(Path({str(path)!r}), b'new content')", tmp_path)
    assert status == -9
    assert path.read_bytes() == (b"new content" if step == STEPS else b"old")
    sweep(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir() if TEMPORARY in entry.name] == []


@pytest.mark.parametrize(("step", "lines"), [(1, [b"first"]), (2, [b"first", b"second"]), (3, [b"first", b"second"])])
def test_a_line_is_whole_or_cut_off(tmp_path: Path, step: int, lines: list[bytes]) -> None:
    path = tmp_path / "batches"
    append(path, b"first\n")
    assert killed_at(step, f"append(Path({str(path)!r}), b'second\\n')", tmp_path) == -9
    assert complete_lines(path) == lines
    append(path, b"third\n")
    assert complete_lines(path) == [*lines, b"third"]


def test_all_steps_allowed_is_no_fault(tmp_path: Path) -> None:
    assert killed_at(STEPS + 1, f"write_file(Path({str(tmp_path / 'a')!r}), b'1')", tmp_path) == 0
    assert (tmp_path / "a").read_bytes() == b"1"


def test_a_full_disk_leaves_the_old_content_and_a_sentence(tmp_path: Path) -> None:
    # The kernel's own full device: every write to it fails.
    target = tmp_path / f".table.csv{TEMPORARY}"
    target.symlink_to("/dev/full")
    (tmp_path / "table.csv").write_bytes(b"old")
    with pytest.raises(StorageError, match=r"'table.csv'.*No space left.*--resume"):
        write_file(tmp_path / "table.csv", b"new")
    assert (tmp_path / "table.csv").read_bytes() == b"old"
    assert not target.is_symlink()


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "maps").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot write"):
        write_file(tmp_path / "maps" / "a.png", b"")


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What reaches the disk, in order: a crash of the machine cannot be made here, but its order can be seen."""
    seen: list[str] = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        seen.append(f"fsync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
        real_fsync(descriptor)

    def replace(self: Path, target: Path) -> Path:
        seen.append(f"rename {self.name}")
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    return seen


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the kernel does not say what a descriptor is")
def test_content_is_on_disk_before_the_name_and_the_name_before_it_returns(tmp_path: Path, steps: list[str]) -> None:
    write_file(tmp_path / "a", b"1")
    assert steps == [f"fsync .a{TEMPORARY}", f"rename .a{TEMPORARY}", f"fsync {tmp_path.name}"]
    steps.clear()
    append(tmp_path / "a", b"2\n")
    assert steps == ["fsync a"]
