"""How well the proxy task is solved on unseen normal images: the only figures that a model is chosen by."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.inferers import Inferer

from vitad_med.checkpoint import atomic_path
from vitad_med.data.cache import resized_array
from vitad_med.data.case import Case
from vitad_med.data.intensity import to_unit_range
from vitad_med.digests import state_digest
from vitad_med.engines.inference import AnomalyInferer
from vitad_med.engines.proxy_task import Scorer
from vitad_med.metrics.conditioned import conditioned_auroc
from vitad_med.metrics.exact import exact_auroc
from vitad_med.metrics.pooled import pixel_auroc
from vitad_med.metrics.streaming import StreamingAUROC
from vitad_med.networks.anovit import AnoViT
from vitad_med.networks.proxy import ProxyNetwork
from vitad_med.networks.reconstruction import ReconstructionNetwork
from vitad_med.networks.vit import use_fused_attention
from vitad_med.normality.detector import NormalityDetector
from vitad_med.outputs import AnomalyOutput
from vitad_med.synthesis import SyntheticScheme

# Any network whose ``predict`` gives score and map.
ScoredNetwork = ProxyNetwork | ReconstructionNetwork | NormalityDetector

FIGURES = ("synthetic_image_auroc", "synthetic_pixel_auroc")

logger = logging.getLogger(__name__)


def evenly_spaced(cases: Sequence[Case], limit: int | None) -> list[Case]:
    """At most ``limit`` of the cases, evenly spaced in their order; all where None."""
    if limit is None or len(cases) <= limit:
        return list(cases)
    return [cases[round(position)] for position in np.linspace(0, len(cases) - 1, limit)]


class SyntheticSet:
    """Normal images and one fixed synthetic anomaly of each, whole, at the network's input size.

    Args:
        cases: normal images that take no part in training.
        scorer: saliency network.
        synthesis: how anomalies are made.
        image_size: pixels.
        seed: the same seed gives the same anomalies.
        channels: 1 or 3.
        limit: use at most this many images, evenly spaced in the order of the cases; None uses all.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        scorer: Scorer,
        synthesis: SyntheticScheme,
        image_size: int,
        seed: int = 0,
        channels: int = 1,
        limit: int | None = None,
    ) -> None:
        normal = evenly_spaced([case for case in cases if case.label == 0], limit)
        self.normals = torch.from_numpy(to_unit_range(resized_array(normal, image_size, channels=channels)))
        device = scorer.mean.device
        images, masks = [], []
        for start in range(0, len(self.normals), 32):
            part = self.normals[start : start + 32].to(device)
            attention = scorer(part) if synthesis.needs_saliency else None
            names = [str(case.image_path) for case in normal[start : start + 32]]
            made = synthesis.batch(part, attention, seed, indices=range(start, start + len(part)), names=names)
            images.append(made.images.float().cpu())
            masks.append(made.masks.cpu())
        self.synthetic, self.masks = torch.cat(images), torch.cat(masks)

    def evaluate(self, network: ScoredNetwork, batch_size: int = 32, amp: bool = False) -> dict[str, float]:
        """Image AUROC (normal against synthetic) and pooled pixel AUROC (inside the synthetic images)."""
        scores, maps = self._outputs(network, batch_size, AnomalyInferer(amp))
        pixels = StreamingAUROC()
        pixels.update(maps, self.masks)
        count = len(self.normals)
        return {
            "synthetic_image_auroc": exact_auroc(scores[count:], scores[:count]),
            "synthetic_pixel_auroc": pixels.auroc(),
        }

    def report(self, network: ScoredNetwork, batch_size: int = 32, inferer: Inferer | None = None) -> dict[str, float]:
        """The figures of :meth:`evaluate`, and what they are worth; ``inferer`` None asks the network plainly.

        Synthetic anomalies have their places too, so pooled pixels reward knowing the location law:
        ``synthetic_pixel_null`` is what a map scores that is the mean mask of the other half of the images, and
        ``synthetic_conditioned_auroc`` is .5 for any such map (:mod:`vitad_med.metrics.conditioned`).
        """
        scores, maps = self._outputs(network, batch_size, inferer or AnomalyInferer())
        count = len(self.normals)
        masks = self.masks[:, 0].numpy().astype(bool)
        # Image k is compared with the mean of the half that it is not in; one image alone is its own null.
        halves = [masks[half % count :: 2].mean(axis=0, dtype=np.float32) for half in (0, 1)]
        prior = np.stack([halves[1 - k % 2] for k in range(count)])
        return {
            "synthetic_image_auroc": exact_auroc(scores[count:], scores[:count]),
            "synthetic_pixel_auroc": pixel_auroc(maps[:, 0], masks),
            "synthetic_pixel_null": pixel_auroc(prior, masks),
            "synthetic_conditioned_auroc": conditioned_auroc(maps[:, 0], masks),
        }

    @torch.no_grad()
    def _outputs(self, network: ScoredNetwork, batch_size: int, inferer: Inferer) -> tuple[np.ndarray, torch.Tensor]:
        """Scores of the normal and then of the synthetic images, and the maps of the latter."""
        training = network.training
        network.eval()
        device = next(network.parameters()).device
        encoder = network.encoder if isinstance(network, ProxyNetwork | AnoViT) else None
        if encoder is not None:
            use_fused_attention(encoder, True)
        scores: list[np.ndarray] = []
        maps: list[torch.Tensor] = []
        for images in (self.normals, self.synthetic):
            for start in range(0, len(images), batch_size):
                output: AnomalyOutput = inferer(images[start : start + batch_size].to(device), network)
                scores.append(output.score.cpu().numpy())
                if images is self.synthetic:
                    maps.append(output.map.cpu())
        network.train(training)
        if encoder is not None:
            use_fused_attention(encoder, not (training and device.type == "cpu"))
        return np.concatenate(scores), torch.cat(maps)


class SyntheticValidation:
    """Handler that adds the figures of a :class:`SyntheticSet` to ``engine.state.metrics``.

    Args:
        data: the fixed set, or None to do nothing (no validation patients).
        network: the network in training.
        interval: epochs between validations; the last epoch is always validated.
        amp: mixed precision.
    """

    def __init__(self, data: SyntheticSet | None, network: ProxyNetwork, interval: int = 1, amp: bool = True) -> None:
        self.data = data
        self.network = network
        self.interval = interval
        self.amp = amp

    def attach(self, engine: Engine) -> None:
        """Register before the handlers that report metrics."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Validate when due."""
        due = engine.state.epoch % self.interval == 0 or engine.state.epoch == engine.state.max_epochs
        if self.data is None:
            return
        if due:
            engine.state.metrics.update(self.data.evaluate(self.network, amp=self.amp))
        else:
            # An epoch that was not validated must not show the figures of an earlier one.
            for name in FIGURES:
                engine.state.metrics.pop(name, None)


class SyntheticCheck:
    """Handler that says, when an evaluation ends, how well the proxy task itself is solved on its normal images.

    ``synthetic.json`` in ``output_dir`` holds the figures of :meth:`SyntheticSet.report`, the digests of model and
    scorer and the settings of the synthesis.

    Args:
        network: the evaluated network.
        cases: records of the evaluation; its normal images take part.
        scorer: saliency network.
        synthesis: how anomalies are made.
        image_size: pixels.
        output_dir: folder of the results.
        model_digest: digest of the evaluated weights.
        seed: of the anomalies.
        channels: 1 or 3.
        limit: at most this many images, evenly spaced in the order of the cases: all are held in memory.
        enabled: False does nothing.
        inferer: how the network is asked, as in the evaluation; None asks it plainly at ``image_size``.
        pipeline: settings that change scores, plain values, for the file.
        score_rule: what the image score is, in words, for the file.
    """

    def __init__(
        self,
        network: ScoredNetwork,
        cases: Sequence[Case],
        scorer: Scorer,
        synthesis: SyntheticScheme,
        image_size: int,
        output_dir: str | Path,
        model_digest: str,
        seed: int = 0,
        channels: int = 1,
        limit: int | None = None,
        enabled: bool = True,
        inferer: Inferer | None = None,
        pipeline: Mapping[str, Any] | None = None,
        score_rule: str | None = None,
    ) -> None:
        self.inferer = inferer
        self.pipeline = pipeline
        self.score_rule = score_rule
        self.network = network
        self.normal = [case for case in cases if case.label == 0]
        self.scorer = scorer
        self.synthesis = synthesis
        self.image_size = image_size
        self.path = Path(output_dir) / "synthetic.json"
        self.model_digest = model_digest
        self.seed = seed
        self.channels = channels
        self.limit = limit
        self.enabled = enabled

    def attach(self, engine: Engine) -> None:
        """Register before the handler that tracks the file."""
        engine.add_event_handler(Events.STARTED, self._forget)
        if self.enabled:
            engine.add_event_handler(Events.COMPLETED, self)

    def _forget(self, _: Engine) -> None:
        """Where nothing is measured, the figures of an earlier evaluation must not pass for this one's."""
        self.path.unlink(missing_ok=True)

    def __call__(self, _: Engine) -> None:
        """Measure, write, log."""
        if not self.normal:
            logger.info("no normal image in this section: synthetic anomalies are left out")
            return
        scorer = self.scorer.to(next(self.network.parameters()).device)
        data = SyntheticSet(self.normal, scorer, self.synthesis, self.image_size, self.seed, self.channels, self.limit)
        figures = data.report(self.network, inferer=self.inferer)
        content = {
            "model_digest": self.model_digest,
            "scorer_digest": state_digest(scorer.state_dict()),
            "synthesis": repr(self.synthesis),
            "image_size": self.image_size,
            "pipeline": None if self.pipeline is None else dict(self.pipeline),
            "score_rule": self.score_rule,
            "n_normal": len(data.normals),
            "seed": self.seed,
            **{name: round(value, 6) if math.isfinite(value) else None for name, value in figures.items()},
        }
        with atomic_path(self.path) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n")
        logger.info(
            "synthetic anomalies on %d normal images: image AUROC %.3f; pixel AUROC %.3f, of a map that knows only "
            "where they tend to be %.3f, conditioned on place and image %.3f",
            len(data.normals),
            figures["synthetic_image_auroc"],
            figures["synthetic_pixel_auroc"],
            figures["synthetic_pixel_null"],
            figures["synthetic_conditioned_auroc"],
        )
