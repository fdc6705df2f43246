"""Processes that share a batch get what one process gets of the whole batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.objectives.process_worker import results
from vitad_med.objectives.msn import MSNLoss

WORKER = Path(__file__).with_name("process_worker.py")


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.Tensor, list[dict[str, torch.Tensor]]]:
    """Logits of a batch, and the results of two processes with half of it each."""
    folder = tmp_path_factory.mktemp("halves")
    # Halves that differ, so that what a process would make of its own alone is something else.
    logits = torch.randn(16, 20, generator=torch.Generator().manual_seed(0)) * 0.2
    logits[:8, :5] += 0.3
    torch.save(logits, folder / "logits.pt")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([*launch, str(WORKER), str(folder)], env=environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return logits, [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def test_sinkhorn_shares_the_whole_batch_out(halves: tuple[torch.Tensor, list[dict[str, torch.Tensor]]]) -> None:
    logits, parts = halves
    found = torch.cat([part["assignments"] for part in parts])
    torch.testing.assert_close(found, results(logits)["assignments"], rtol=0, atol=1e-6)
    alone = torch.cat([results(half)["assignments"] for half in logits.chunk(2)])
    assert float((alone - found).abs().max()) > 0.05


def test_the_mean_entropy_of_msn_is_of_the_whole_batch(
    halves: tuple[torch.Tensor, list[dict[str, torch.Tensor]]],
) -> None:
    logits, parts = halves
    # The student's views of a process are its half reversed: the whole batch has the same pairs in another order.
    student = torch.cat([half.flip(0) for half in logits.chunk(2)]).requires_grad_()
    MSNLoss()(student[None], logits[None], 0.0)[0].backward()
    assert student.grad is not None
    # Gradients of processes are averaged afterwards, each is of a mean over half as many images.
    found = torch.cat([part["gradient"] for part in parts]) / 2
    torch.testing.assert_close(found, student.grad, rtol=0, atol=1e-6)


def test_dinos_centre_is_of_the_whole_batch(halves: tuple[torch.Tensor, list[dict[str, torch.Tensor]]]) -> None:
    logits, parts = halves
    for part in parts:
        torch.testing.assert_close(part["center"], results(logits)["center"], rtol=0, atol=1e-7)
