"""How well the proxy task is solved on unseen normal images: the only figures that a model is chosen by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from ignite.engine import Engine, Events

from vitad_med.data.cache import resized_array
from vitad_med.data.case import Case
from vitad_med.data.intensity import to_unit_range
from vitad_med.engines.precision import Precision
from vitad_med.engines.proxy_task import Scorer
from vitad_med.metrics.conditioned import conditioned_auroc
from vitad_med.metrics.exact import exact_auroc
from vitad_med.metrics.pooled import pixel_auroc
from vitad_med.metrics.streaming import StreamingAUROC
from vitad_med.networks.proxy import ProxyNetwork
from vitad_med.networks.vit import use_fused_attention
from vitad_med.synthesis import SyntheticScheme

FIGURES = ("synthetic_image_auroc", "synthetic_pixel_auroc")


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
        normal = [case for case in cases if case.label == 0]
        if limit is not None and len(normal) > limit:
            normal = [normal[round(i)] for i in np.linspace(0, len(normal) - 1, limit)]
        self.normals = torch.from_numpy(to_unit_range(resized_array(normal, image_size, channels=channels)))
        device = scorer.mean.device
        images, masks = [], []
        for start in range(0, len(self.normals), 32):
            part = self.normals[start : start + 32].to(device)
            attention = scorer(part) if synthesis.needs_saliency else None
            made = synthesis.batch(part, attention, seed, indices=range(start, start + len(part)))
            images.append(made.images.float().cpu())
            masks.append(made.masks.cpu())
        self.synthetic, self.masks = torch.cat(images), torch.cat(masks)

    def evaluate(self, network: ProxyNetwork, batch_size: int = 32, amp: bool = False) -> dict[str, float]:
        """Image AUROC (normal against synthetic) and pooled pixel AUROC (inside the synthetic images)."""
        scores, maps = self._outputs(network, batch_size, amp)
        pixels = StreamingAUROC()
        pixels.update(maps, self.masks)
        count = len(self.normals)
        return {
            "synthetic_image_auroc": exact_auroc(scores[count:], scores[:count]),
            "synthetic_pixel_auroc": pixels.auroc(),
        }

    def report(self, network: ProxyNetwork, batch_size: int = 32) -> dict[str, float]:
        """The figures of :meth:`evaluate`, and what they are worth.

        Synthetic anomalies have their places too, so pooled pixels reward knowing the location law:
        ``synthetic_pixel_null`` is what a map scores that is the mean mask of the other half of the images, and
        ``synthetic_conditioned_auroc`` is .5 for any such map (:mod:`vitad_med.metrics.conditioned`).
        """
        scores, maps = self._outputs(network, batch_size, amp=False)
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
    def _outputs(self, network: ProxyNetwork, batch_size: int, amp: bool) -> tuple[np.ndarray, torch.Tensor]:
        """Scores of the normal and then of the synthetic images, and the maps of the latter."""
        training = network.training
        network.eval()
        device = network.mean.device
        use_fused_attention(network.encoder, True)
        precision = Precision.of(device, amp)
        scores: list[np.ndarray] = []
        maps: list[torch.Tensor] = []
        for images in (self.normals, self.synthetic):
            for start in range(0, len(images), batch_size):
                with precision.autocast():
                    output = network.predict(images[start : start + batch_size].to(device))
                scores.append(output.score.float().cpu().numpy())
                if images is self.synthetic:
                    maps.append(output.map.float().cpu())
        network.train(training)
        use_fused_attention(network.encoder, not (training and device.type == "cpu"))
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
