"""Features, a fitted model of normality and a map: an ``nn.Module`` that evaluators ask like any other network."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from vitad_med.errors import ConfigError
from vitad_med.networks.features import FeatureExtractor
from vitad_med.normality.kinds import restore_model
from vitad_med.normality.model import NormalityModel, check_choice
from vitad_med.normality.smoothing import smooth_map
from vitad_med.normality.state import read_stored
from vitad_med.outputs import AnomalyOutput

ScoreFrom = Literal["final", "raw", "mean"]


class NormalityDetector(nn.Module):
    """Scores and maps of images by the distance of their features from normal ones (VISAPP 2023, section 3.5).

    Args:
        extractor: that of the fit.
        model: a fitted model, or the file that a fit wrote.
        image_size: side of the images in pixels; None takes that of the fit.
        sigma: standard deviation in pixels of the Gaussian that smooths the upsampled map; 0 is none.
        score_from: the image score is the maximum of the ``final`` map, the maximum of the ``raw`` distances before
            upsampling and smoothing, or the ``mean`` of the final map.
        image_channels: 1 (grey) or 3, of the images; None takes that of the fit.

    Raises:
        ConfigError: an unknown ``score_from``, a negative sigma, or features other than those of the fit.
        WeightsError: a file that cannot be read, or weights other than those of the fit.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        model: NormalityModel | str | Path,
        image_size: int | None = None,
        sigma: float = 4.0,
        score_from: ScoreFrom = "final",
        image_channels: int | None = None,
    ) -> None:
        super().__init__()
        if score_from not in get_args(ScoreFrom):
            raise ConfigError(f"score_from '{score_from}' is unknown: use 'final', 'raw' or 'mean'")
        check_choice("sigma", sigma, 0.0)
        self.extractor = extractor
        if not isinstance(model, NormalityModel):
            model = load_normality(model, extractor, image_size, image_channels)
        self.model = model
        self.sigma, self.score_from = float(sigma), score_from

    def distances(self, images: Tensor) -> AnomalyOutput:
        """Score [B] and map [B, 1, H, W] of images [B, C, H, W] in 0..1 as distances, at least 0 and unbounded."""
        raw = self.model(self.extractor(images)).float()
        with torch.autocast(raw.device.type, enabled=False):
            final = smooth_map(raw, (images.shape[-2], images.shape[-1]), self.sigma)
        if self.score_from == "mean":
            return AnomalyOutput(final.mean(dim=(1, 2, 3)), final)
        return AnomalyOutput((final if self.score_from == "final" else raw).amax(dim=(1, 2, 3)), final)

    def predict(self, images: Tensor) -> AnomalyOutput:
        """As :meth:`distances`, each distance d brought to 0..1 as d / (d + scale).

        The scale is the root mean square distance of the fitted images' features from their mean: .5 is the value of a
        feature that lies as far out as those. Distances to the nearest neighbours, and those of a Gaussian fitted on
        fewer images than it has channels, are shorter. Orders stay as they are.
        """
        score, amap = self.distances(images)
        return AnomalyOutput(score / (score + self.model.scale), amap / (amap + self.model.scale))

    def features(self, images: Tensor) -> Tensor:
        """Mean features of each image over the grid, [B, D], for pictures of them."""
        return self.extractor(images).mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Map [B, 1, H, W] in 0..1 of images [B, C, H, W] in 0..1; :meth:`predict` gives the score too."""
        return self.predict(images).map


def load_normality(
    path: str | Path,
    extractor: FeatureExtractor,
    image_size: int | None = None,
    image_channels: int | None = None,
) -> NormalityModel:
    """A fitted model, on the extractor's device, if it goes with the extractor.

    Raises:
        ConfigError: other features, image size or number of image channels than at the fit; names the key.
        WeightsError: a file that cannot be read, or other weights of the extractor.
    """
    stored = read_stored(path, "model")
    stored.provenance.check_extractor(extractor, image_size, path, image_channels)
    made = restore_model(
        stored.kind, stored.tensors, stored.settings, stored.provenance.grid, stored.provenance.channels
    )
    return made.to(extractor.mean.device).eval()
