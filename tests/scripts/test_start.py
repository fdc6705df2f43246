"""Scripts and benchmarks start as their pages say, from any folder and without a search path that someone set."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("benchmarks", "scripts")
    for path in (ROOT / folder).glob("[!_]*.py")
    if "argparse" in path.read_text()
)


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_it_starts(program: str, tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, str(ROOT / program), "--help"], cwd=tmp_path, env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")
