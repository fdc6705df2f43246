"""Held images of simulated patients: one pixel each, which is the score itself."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import expit
from scipy.stats import norm
from torch import Tensor

from vitad_med.adaptation.guard import Guard


def pixel(images: Tensor) -> Tensor:
    """The source model: the score is the pixel."""
    return images[:, 0, 0, 0]


def held_scores(seed: int, patients: int, images: int, auroc: float) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Scores in 0..1 of normal images and of their synthetic anomalies, and the patients.

    An image and its anomaly share the patient (40 % of the variance) and the image (30 %). Scores of normal images are
    skewed, as a model's probabilities are: mean .23, most of them below .2.
    """
    generator = np.random.default_rng([seed, patients])
    ids = np.sort(np.arange(images) % patients)
    shared = np.sqrt(0.4) * generator.normal(size=patients)[ids] + np.sqrt(0.3) * generator.normal(size=images)
    normal = shared + np.sqrt(0.3) * generator.normal(size=images)
    synthetic = shared + np.sqrt(0.3) * generator.normal(size=images) + np.sqrt(2) * norm.ppf(auroc)
    return expit(2 * normal - 2), expit(2 * synthetic - 2), [f"p{i}" for i in ids]


def guard_of(normal: np.ndarray, synthetic: np.ndarray, patients: list[str], **options: float) -> Guard:
    """A guard over one-pixel images."""
    as_images = [torch.from_numpy(np.asarray(s, dtype=np.float32)).view(-1, 1, 1, 1) for s in (normal, synthetic)]
    return Guard(*as_images, patients, batch_size=64, **options)  # type: ignore[arg-type]
