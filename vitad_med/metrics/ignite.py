"""The streaming metrics as ignite ``Metric`` objects, for MONAI evaluators.

Give them to ``SupervisedEvaluator(key_val_metric=..., additional_metrics=...)`` with
``output_transform=monai.handlers.from_engine([...])``. Counts and scores of all processes are joined in ``compute``.
A distributed sampler that repeats images to even out the processes repeats them in the metric too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.exceptions import NotComputableError
from ignite.metrics import Metric
from ignite.metrics.metric import reinit__is_reduced

from vitad_med.errors import DataError
from vitad_med.metrics.checks import as_numpy
from vitad_med.metrics.image import image_auroc, image_average_precision
from vitad_med.metrics.streaming import StreamingAUROC

Images = torch.Tensor | Sequence[torch.Tensor]


class _PixelHistogram(Metric):
    """Counts of quantised pixel scores; update takes (maps, masks).

    Args:
        low: lowest pixel score that may occur.
        high: highest pixel score that may occur; other scores raise DataError, nothing is clipped.
        bins: number of levels.
        localized_only: skip images whose mask is empty, as localization metrics of boxed images do.
        output_transform: from the engine's output to (maps, masks), each [B, ...] or a list of B tensors.
        device: where counts are reduced across processes; an NCCL group needs its CUDA device.
    """

    _state_dict_all_req_keys = ("_counts",)

    def __init__(
        self,
        low: float = 0.0,
        high: float = 1.0,
        bins: int = 65536,
        localized_only: bool = True,
        output_transform: Callable = lambda output: output,
        device: str | torch.device = "cpu",
    ) -> None:
        self._stream = StreamingAUROC(low, high, bins)
        self._localized_only = localized_only
        super().__init__(output_transform=output_transform, device=device)

    @reinit__is_reduced
    def reset(self) -> None:
        self._stream.counts.zero_()

    @property
    def _counts(self) -> torch.Tensor:
        return self._stream.counts

    @_counts.setter
    def _counts(self, counts: torch.Tensor) -> None:
        self._stream.counts.copy_(counts)

    @reinit__is_reduced
    def update(self, output: tuple[Images, Images]) -> None:
        maps, masks = output
        if len(maps) != len(masks):
            raise DataError(f"{len(maps)} maps and {len(masks)} masks in one batch; give one mask to each map.")
        for scores, mask in zip(maps, masks, strict=True):
            if not self._localized_only or bool(mask.any()):
                self._stream.update(scores, mask)

    def _reduced(self) -> StreamingAUROC:
        total = StreamingAUROC(self._stream.low, self._stream.high, self._stream.bins)
        counts = self._stream.counts.clone()
        if idist.get_world_size() > 1:
            counts = idist.all_reduce(counts.to(self._device)).cpu()  # type: ignore[union-attr]
        total.counts += counts
        if not (total.counts.sum(dim=1) > 0).all():
            raise NotComputableError("pixel metrics need pixels inside and outside of masks; there were none.")
        return total


class PixelAUROC(_PixelHistogram):
    """Pooled pixel AUROC, exact for scores quantised to ``bins`` levels."""

    def compute(self) -> float:
        return self._reduced().auroc()


class PixelAveragePrecision(_PixelHistogram):
    """Pooled pixel average precision, exact for scores quantised to ``bins`` levels."""

    def compute(self) -> float:
        return self._reduced().average_precision()


class _ImageScores(Metric):
    """Image scores and labels as they came; update takes (scores [B], labels [B]) or lists of B scalars.

    Args:
        output_transform: from the engine's output to (scores, labels).
        device: where scores are gathered across processes; an NCCL group needs its CUDA device.
    """

    _state_dict_all_req_keys = ("_table",)

    def __init__(self, output_transform: Callable = lambda output: output, device: str | torch.device = "cpu") -> None:
        self._table = torch.zeros(0, 2, dtype=torch.float64)
        super().__init__(output_transform=output_transform, device=device)

    @reinit__is_reduced
    def reset(self) -> None:
        self._table = torch.zeros(0, 2, dtype=torch.float64)

    @reinit__is_reduced
    def update(self, output: tuple[Images, Images]) -> None:
        scores, labels = (_vector(part) for part in output)
        if len(scores) != len(labels):
            raise DataError(f"{len(scores)} scores and {len(labels)} labels in one batch; give one label to each.")
        rows = torch.from_numpy(np.stack([scores, labels], axis=1))
        self._table = torch.cat([self._table, rows])

    def _gathered(self) -> tuple[np.ndarray, np.ndarray]:
        table = self._table
        if idist.get_world_size() > 1:
            # Processes may hold different numbers of images; rows of NaN even them out and are dropped again.
            longest = int(idist.all_reduce(len(table), op="MAX"))
            padded = torch.full((longest, 2), float("nan"), dtype=torch.float64)
            padded[: len(table)] = table
            table = idist.all_gather(padded.to(self._device)).cpu()  # type: ignore[union-attr]
            table = table[~torch.isnan(table[:, 1])]
        if len(table) == 0:
            raise NotComputableError("image metrics need at least one image; the evaluator saw none.")
        return table[:, 0].numpy(), table[:, 1].numpy()


class ImageAUROC(_ImageScores):
    """Exact image AUROC, ties one half; NaN where there is one kind of image only, as on a list of boxed images."""

    def compute(self) -> float:
        return float(image_auroc(*self._gathered()))


class ImageAveragePrecision(_ImageScores):
    """Exact image average precision; 1 where every image is abnormal."""

    def compute(self) -> float:
        return float(image_average_precision(*self._gathered()))


def _vector(part: Any) -> np.ndarray:
    if isinstance(part, torch.Tensor):
        return as_numpy(part).ravel().astype(np.float64)
    return np.array([float(value) for value in part], dtype=np.float64)
