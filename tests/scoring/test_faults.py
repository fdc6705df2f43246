"""kill -9 at any moment of a run, then --resume: the bytes of a run that nothing stopped."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vitad_med.durable import FAULT

MOMENTS = 10
SEED = 20261128
MANY = 100_000

Tree = Callable[[Path], dict[str, bytes]]


class Runner:
    """`vitad-med score` as a process group of its own."""

    def __init__(self, ward: Path, repo_root: Path) -> None:
        self.command = [sys.executable, "-m", "vitad_med.cli", "score", str(ward)]
        self.command += ["--bundle", str(repo_root / "bundles" / "attn_synth"), "--batch_size", "2", "--workers", "2"]
        self.command += ["--outputs", "worklist,parquet,report,maps,sc,sr"]

    def __call__(self, out: Path, *options: str, steps: int | None = None) -> tuple[int, int, str]:
        """Status, steps that were taken, and what was said."""
        counter = out.with_suffix(".steps")
        environment = dict(os.environ)
        if steps is not None:
            counter.write_bytes(b"x" * steps)
            environment[FAULT] = str(counter)
        done = subprocess.run(
            [*self.command, "--out", str(out), *options],
            env=environment,
            start_new_session=True,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        taken = 0 if steps is None else steps - counter.stat().st_size
        return done.returncode, taken, done.stderr


@pytest.mark.slow
def test_kill_at_ten_seeded_moments(ward: Path, repo_root: Path, tmp_path: Path, tree: Tree) -> None:
    run = Runner(ward, repo_root)
    status, steps, said = run(tmp_path / "whole", steps=MANY)
    assert status == 0, said
    whole = tree(tmp_path / "whole")
    assert steps > 100
    moments = sorted(random.Random(SEED).sample(range(1, steps), MOMENTS))
    for moment in moments:
        out = tmp_path / f"killed_{moment}"
        status, _, said = run(out, steps=moment)
        assert status == -9, (moment, said)
        assert not (out / "worklist.csv").exists() or (out / "worklist.csv").read_bytes() == whole["worklist.csv"]
        status, _, said = run(out, "--resume")
        assert status == 0, (moment, said)
        assert tree(out) == whole, moment


@pytest.mark.slow
def test_killed_again_and_again(ward: Path, repo_root: Path, tmp_path: Path, tree: Tree) -> None:
    """A run that never gets further than a few steps at a time arrives too."""
    run = Runner(ward, repo_root)
    _, steps, _ = run(tmp_path / "whole", steps=MANY)
    out, tries = tmp_path / "stubborn", 0
    status = -9
    while status == -9:
        status, _, said = run(out, "--resume", steps=steps // 3)
        tries += 1
        assert tries < 12, said
    assert status == 0
    assert tries > 2
    assert tree(out) == tree(tmp_path / "whole")


@pytest.mark.slow
def test_a_read_only_folder_is_a_sentence(ward: Path, repo_root: Path, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        out = Path("/proc/vitad_med")  # root may write everywhere but where the kernel says no
    else:
        out = tmp_path / "out"
        tmp_path.chmod(0o500)
    status, _, said = Runner(ward, repo_root)(out) if out.parent != Path("/proc") else _proc(ward, repo_root, out)
    tmp_path.chmod(0o700)
    assert status == 2
    assert "cannot write" in said
    assert "Traceback" not in said


def _proc(ward: Path, repo_root: Path, out: Path) -> tuple[int, int, str]:
    command = [*Runner(ward, repo_root).command, "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, 0, done.stderr
