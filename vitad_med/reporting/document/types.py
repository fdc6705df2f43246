"""The types of ``report.json``, one TypedDict an object; ``docs/report_json.md`` gives the meaning of every key."""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict

from vitad_med.reporting.document.figure_rules import Alarms, Difference, Figure, Number, Share
from vitad_med.reporting.document.typed_json import Unit


class Method(TypedDict):
    """What was evaluated; text, or null where the run's journal does not say."""

    name: str | None
    model_digest: str | None
    pipeline_digest: str | None
    backend_digest: str | None
    score_rule: str | None
    software: str | None


class Data(TypedDict):
    """On which images."""

    name: str | None
    public: bool
    identifiers: str | None
    data_digest: str | None
    digest: str | None


class Settings(TypedDict):
    """What the figures depend on."""

    cohorts: list[str]
    replicates: int
    seed: int
    level: Share
    eval_size: int
    min_patients: int
    interval_patients: int
    pixel_score: str
    prevalence: Share
    false_positive_rate: Share
    primary: list[str]


class Count(TypedDict):
    """Images and their patients; null where a small count is suppressed."""

    images: Number
    patients: Number


class Excluded(Count):
    """Images left out for one reason."""

    reason: str


class Flow(TypedDict):
    """From the images read to those in each kind of figure."""

    read: Count
    excluded: list[Excluded]
    evaluated: Count
    normal: Count
    abnormal: Count
    localized: Count
    not_localized: Count
    calibration: Count | None
    check: Count | None


class Crosscheck(TypedDict):
    """Clustered DeLong estimate of the image AUROC, interval on the logit scale."""

    value: Share
    low: Share | None
    high: Share | None


class Verdict(TypedDict):
    """Does it localize better than position and brightness alone?"""

    answer: Literal["yes", "no", "cannot tell"]
    sentence: str
    null: str | None
    difference: Difference | None


class ReportCohort(TypedDict):
    """One cohort: counts, image figures, localization figures, those of the null maps, and the verdict."""

    name: str
    n_images: Number
    n_patients: Number
    n_normal: Number
    n_abnormal: Number
    n_localized: Number
    image: dict[str, Figure]
    metadata_difference: Difference
    delong: Crosscheck | None
    localization: dict[str, Figure]
    nulls: dict[str, dict[str, Figure]]
    differences: dict[str, Difference]
    verdict: Verdict


class GapLevel(TypedDict):
    """One cohort of an axis against the others of the axis."""

    cohort: str
    name: str
    value: Figure
    crude: Difference
    standardised: Difference
    support: Share | None


class Gap(TypedDict):
    """Differences between the cohorts of one axis in one primary metric, with one test."""

    axis: str
    metric: str
    test: Literal["permutation", "bootstrap"]
    p: Share | None
    p_holm: Share | None
    reason: str | None
    levels: list[GapLevel]


class Bound(TypedDict):
    """What the finite number of calibration normals allows to promise about the false-positive rate."""

    expected: Share
    upper: Share
    confidence: Share


class NormalCheck(TypedDict):
    """The false-positive rate on normals that set no threshold."""

    images: Number
    patients: Number
    false_positive_rate: Figure


class OperatingFigures(TypedDict):
    """One cohort at the threshold."""

    false_positive_rate: Figure
    sensitivity: Figure
    alarms_per_100: Alarms
    ppv: Figure
    npv: Figure


class OperatingPoint(TypedDict):
    """The threshold set on normals only, and what it does."""

    source: Literal["run", "calibration"]
    calibration_digest: str | None
    false_positive_rate: Share
    threshold: Annotated[float | None, Unit(exact=True)]
    reason: str | None
    calibration: Count
    lowest_rate: Share | None
    bound: Bound | None
    check: NormalCheck | None
    prevalence: Share
    cohorts: dict[str, OperatingFigures]


class Line(TypedDict):
    """Points of a curve."""

    x: list[float]
    y: list[float]


class Curve(Line):
    """A curve with the band of its intervals."""

    low: list[float] | None
    high: list[float] | None


class Curves(TypedDict):
    """ROC and FROC curves by cohort."""

    roc: dict[str, Curve]
    froc: dict[str, Curve]
    froc_nulls: dict[str, Line]


class Distributions(TypedDict):
    """Histogram of the image scores."""

    edges: Annotated[list[float], Unit()]
    normal: list[Number]
    abnormal: list[Number]


class BoxEffect(TypedDict):
    """Localization in images with boxes of one size."""

    group: str
    images: Number
    conditioned_auroc: Figure
    pointing_game: Figure


class PositionEffect(BoxEffect):
    """Localization in images with boxes in one of nine parts of the image."""

    row: int
    column: int


class Effects(TypedDict):
    """What size and position of the truth do to localization."""

    box_area: list[BoxEffect]
    position: list[PositionEffect]


class DriftRow(TypedDict):
    """One quantity of this run beside the calibration's."""

    quantity: str
    reference_median: Annotated[float | None, Unit()]
    run_median: Annotated[float | None, Unit()]
    ks: Share | None
    p: Share | None
    p_holm: Share | None
    psi: float | None
    shifted: bool


class Drift(TypedDict):
    """Do scores and intensities look like those of the calibration?"""

    calibration_digest: str | None
    rows: list[DriftRow]
    sentence: str


class Report(TypedDict):
    """The whole of ``report.json``."""

    schema: str
    method: Method
    data: Data
    created: str | None
    settings: Settings
    flow: Flow
    cohorts: dict[str, ReportCohort]
    gaps: list[Gap]
    operating_point: OperatingPoint | None
    curves: Curves
    distributions: Distributions | None
    effects: Effects
    drift: Drift | None
    notes: list[str]
