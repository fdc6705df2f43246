"""One of the processes of `test_processes.py`: what an objective makes of this process's share of a batch."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist

from vitad_med.engines.distributed import finish_processes
from vitad_med.objectives.dino import DINOLoss
from vitad_med.objectives.msn import MSNLoss
from vitad_med.objectives.sinkhorn import sinkhorn


def results(logits: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of logits [B, K]: assignments; the gradient of MSN's loss; the centre that DINO moves to."""
    student = logits.flip(0).clone().requires_grad_()
    loss, _ = MSNLoss()(student[None], logits[None], 0.0)
    loss.backward()
    dino = DINOLoss(logits.shape[1], centering="mean")
    dino.update_center(logits[None])
    assert student.grad is not None
    return {"assignments": sinkhorn(logits, 0.05, 3), "gradient": student.grad, "center": dino.center}


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    whole = torch.load(folder / "logits.pt", weights_only=True)
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    torch.save(results(whole.chunk(size)[rank]), folder / f"{rank}.pt")
    dist.barrier()  # a process that leaves while another still talks to it ends that one
    finish_processes()
