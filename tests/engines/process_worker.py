"""One of the processes of `test_processes.py`: trains an epoch and writes what it saw and what it has become."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from vitad_med.augmentation.intensity import Augment
from vitad_med.augmentation.multicrop import MultiCrop
from vitad_med.digests import state_digest
from vitad_med.engines.distributed import finish_processes
from vitad_med.engines.loading import ImageArray, train_loader
from vitad_med.engines.proxy_task import ProxyTask, Scorer
from vitad_med.engines.proxy_trainer import ProxyTrainer, proxy_optimizer
from vitad_med.engines.setup import prepare_distributed, schedule
from vitad_med.networks.proxy import ProxyNetwork
from vitad_med.objectives.proxy import ProxyLoss
from vitad_med.synthesis import AttnSynth

SIZE = 32


class Recording(ProxyTask):
    """The proxy task, remembering the images that reached this process and the crops made of them."""

    def __call__(self, images, step, rank=0, names=None):
        views = super().__call__(images, step, rank, names)
        self.seen.extend(names)
        self.crops.append(float(views[0].images.double().sum()))
        return views


def main(folder: Path) -> None:
    prepare_distributed(3, "cpu")
    images = np.random.default_rng(0).integers(0, 256, (8, 1, SIZE, SIZE), dtype=np.uint8)
    network = ProxyNetwork(weights="none", image_size=SIZE, head_hidden=8, detail_width=4)
    before = state_digest(network.state_dict())
    task = Recording(Scorer(weights="none", image_size=SIZE), AttnSynth(), MultiCrop(1, SIZE, (0.8, 1.0)), Augment(), 3)
    task.seen, task.crops = [], []
    loader = train_loader(ImageArray(images, [str(k) for k in range(8)]), 2, seed=3)
    optimizer = proxy_optimizer(network, "adamw", 1e-3, 1e-2)
    trainer = ProxyTrainer(
        "cpu", 1, loader, network, task, ProxyLoss(), optimizer, schedule(optimizer, loader, 1, 1), distributed=True
    )
    trainer.run()
    rank = dist.get_rank()
    content = {"before": before, "after": state_digest(network.state_dict()), "seen": task.seen, "crops": task.crops}
    (folder / f"{rank}.json").write_text(json.dumps(content))
    finish_processes()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
