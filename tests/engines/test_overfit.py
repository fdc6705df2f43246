"""The proxy task can be learned: eight radiographs with fixed synthetic anomalies are overfitted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from vitad_med.augmentation.intensity import Augment
from vitad_med.augmentation.multicrop import MultiCrop
from vitad_med.data.cache import resized_array
from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.engines.loading import ImageArray, train_loader
from vitad_med.engines.proxy_task import ProxyTask, Scorer
from vitad_med.engines.proxy_trainer import ProxyTrainer, proxy_optimizer
from vitad_med.engines.setup import prepare, schedule
from vitad_med.metrics.streaming import StreamingAUROC
from vitad_med.networks.proxy import ProxyNetwork
from vitad_med.networks.vit import use_fused_attention
from vitad_med.objectives.proxy import ProxyLoss, Views
from vitad_med.synthesis import AttnSynth

SIZE, STEPS = 96, 140


class FixedTask(ProxyTask):
    """Makes its crops once, so that every step shows the same images and anomalies."""

    views: list[Views] | None = None

    def __call__(self, images: Tensor, step: int, rank: int = 0, names: Sequence[str] | None = None) -> list[Views]:
        if self.views is None:
            self.views = super().__call__(images, 0, rank, names)
        return self.views


def test_eight_images_are_overfitted_to_a_pixel_auroc_above_95(nih_mini: Path) -> None:
    prepare(0)
    images = resized_array(read_chestxray14(nih_mini, section="train")[:8], SIZE)
    network = ProxyNetwork(image_size=SIZE, detach_maps=False)
    optimizer = proxy_optimizer(network, "adamw", 5e-4, 1e-2)
    loader = train_loader(ImageArray(images), 8, seed=0)
    whole = MultiCrop(1, SIZE, (1.0, 1.0), 0, ratio=(1.0, 1.0))
    task = FixedTask(Scorer(image_size=SIZE), AttnSynth(), whole, Augment(0, 0, 0))
    loss = ProxyLoss(dice_weight=0.5, token_weight=2.0)
    trainer = ProxyTrainer("cpu", STEPS, loader, network, task, loss, optimizer, schedule(optimizer, loader, STEPS, 5))
    trainer.run()

    assert task.views is not None
    views = task.views[0]
    synthetic = views.labels == 1
    use_fused_attention(network.encoder, True)
    network.eval()
    with torch.no_grad():
        output = network.predict(views.images[synthetic])
        wrong = network.predict(views.images[~synthetic]).score
    pixels = StreamingAUROC()
    pixels.update(output.map, views.masks[synthetic].to(torch.uint8))
    assert pixels.auroc() > 0.95
    assert float(output.score.min()) > float(wrong.max())
