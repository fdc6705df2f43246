"""What scoring says of one image, and what said it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """One scored image.

    Attributes:
        score: higher is more anomalous; no probability of a disease.
        map: how anomalous each pixel is, float32 [h, w] on the network's grid, which shows the whole image.
        p_value: conformal p-value, or None without a calibration or outside of the bundle's intended use.
        threshold: score above which an image is flagged, or None without a calibration.
        flagged: whether it is; None where nothing is judged: without a threshold, or outside of the intended use.
    """

    score: float
    map: NDArray[np.float32]
    p_value: float | None = None
    threshold: float | None = None
    flagged: bool | None = None


@dataclass(frozen=True, slots=True)
class Provenance:
    """What scored; equal for all images of a run.

    Attributes:
        method: name of the bundle, e.g. ``attn_synth``.
        version: of the bundle.
        score_rule: what the score is, in words.
        model_digest: SHA-256 of the weights.
        config_digest: SHA-256 of all settings that change an output.
        calibration_digest: SHA-256 of the calibration, or empty.
        software_digest: SHA-256 of the package's version and of those that compute and write.
        created: when the run began, UTC; a resumed run keeps it.
    """

    method: str
    version: str
    score_rule: str
    model_digest: str
    config_digest: str
    calibration_digest: str
    software_digest: str
    created: datetime
