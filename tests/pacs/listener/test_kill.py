"""What a crash leaves: a listener in a process of its own is killed and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.pacs.conftest import Make, free_port, until
from tests.pacs.listener.modality import STUDY, push, results, state
from vitad_med.site.key import SiteKey


def run_listener(tmp_path: Path, port: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.pacs.listening", str(tmp_path / "listener"), str(port), str(tmp_path / "hold")],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )

    def listens() -> bool:
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    until(listens, 60)
    return process


class Elsewhere:
    """Where a listener of another process listens."""

    def __init__(self, port: int) -> None:
        self.port = port


@pytest.mark.slow
def test_what_was_acknowledged_survives_kill_9_and_sigterm_finishes_the_study_in_hand(
    make: Make, tmp_path: Path, key: SiteKey
) -> None:
    folder, port = tmp_path / "listener", free_port()
    hold, calls = tmp_path / "hold", tmp_path / "hold.calls"
    hold.touch()
    process = run_listener(tmp_path, port)
    try:
        assert push(Elsewhere(port), *make(1, 2, study=STUDY)) == [0, 0]  # type: ignore[arg-type]
        until(calls.exists)  # it is being scored now
        assert push(Elsewhere(port), *make(3, study="2.25.2")) == [0]  # type: ignore[arg-type]
    finally:
        process.kill()
        process.wait()
    assert results(folder) == []
    process = run_listener(tmp_path, port)
    try:
        until(lambda: len(calls.read_text().split()) == 2)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert process.poll() is None  # it finishes the study in hand
        hold.unlink()
        assert process.wait(30) == 0
    finally:
        process.kill()
    finished = len(results(folder))
    assert finished in (1, 2)  # one study or the other
    process = run_listener(tmp_path, port)
    try:
        until(lambda: len(results(folder)) == 3)
        assert state(folder, key)["scored"]
        assert state(folder, key, "2.25.2")["scored"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
    assert len(calls.read_text().split()) == 3  # each was scored to its end once
