"""The ignite metrics in a MONAI evaluator, and joined across two processes."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from monai.engines import SupervisedEvaluator
from monai.handlers import from_engine
from sklearn.metrics import average_precision_score, roc_auc_score
from torch.utils.data import DataLoader

from vitad_med.errors import DataError
from vitad_med.metrics.ignite import ImageAUROC, ImageAveragePrecision, PixelAUROC, PixelAveragePrecision


def make_batches(seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for size in (3, 4, 1):
        masks = (torch.rand(size, 1, 8, 8, generator=generator) < 0.2).float()
        masks[0] = 0
        masks[-1, :, 0, 0] = 1
        maps = torch.rand(size, 1, 8, 8, generator=generator) * (0.6 + 0.4 * masks)
        batches.append((maps, masks))
    return batches


def test_pixel_metrics_equal_scikit_learn() -> None:
    batches = make_batches()
    maps, masks = (torch.cat(parts).flatten(1).numpy() for parts in zip(*batches, strict=True))
    engine = Engine(lambda _, batch: batch)
    PixelAUROC().attach(engine, "auroc")
    PixelAveragePrecision().attach(engine, "ap")
    PixelAUROC(localized_only=False).attach(engine, "all")
    for _ in range(2):  # the second run starts from nothing
        metrics = engine.run(batches).metrics
        boxed = masks.any(axis=1)
        y, s = masks[boxed].ravel(), maps[boxed].ravel()
        assert metrics["auroc"] == pytest.approx(roc_auc_score(y, s), abs=1e-4)
        assert metrics["ap"] == pytest.approx(average_precision_score(y, s), abs=1e-3)
        assert metrics["all"] == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()), abs=1e-4)
    assert metrics["all"] != metrics["auroc"]


class MeanMap(torch.nn.Module):
    """A map that is the image, and its mean as the score."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image * 1.0


def test_in_a_monai_evaluator() -> None:
    items = [
        {"image": image, "label": mask}
        for maps, masks in make_batches()
        for image, mask in zip(maps, masks, strict=True)
    ]
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(items, batch_size=3),
        network=MeanMap(),
        key_val_metric={"pixel_auroc": PixelAUROC(output_transform=from_engine(["pred", "label"]))},
        additional_metrics={
            "image_auroc": ImageAUROC(
                output_transform=lambda output: (
                    [item["pred"].mean() for item in output],
                    [item["label"].amax() for item in output],
                )
            )
        },
    )
    evaluator.run()
    boxed = [item for item in items if item["label"].any()]
    expected = roc_auc_score(
        torch.cat([item["label"].flatten() for item in boxed]), torch.cat([item["image"].flatten() for item in boxed])
    )
    assert evaluator.state.metrics["pixel_auroc"] == pytest.approx(expected, abs=1e-4)
    labels = [float(item["label"].amax()) for item in items]
    means = [float(item["image"].mean()) for item in items]
    assert evaluator.state.metrics["image_auroc"] == pytest.approx(roc_auc_score(labels, means))


def test_image_metrics_take_tensors_and_lists() -> None:
    scores, labels = torch.tensor([0.1, 0.7, 0.4, 0.4]), torch.tensor([0, 1, 0, 1])
    auroc, precision = ImageAUROC(), ImageAveragePrecision()
    for metric in (auroc, precision):
        metric.update((scores[:2], labels[:2]))
        metric.update((list(scores[2:]), list(labels[2:])))
    assert auroc.compute() == pytest.approx(roc_auc_score(labels, scores))
    assert precision.compute() == pytest.approx(average_precision_score(labels, scores))
    saved = auroc.state_dict()
    auroc.reset()
    with pytest.raises(NotComputableError):
        auroc.compute()
    auroc.load_state_dict(saved)
    assert auroc.compute() == pytest.approx(roc_auc_score(labels, scores))


def test_images_of_one_kind_have_no_figure_but_end_no_evaluation() -> None:
    auroc, precision = ImageAUROC(), ImageAveragePrecision()
    for metric in (auroc, precision):
        metric.update((torch.rand(4), torch.ones(4)))
    assert np.isnan(auroc.compute())
    assert precision.compute() == 1


def test_wrong_input() -> None:
    metric = PixelAUROC()
    with pytest.raises(NotComputableError, match="inside and outside"):
        metric.compute()
    with pytest.raises(DataError, match="1 above 1"):
        metric.update((torch.tensor([[[[0.5, 1.5]]]]), torch.tensor([[[[0, 1]]]])))
    with pytest.raises(DataError, match="2 maps and 1 masks"):
        metric.update((torch.zeros(2, 1, 2, 2), torch.zeros(1, 1, 2, 2)))
    with pytest.raises(DataError, match="2 scores and 1 labels"):
        ImageAUROC().update((torch.zeros(2), torch.zeros(1)))


PROCESS = """
import sys, torch, torch.distributed as dist
from vitad_med.engines.distributed import finish_processes
from vitad_med.metrics.ignite import ImageAUROC, ImageAveragePrecision, PixelAUROC, PixelAveragePrecision
rank = int(sys.argv[1])
dist.init_process_group("gloo", rank=rank, world_size=2)
data = torch.load(sys.argv[2])
mine = slice(0, 5) if rank == 0 else slice(5, 8)
maps, masks, scores, labels = (part[mine] for part in data)
values = []
for kind, batch in ((PixelAUROC, (maps, masks)), (PixelAveragePrecision, (maps, masks)),
                    (ImageAUROC, (scores, labels)), (ImageAveragePrecision, (scores, labels))):
    metric = kind()
    metric.update(batch)
    values.append(metric.compute())
    assert metric.compute() == values[-1]
print(*values)
finish_processes()
"""


def test_two_processes_give_the_figures_of_the_whole(tmp_path: Path) -> None:
    maps, masks = (torch.cat(parts) for parts in zip(*make_batches(), strict=True))
    scores, labels = maps.mean(dim=(1, 2, 3)), masks.amax(dim=(1, 2, 3))
    torch.save((maps, masks, scores, labels), tmp_path / "data.pt")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    root = Path(__file__).resolve().parents[2]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(rank), str(tmp_path / "data.pt")],
            env=environment,
            cwd=root,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        printed = [process.communicate(timeout=300)[0].split() for process in running]
    finally:
        for process in running:
            process.kill()
    assert printed[0] == printed[1]
    whole = []
    for kind, batch in (
        (PixelAUROC, (maps, masks)),
        (PixelAveragePrecision, (maps, masks)),
        (ImageAUROC, (scores, labels)),
        (ImageAveragePrecision, (scores, labels)),
    ):
        metric = kind()
        metric.update(batch)
        whole.append(metric.compute())
    np.testing.assert_allclose([float(value) for value in printed[0]], whole, atol=1e-12)
