"""Two processes see different images and anomalies, and hold the same network after every step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

WORKER = Path(__file__).with_name("process_worker.py")


def test_processes_share_the_images_out_and_the_network(tmp_path: Path) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [*launch, str(WORKER), str(tmp_path)], env=environ, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert sorted(first["seen"] + second["seen"]) == [str(k) for k in range(8)]
    assert len(first["seen"]) == len(second["seen"]) == 4
    assert set(first["crops"]).isdisjoint(second["crops"])
    # Gradients were exchanged: different images, the same network; and it has moved.
    assert first["after"] == second["after"]
    assert first["after"] != first["before"]
