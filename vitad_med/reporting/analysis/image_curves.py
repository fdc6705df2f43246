"""ROC curves with bands, score histograms and the clustered DeLong cross-check, cohort by cohort."""

from __future__ import annotations

import numpy as np

from vitad_med.evaluation.document import rounded
from vitad_med.metrics.bootstrap import no_interval_reason
from vitad_med.metrics.clustered import delong_clustered

Curve = dict[str, list[float] | None]

FALSE_POSITIVE_RATES = np.concatenate([np.arange(0, 0.1, 0.005), np.arange(0.1, 1.0001, 0.02)])
BINS = 40
_BLOCK = 200


def roc_curve(
    scores: np.ndarray, labels: np.ndarray, patients: np.ndarray, weights: np.ndarray, level: float
) -> Curve | None:
    """ROC curve on a fixed grid of false-positive rates, with a pointwise band over bootstrap replicates.

    Args:
        scores: [n], finite.
        labels: 0 or 1, [n].
        patients: [n].
        weights: bootstrap counts [R, n].
        level: of the band.

    Returns:
        ``x``, ``y``, ``low`` and ``high`` (the last two None with too few patients); None without both classes.
    """
    labels = np.asarray(labels, dtype=bool)
    if labels.all() or not labels.any():
        return None
    levels = _Levels(scores, labels)
    curve: Curve = {
        "x": [rounded(x) for x in FALSE_POSITIVE_RATES],
        "y": [rounded(y) for y in levels.sensitivity(np.ones((1, len(scores))))[0]],
        "low": None,
        "high": None,
    }
    if no_interval_reason(patients, labels) is None:
        blocks = [weights[start : start + _BLOCK] for start in range(0, len(weights), _BLOCK)]
        drawn = np.concatenate([levels.sensitivity(block) for block in blocks])
        low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
        curve["low"], curve["high"] = [rounded(y) for y in low], [rounded(y) for y in high]
    return curve


def delong(scores: np.ndarray, labels: np.ndarray, patients: np.ndarray, level: float) -> dict[str, float] | None:
    """AUROC with the interval of the clustered DeLong variance (Obuchowski 1997) on the logit scale.

    It shares nothing with the bootstrap but the data, and so checks it. None with too few patients, and where the
    AUROC is 0 or 1 and the logit does not exist.
    """
    from scipy.stats import norm

    if no_interval_reason(patients, labels) is not None:
        return None
    value, error = delong_clustered(scores, labels, patients)
    if not 0 < value < 1 or not np.isfinite(error):
        return None
    centre = np.log(value / (1 - value))
    reach = float(norm.ppf((1 + level) / 2)) * error / (value * (1 - value))
    low, high = (1 / (1 + np.exp(-(centre + sign * reach))) for sign in (-1, 1))
    return {"value": rounded(value), "low": rounded(low), "high": rounded(high)}


def score_histogram(scores: np.ndarray, labels: np.ndarray) -> dict[str, list[float] | list[int]]:
    """Counts of image scores in 40 equal bins, normal and abnormal apart."""
    low, high = float(np.min(scores)), float(np.max(scores))
    edges = np.linspace(low, high if high > low else low + 1e-6, BINS + 1)
    labels = np.asarray(labels, dtype=bool)
    return {
        "edges": [float(f"{edge:.6g}") for edge in edges],
        "normal": np.histogram(scores[~labels], edges)[0].tolist(),
        "abnormal": np.histogram(scores[labels], edges)[0].tolist(),
    }


class _Levels:
    """Images sorted by falling score; images that share a score pass the threshold together."""

    def __init__(self, scores: np.ndarray, labels: np.ndarray) -> None:
        self.order = np.argsort(-scores, kind="stable")
        ordered = scores[self.order]
        self.ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
        self.labels = labels[self.order]

    def sensitivity(self, weights: np.ndarray) -> np.ndarray:
        """Sensitivity at the fixed false-positive rates, float64 [R, points]."""
        ordered = np.asarray(weights[:, self.order], dtype=np.float64)
        found = np.cumsum(ordered * self.labels, axis=1)[:, self.ends]
        alarms = np.cumsum(ordered * ~self.labels, axis=1)[:, self.ends]
        curves = np.full((len(ordered), len(FALSE_POSITIVE_RATES)), np.nan)
        for row, (hits, false) in enumerate(zip(found, alarms, strict=True)):
            if hits[-1] and false[-1]:
                # Between two thresholds the curve is a straight line; of several points at one rate the highest counts.
                x, y = np.append(0.0, false / false[-1]), np.append(0.0, hits / hits[-1])
                last = np.append(x[1:] != x[:-1], True)
                curves[row] = np.interp(FALSE_POSITIVE_RATES, x[last], y[last])
        return curves
