"""Does a model that adapts itself still do what the source model did? Held images answer before and after an update.

Nothing is known about the images of the stream, so an update is judged on others: normal images whose patients are
unknown to the statistics and to a calibration (whoever gives them answers for pre-training and the choice of the model,
which no file records), and one synthetic anomaly of each. The range in which their figures may
move is the source model's own sampling error, from the patient-clustered bootstrap of
:mod:`vitad_med.metrics.bootstrap`: a model that moves further has changed by more than the choice of the held patients
could explain. The guard is this project's; the papers have none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vitad_med.data.intensity import to_unit_range
from vitad_med.digests import state_digest
from vitad_med.errors import ConfigError, DataError
from vitad_med.metrics.bootstrap import MINIMUM_PATIENTS, interval, logit_interval, patient_weights
from vitad_med.metrics.checks import as_numpy
from vitad_med.metrics.image import image_auroc

Scores = Callable[[Tensor], Tensor]
"""Images float32 [B, C, S, S] in 0..1, on the CPU, to image scores [B]; the network is in evaluation mode."""

_Case = TypeVar("_Case")


@dataclass(frozen=True)
class GuardRange:
    """Figures of the source model on the held images, and how far they may move.

    Attributes:
        auroc: image AUROC, normal against synthetic.
        auroc_low: an AUROC below this has left the range. There is no upper end: a rise is no harm.
        mean_score: mean score of the normal images.
        mean_low, mean_high: a mean score outside these has left the range: below, anomalies go unseen; above, every
            threshold that was calibrated raises more false alarms.
        level: coverage of the interval of either figure, in (0, 1).
        images: normal images, as many synthetic ones.
        patients: their patients.
        replicates, seed: of the bootstrap.
        images_digest: of the pixels of all held images, synthetic ones included.
    """

    auroc: float
    auroc_low: float
    mean_score: float
    mean_low: float
    mean_high: float
    level: float
    images: int
    patients: int
    replicates: int
    seed: int
    images_digest: str

    @property
    def few(self) -> bool:
        """Fewer than 20 patients: the range is so wide that only a collapse leaves it. The caller should say so."""
        return self.patients < MINIMUM_PATIENTS


@dataclass(frozen=True)
class GuardReading:
    """Figures of a model on the held images, NaN where scores are not finite.

    Attributes:
        auroc: image AUROC, normal against synthetic.
        mean_score: mean score of the normal images.
        reason: why the update should be undone, in words, or None while the figures are inside the range.
    """

    auroc: float
    mean_score: float
    reason: str | None

    @property
    def figures(self) -> dict[str, float]:
        """The two figures by their names."""
        return {"auroc": self.auroc, "mean_score": self.mean_score}


class Guard:
    """Reads a model's figures on held images and says whether they left the source model's range.

    The image AUROC has the interval of :func:`~vitad_med.metrics.bootstrap.logit_interval`, of which the lower end
    counts; the mean score has the expanded percentiles of :func:`~vitad_med.metrics.bootstrap.interval`. Of those tried
    they cover best (``docs/statistics.md``). A patient's normal and synthetic
    images are drawn together. At an AUROC of exactly 1 the replicates do not vary, and the lower end is Clopper and
    Pearson's. No range is narrower than what one patient can do: 1/n of the AUROC, and 1/n of the span of the scores
    for the mean. Otherwise one misranked pair would be a rollback where the source model is nearly perfect.

    Readings are taken on the very images of the range, so that a model that did not change reads exactly its middle. A
    reading costs 2n forward passes. It tells what an update did to images like the held ones; a loss on images
    that only the stream has stays unseen.

    Args:
        normals: held normal images [n, C, S, S], uint8 or uint16 in their full range, or floating in 0..1; on the CPU.
        synthetic: one synthetic anomaly of each, same shape.
        patients: patient of each normal image, n identifiers.
        level: coverage of the range of either figure, in (0, 1).
        replicates: of the bootstrap.
        seed: of the bootstrap.
        batch_size: images scored at once; the same for all readings, so that rounding is the same too.

    Raises:
        DataError: shapes or lengths differ, or there are fewer than 2 patients.
    """

    def __init__(
        self,
        normals: Tensor,
        synthetic: Tensor,
        patients: Sequence[str],
        level: float = 0.99,
        replicates: int = 2000,
        seed: int = 0,
        batch_size: int = 32,
    ) -> None:
        if normals.shape != synthetic.shape or normals.ndim != 4:
            raise DataError(
                f"guard: normal images {list(normals.shape)} and synthetic ones {list(synthetic.shape)} must both have "
                "the shape [n, C, S, S]; give one synthetic anomaly of each normal image."
            )
        if len(patients) != len(normals):
            raise DataError(f"guard: {len(patients)} patients for {len(normals)} images; give each image's patient.")
        self.patient_count = len(set(patients))
        if self.patient_count < 2:
            raise DataError(
                f"guard: the held normal images have {self.patient_count} patient(s), but a range needs at least 2 and "
                f"means something from {MINIMUM_PATIENTS}; point 'guard_data', 'guard_dataset_dir' and 'guard_section' "
                "to normal images of patients outside training, statistics and calibration, or set guard to 'off'."
            )
        self.normals = normals
        self.synthetic = synthetic
        self.patients = list(patients)
        self.level = level
        self.replicates = replicates
        self.seed = seed
        self.batch_size = batch_size
        self.digest = state_digest({"normals": normals, "synthetic": synthetic})
        self.range: GuardRange | None = None

    def calibrate(self, score: Scores) -> GuardRange:
        """Score the held images with the source model; what it finds is the range of :meth:`read` from now on.

        Raises:
            DataError: a score is not finite, or there is not one score an image.
        """
        scores = self._score(score)
        bad = _not_finite(scores)
        if bad:
            raise DataError(f"guard: with the source model {bad}; no range can be made of them.")
        n = len(self.normals)
        labels = self._labels()
        weights = patient_weights(self.patients * 2, labels, self.replicates, self.seed)
        auroc = float(image_auroc(scores, labels))
        auroc_low, _ = logit_interval(auroc, image_auroc(scores, labels, weights), self.patient_count, self.level)
        mean = float(scores[:n].mean())
        means = weights[:, :n] @ scores[:n] / weights[:, :n].sum(axis=1)
        mean_low, mean_high = interval(means, self.level, self.patient_count)
        one_patient = float(np.ptp(scores)) / self.patient_count
        self.range = GuardRange(
            auroc=auroc,
            auroc_low=max(0.0, min(auroc_low, auroc - 1 / self.patient_count)),
            mean_score=mean,
            mean_low=min(mean_low, mean - one_patient),
            mean_high=max(mean_high, mean + one_patient),
            level=self.level,
            images=n,
            patients=self.patient_count,
            replicates=self.replicates,
            seed=self.seed,
            images_digest=self.digest,
        )
        return self.range

    def read(self, score: Scores) -> GuardReading:
        """Score the held images with the model as it is now and compare with the range.

        Raises:
            ConfigError: :meth:`calibrate` was not called with the source model.
            DataError: there is not one score an image.
        """
        if self.range is None:
            raise ConfigError("guard: it has no range yet; calibrate it with the source model first.")
        scores = self._score(score)
        bad = _not_finite(scores)
        if bad:
            return GuardReading(float("nan"), float("nan"), bad)
        auroc, mean = float(image_auroc(scores, self._labels())), float(scores[: len(self.normals)].mean())
        reasons = []
        if auroc < self.range.auroc_low:
            reasons.append(f"guard AUROC {auroc:.4f} is below {self.range.auroc_low:.4f}")
        if not self.range.mean_low <= mean <= self.range.mean_high:
            reasons.append(
                f"mean score {mean:.4g} of the held normals is outside {self.range.mean_low:.4g}.."
                f"{self.range.mean_high:.4g}"
            )
        return GuardReading(auroc, mean, "; ".join(reasons) or None)

    def _labels(self) -> NDArray[np.bool_]:
        return np.repeat([False, True], len(self.normals))

    @torch.no_grad()
    def _score(self, score: Scores) -> NDArray[np.float64]:
        """Scores of the normal and then of the synthetic images, [2n]."""
        parts = []
        for images in (self.normals, self.synthetic):
            for start in range(0, len(images), self.batch_size):
                batch = images[start : start + self.batch_size]
                scores = as_numpy(score(_unit_range(batch)))
                if scores.shape != (len(batch),):
                    raise DataError(f"guard: scores of shape {list(scores.shape)} for {len(batch)} images.")
                parts.append(scores.astype(np.float64))
        return np.concatenate(parts)


def disjoint(cases: Sequence[_Case], keys: Sequence[str], excluded: Collection[str]) -> tuple[list[_Case], int]:
    """The cases whose patients are unknown to training, statistics and calibration.

    Args:
        cases: candidates for the held images.
        keys: patient of each case, in the form of ``excluded``.
        excluded: patients that took part in something that the guard is to judge.

    Returns:
        The cases kept, in their order, and the number of those dropped.

    Raises:
        DataError: there is not one key a case.
    """
    if len(keys) != len(cases):
        raise DataError(f"guard: {len(keys)} patient keys for {len(cases)} cases; give each case's key.")
    known = frozenset(excluded)
    kept = list(compress(cases, (key not in known for key in keys)))
    return kept, len(cases) - len(kept)


def _unit_range(images: Tensor) -> Tensor:
    try:
        return torch.from_numpy(to_unit_range(images.numpy()))
    except (TypeError, ValueError) as error:
        raise DataError(f"guard: {error}.") from error


def _not_finite(scores: NDArray[np.float64]) -> str | None:
    bad = scores.size - int(np.count_nonzero(np.isfinite(scores)))
    return f"{bad} of {scores.size} scores of the held images are not finite" if bad else None
