"""One pass over the training images and a synthetic copy of each that leaves statistics of their attention entropy."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch
from ignite.engine import Engine, Events
from monai.inferers import Inferer
from monai.utils.enums import CommonKeys
from torch import Tensor

from vitad_med.adaptation.entropy_moments import MomentAccumulator
from vitad_med.adaptation.statistics import SourceStatistics, StatisticsViews, write_statistics
from vitad_med.augmentation.multicrop import MultiCrop, crop, random_crops
from vitad_med.data.case import Case
from vitad_med.data.roster import UNKEYED, naming, patient_keys
from vitad_med.data.splits import data_digest
from vitad_med.digests import state_digest
from vitad_med.durations import duration
from vitad_med.engines.precision import Precision
from vitad_med.engines.proxy_task import Scorer
from vitad_med.errors import ConfigError, DataError
from vitad_med.networks.proxy import ProxyNetwork
from vitad_med.networks.vit import patch_size
from vitad_med.reproducibility import generator
from vitad_med.synthesis import SyntheticScheme

CLASSES = ("normal", "synthetic")
TELL_AFTER_S = 20

logger = logging.getLogger(__name__)


class EntropyOutput(NamedTuple):
    """Attention entropy of normal images and then of their synthetic copies.

    Attributes:
        entropy: float32 [2 B, N], nats.
        labels: int64 [2 B], 0 normal, 1 synthetic.
    """

    entropy: Tensor
    labels: Tensor


class EntropyInferer(Inferer):
    """Attention entropy of images and of one fixed synthetic anomaly of each.

    Copies and crops follow from the seed and the image's ``case_id`` alone: they are the same in every batch, order and
    shard.

    Args:
        cases: records of the images.
        scorer: saliency network, on the device of the images.
        synthesis: how anomalies are made.
        seed: of all draws.
        views: ``full_frame``, or a ``global`` random crop of each image and another of its copy. As in the paper a crop
            keeps the label of its image, also where it misses the anomaly.
        multicrop: size, scale and ratio of global crops; not used at full frame.
        renormalise_rows: see :func:`vitad_med.networks.attention_entropy.attention_entropy`.
        amp: 16-bit arithmetic where the device has it; the entropy itself is computed in float32.

    Raises:
        ConfigError: ``views`` is unknown.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        scorer: Scorer,
        synthesis: SyntheticScheme,
        seed: int = 0,
        views: StatisticsViews = "full_frame",
        multicrop: MultiCrop | None = None,
        renormalise_rows: bool = True,
        amp: bool = False,
    ) -> None:
        super().__init__()
        if views not in get_args(StatisticsViews):
            choices = ", ".join(map(repr, get_args(StatisticsViews)))
            raise ConfigError(f"statistics_views '{views}' is unknown: use {choices}")
        self.cases = tuple(cases)
        self.scorer = scorer
        self.synthesis = synthesis
        self.seed = seed
        self.multicrop = (multicrop or MultiCrop()) if views == "global" else None
        self.views = views
        self.renormalise_rows = renormalise_rows
        self.amp = amp

    @torch.no_grad()
    def __call__(  # type: ignore[override]
        self, inputs: Tensor, network: ProxyNetwork, *args: Any, index: Tensor, **kwargs: Any
    ) -> EntropyOutput:
        """Of images [B, C, S, S] in 0..1 whose records are ``cases[index]``.

        Raises:
            DataError: an image from which no anomaly can be made.
        """
        chosen = [self.cases[position] for position in index.tolist()]
        streams = [_stream(case) for case in chosen]
        attention = self.scorer(inputs) if self.synthesis.needs_saliency else None
        names = [str(case.image_path) for case in chosen]
        copies = self.synthesis.batch(inputs, attention, self.seed, indices=streams, names=names)
        both = torch.cat([inputs, copies.images.to(inputs.dtype)])
        if self.multicrop is not None:
            both = self._cropped(both, streams, self.multicrop)
        with Precision.of(inputs.device, self.amp).autocast():
            _, entropy = network.adaptation_outputs(both, self.renormalise_rows)
        labels = torch.arange(2, device=inputs.device).repeat_interleave(len(inputs))
        return EntropyOutput(entropy.float(), labels)

    def _cropped(self, both: Tensor, streams: Sequence[int], multicrop: MultiCrop) -> Tensor:
        pairs = [
            random_crops(2, multicrop.global_scale, multicrop.ratio, generator(self.seed, stream, 1))
            for stream in streams
        ]
        rectangles = torch.stack(pairs, dim=1).flatten(0, 1)  # normal images first, as in `both`
        return crop(both, rectangles, multicrop.global_size)


class SummarizeSource:
    """Handler that accumulates what an :class:`EntropyInferer` gives and writes the statistics at the end.

    Args:
        cases: records of the images, in the order of the dataset.
        path: the file.
        inferer: of the evaluator.
        network: of the evaluator.
        model_digest: of its weights.
        pipeline: settings that change what it says, plain values, as in evaluations.
        image_size: side of the images in pixels.
        identifier_key: the site's secret: patients of data that are not public are named under it, or not at all.
        shard_name: which part of which list the images are (:func:`vitad_med.data.shards.shard_name`); None is not
            told.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        path: str | Path,
        inferer: EntropyInferer,
        network: ProxyNetwork,
        model_digest: str,
        pipeline: Mapping[str, Any],
        image_size: int,
        identifier_key: bytes | None = None,
        shard_name: str | None = None,
    ) -> None:
        self.cases = tuple(cases)
        self.path = Path(path)
        self.inferer = inferer
        self.network = network
        self.model_digest = model_digest
        self.pipeline = pipeline
        self.image_size = image_size
        self.identifier_key = identifier_key
        self.shard_name = shard_name
        self._sums = MomentAccumulator()
        self._began = self._spoke = 0.0

    def attach(self, engine: Engine) -> None:
        """Register before the handler that tracks the metrics."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._tell)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _start(self, _: Engine) -> None:
        self._sums = MomentAccumulator()
        self._began = self._spoke = time.monotonic()
        if UNKEYED in naming(self.cases, self.identifier_key):
            logger.info(
                "the statistics will not say whose images they are of: that takes --identifier_key_file, a secret of "
                "the site; without it no guard or calibration can be proved to have other patients"
            )

    def _add(self, engine: Engine) -> None:
        assert isinstance(engine.state.output, dict)
        output: EntropyOutput = engine.state.output[CommonKeys.PRED]
        self._sums.update(output.entropy, output.labels)
        now = time.monotonic()
        if now - self._spoke > TELL_AFTER_S:
            self._spoke = now
            done = engine.state.iteration / (engine.state.epoch_length or 1)
            left = duration((now - self._began) * (1 - done) / done)
            logger.info("summarized %.0f %% of %d images, %s left", 100 * done, len(self.cases), left)

    def _tell(self, engine: Engine) -> None:
        """Mean entropy of each class in units of log N, for the tracker."""
        moments = self._sums.moments
        scale = math.log(moments.mean.shape[1])
        for label, name in enumerate(CLASSES):
            engine.state.metrics[f"images_{name}"] = int(moments.count[label])
            engine.state.metrics[f"entropy_{name}"] = float(moments.mean[label].mean()) / scale

    def _finish(self, _: Engine) -> None:
        moments = self._sums.moments
        if moments.count.tolist() != [len(self.cases)] * 2:
            raise DataError(
                f"{moments.count[0]} of {len(self.cases)} images were summarized, no statistics are written: let the "
                "run go through all of them"
            )
        side = self.image_size if self.inferer.multicrop is None else self.inferer.multicrop.global_size
        patches = side // patch_size(self.network.encoder)
        statistics = SourceStatistics(
            mean=moments.mean,
            squares=moments.squares,
            count=moments.count,
            grid=(patches, patches),
            image_size=self.image_size,
            model_digest=self.model_digest,
            pipeline=self.pipeline,
            renormalise_rows=self.inferer.renormalise_rows,
            views=self.inferer.views,
            multicrop=None if self.inferer.multicrop is None else repr(self.inferer.multicrop),
            synthesis=repr(self.inferer.synthesis),
            scorer_digest=state_digest(self.inferer.scorer.state_dict()),
            seed=self.inferer.seed,
            data_digests=(data_digest(self.cases),),
            patients=patient_keys(self.cases, self.identifier_key),
            naming=naming(self.cases, self.identifier_key),
            shards=() if self.shard_name is None else (self.shard_name,),
        )
        write_statistics(self.path, statistics)
        logger.info("wrote statistics of %d images and their synthetic copies to %s", len(self.cases), self.path.name)


def prepare_indexed(
    batch: dict[str, Any], device: torch.device, non_blocking: bool = False, **_: Any
) -> tuple[Tensor, Tensor, tuple[()], dict[str, Tensor]]:
    """MONAI ``prepare_batch`` of a :class:`~vitad_med.data.dataset.CaseDataset` that passes ``index`` on."""
    images = batch["image"].to(device, non_blocking=non_blocking)
    return images, batch["label"].to(device, non_blocking=non_blocking), (), {"index": batch["index"]}


def _stream(case: Case) -> int:
    """The stream of random draws that belongs to an image, wherever it stands in whichever list."""
    return int.from_bytes(hashlib.sha256(f"{case.source}:{case.case_id}".encode()).digest()[:4], "big")
