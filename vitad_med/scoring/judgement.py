"""What a score means at this site: its conformal p-value and whether it is above the threshold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitad_med.calibration import Calibration, read_calibration
from vitad_med.calibration.binding import check_binding
from vitad_med.digests import config_digest
from vitad_med.metrics.conformal import conformal_p_values


@dataclass(frozen=True, eq=False)
class Judgement:
    """A calibration at work; without one, scores stay scores.

    Attributes:
        calibration: of this site, or None.
    """

    calibration: Calibration | None = None

    @property
    def threshold(self) -> float | None:
        """Images with a greater score are flagged."""
        return None if self.calibration is None else self.calibration.threshold

    @property
    def digest(self) -> str:
        """SHA-256 of the calibration, or empty."""
        return "" if self.calibration is None else self.calibration.digest

    def of(self, score: float, *, within: bool) -> tuple[float | None, bool | None]:
        """p-value, and whether the image is flagged.

        Args:
            score: of the image.
            within: whether the image is one that the bundle is meant for. Those of
                :func:`~vitad_med.scoring.calibrating.calibrate_folder` were; of any other image it says nothing.
        """
        if self.calibration is None or not within:
            return None, None
        p_value = float(f"{float(conformal_p_values(self.calibration.scores, [score])[0]):.6g}")
        return p_value, score > self.calibration.threshold


def judgement_of(
    path: Path | None, model_digest: str, pipeline: Mapping[str, Any], backend: Mapping[str, Any]
) -> Judgement:
    """Read a calibration and see that it belongs to this run.

    Raises:
        ConfigError: it is of another model, other settings, another device or precision.
        DataError: it is missing or damaged.
    """
    if path is None:
        return Judgement()
    calibration = read_calibration(path)
    digests: dict[str, str | None] = {
        "model_digest": model_digest,
        "pipeline_digest": config_digest(pipeline),
        "backend_digest": config_digest(backend),
    }
    check_binding(calibration, digests)
    return Judgement(calibration)
