"""kill -9 at any moment of a run, then --resume: the bytes of a run that nothing stopped."""

from __future__ import annotations

import os
import random
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.warm import Warm
from vitad_med.durable import FAULT

MOMENTS = 10
SEED = 20261128
MANY = 100_000

Tree = Callable[[Path], dict[str, bytes]]


class Runner:
    """`vitad-med score` as a process group of its own."""

    def __init__(self, warm: Warm, ward: Path, repo_root: Path) -> None:
        self.warm = warm
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
        done = self.warm.run([*self.command, "--out", str(out), *options], out.parent, environment, 300)
        taken = 0 if steps is None else steps - counter.stat().st_size
        return done.returncode, taken, done.stderr


@pytest.mark.slow
def test_kill_at_ten_seeded_moments(warm: Warm, ward: Path, repo_root: Path, tmp_path: Path, tree: Tree) -> None:
    run = Runner(warm, ward, repo_root)
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
def test_killed_again_and_again(warm: Warm, ward: Path, repo_root: Path, tmp_path: Path, tree: Tree) -> None:
    """A run that never gets further than a few steps at a time arrives too."""
    run = Runner(warm, ward, repo_root)
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
def test_a_full_disk_stops_the_run_and_more_room_lets_it_go_on(
    warm: Warm, ward: Path, repo_root: Path, tmp_path: Path, tree: Tree
) -> None:
    """On a disk of its own, a file system in memory that only this process group sees."""
    run = Runner(warm, ward, repo_root)
    assert run(tmp_path / "whole")[0] == 0
    size = sum(len(content) for content in tree(tmp_path / "whole").values())
    out = tmp_path / "small"
    out.mkdir()
    command = " ".join(shlex.quote(word) for word in [*run.command, "--out", str(out / "run")])
    script = f"""
        mount -t tmpfs -o size={size // 2} tmpfs {out} || exit 77
        {command}; echo "first: $?" >&2
        mount -o remount,size={4 * size} {out}
        {command} --resume; echo "second: $?" >&2
        cp -r {out}/run {tmp_path}/copy
    """
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script], capture_output=True, text=True, timeout=600
    )
    if done.returncode == 77 or "unshare" in done.stderr.splitlines()[:1]:
        pytest.skip("this system lets no process mount a file system of its own")
    said = done.stderr
    assert "first: 2" in said, said
    assert "No space left" in said
    assert "--resume" in said
    assert "Traceback" not in said
    assert "second: 0" in said, said
    assert tree(tmp_path / "copy") == tree(tmp_path / "whole")


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_a_sentence(warm: Warm, ward: Path, repo_root: Path) -> None:
    run = Runner(warm, ward, repo_root)
    # Not even root can write there.
    done = subprocess.run([*run.command, "--out", "/proc/vitad_med"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert "cannot write" in done.stderr
    assert "Traceback" not in done.stderr
