"""What a report is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vitad_med.errors import ConfigError
from vitad_med.evaluation.cells import MIN_PATIENTS
from vitad_med.metrics.bootstrap import MINIMUM_PATIENTS
from vitad_med.metrics.pixel_score import PIXEL_SCORES

PRIMARY = ("conditioned_auroc", "image_auroc")
"""The declared primary metrics: gaps between cohorts are tested on these two only."""


@dataclass(frozen=True)
class ReportSettings:
    """Settings of a report; the defaults are those of the command line.

    Attributes:
        by: cohorts beside ``all``, each a tuple of axes to cross; gaps are tested on the entries of one axis.
        replicates: bootstrap replicates, shared by every figure.
        permutations: of the tests of gaps between patients.
        seed: of every random draw.
        level: of the intervals.
        min_patients: a cell with fewer patients in a class is named, not scored.
        pixel_score: ``map``, or ``map_times_image_score``.
        prevalence: share of abnormal studies for which predictive values are stated.
        false_positive_rate: stated rate of the operating point.
    """

    by: tuple[tuple[str, ...], ...] = (("sex",), ("view",), ("age",))
    replicates: int = 2000
    permutations: int = 2000
    seed: int = 0
    level: float = 0.95
    min_patients: int = MIN_PATIENTS
    pixel_score: str = "map"
    prevalence: float = 0.05
    false_positive_rate: float = 0.1

    def __post_init__(self) -> None:
        for name in ("level", "prevalence", "false_positive_rate"):
            value = getattr(self, name)
            if not 0 < value < 1:
                raise ConfigError(f"{name} is {value:g}; give a number between 0 and 1, e.g. 0.05 for 5 %.")
        for name, least in (("replicates", 100), ("permutations", 100), ("min_patients", 1)):
            value = getattr(self, name)
            if value < least:
                raise ConfigError(f"{name} is {value}; give at least {least}.")
        if self.pixel_score not in PIXEL_SCORES:
            raise ConfigError(f"pixel_score is '{self.pixel_score}'; choose one of {', '.join(PIXEL_SCORES)}.")

    @property
    def axes(self) -> tuple[str, ...]:
        """Axes on which gaps are tested: the entries of ``by`` that are not crossed."""
        return tuple(dict.fromkeys(entry[0] for entry in self.by if len(entry) == 1))

    def document(self, eval_size: int) -> dict[str, Any]:
        """The settings as report.json states them."""
        return {
            "cohorts": [":".join(entry) for entry in self.by],
            "replicates": self.replicates,
            "permutations": self.permutations,
            "seed": self.seed,
            "level": self.level,
            "eval_size": eval_size,
            "min_patients": self.min_patients,
            "interval_patients": MINIMUM_PATIENTS,
            "pixel_score": self.pixel_score,
            "prevalence": self.prevalence,
            "false_positive_rate": self.false_positive_rate,
            "primary": list(PRIMARY),
        }
