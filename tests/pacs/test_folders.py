"""Files are whole or absent; one process at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vitad_med.durable import replace_file
from vitad_med.errors import ConfigError, StorageError
from vitad_med.pacs.folders import make_folder, only_one


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_file(path, b"first")
    replace_file(path, b"second")
    assert path.read_bytes() == b"second"
    with pytest.raises(OSError, match="No such file"):
        replace_file(tmp_path / "absent" / "file", b"x")
    directory = tmp_path / "directory"
    directory.mkdir()
    with pytest.raises(OSError, match="directory"):
        replace_file(directory, b"x")
    assert sorted(found.name for found in tmp_path.iterdir()) == ["config", "directory", "file"]


def test_folders_are_private_and_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o077 == 0
    make_folder(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be made"):
        make_folder(tmp_path / "file" / "b")


def test_a_lock_goes_with_its_process(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    code = (
        "import sys, time; from pathlib import Path; from vitad_med.pacs.folders import only_one\n"
        "with only_one(Path(sys.argv[1]), 'listen'): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(ConfigError, match="another `vitad-med listen` is at work"), only_one(lock, "listen"):
        pass
    holder.kill()
    holder.wait()
    with only_one(lock, "listen"):
        assert lock.exists()
    assert not lock.exists()
